"""Brings what a query gives to the few types that tables have."""

from __future__ import annotations

import pyarrow as pa

from apwa.tables.content import CONTENT, IMAGE_TYPE, IMAGES, is_content, is_images
from apwa.tables.sql_rules import SqlProblem


def settled(schema: pa.Schema, inputs: list[pa.Schema]) -> pa.Schema:
    """The columns of a query's result, as its table will have them.

    A column that bears the name of an input's column of file contents is one too. Raises
    SqlProblem for a repeated name or a type that tables do not have.
    """
    fields_in = [field for schema in inputs for field in schema]
    texts = {field.name for field in fields_in if is_content(field) and not is_images(field)}
    images = {field.name for field in fields_in if is_images(field)}
    seen: set[str] = set()
    fields: list[pa.Field] = []
    for field in schema:
        if field.name.lower() in seen:
            raise SqlProblem(
                f"two columns of the result are named {field.name!r}; rename one with AS"
            )
        seen.add(field.name.lower())
        kind = _settled(field.name, field.type)
        metadata = None
        if field.name in texts and pa.types.is_string(kind):
            metadata = CONTENT
        elif field.name in images and kind == IMAGE_TYPE:
            metadata = IMAGES
        fields.append(pa.field(field.name, kind, metadata=metadata))
    return pa.schema(fields)


def _settled(name: str, kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_decimal(kind):
        return pa.int64() if kind.scale == 0 else pa.float64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_boolean(kind) or pa.types.is_date32(kind):
        return kind
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_settled(name, kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _settled(name, f.type)) for f in kind])
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
        or pa.types.is_time(kind)
        or (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type))
    ):
        return pa.string()
    raise SqlProblem(f"column {name!r} is of a type that tables do not have: {kind}; cast it")


def brought(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch in the types that ``settled`` named. Raises SqlProblem for a value out of range."""
    columns: list[pa.Array] = []
    for column, field in zip(batch.columns, schema, strict=True):
        try:
            columns.append(column.cast(field.type, safe=not pa.types.is_floating(field.type)))
        except pa.ArrowInvalid as error:
            raise SqlProblem(
                f"column {field.name!r} has a value that does not fit {field.type}: cast it"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)
