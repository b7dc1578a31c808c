"""Brings Arrow data from elsewhere to the types that tables have, and changes no value.

What only says how values are laid out in memory (dictionaries, large and view types, run lengths)
goes; what says what they mean stays. What Parquet cannot hold is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute

from apwa.vocabulary import BadInput

pc: Any = pyarrow.compute


def settled_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """A schema as tables have it. Raises BadInput for names or types that they cannot have."""
    check_names(schema.names, where)
    fields: list[pa.Field] = []
    for field in schema:
        kind = settled_kind(field.type)
        if kind is None:
            raise BadInput(
                f"column {field.name!r} is of a type that tables do not have: {field.type}",
                where,
                "Convert it, to text for instance.",
            )
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)


def check_names(names: Sequence[object], where: str) -> None:
    """Raises BadInput for column names that are no text, empty, or there twice."""
    seen: set[object] = set()
    for name in names:
        if not isinstance(name, str):
            raise BadInput(
                f"a column is named {name!r}, which is no text", where, "Rename the column."
            )
        if name == "":
            raise BadInput("a column has no name", where, "Give it one.")
        if name in seen:
            raise BadInput(f"two columns are named {name!r}", where, "Rename one of them.")
        seen.add(name)


def settled_kind(kind: pa.DataType) -> pa.DataType | None:
    """A type as tables have it; None if there is none that says the same."""
    if isinstance(kind, pa.BaseExtensionType):
        # a bool8 or JSON text is what its storage says; others mean more than that
        known = {"arrow.json": pa.string(), "arrow.bool8": pa.bool_(), "arrow.uuid": pa.string()}
        return known.get(kind.extension_name)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return settled_kind(kind.value_type)
    if _is_list(kind):
        inner = settled_kind(kind.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_map(kind):
        key, item = settled_kind(kind.key_type), settled_kind(kind.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if pa.types.is_struct(kind):
        inside = [(f.name, settled_kind(f.type)) for f in kind]
        whole = inside and all(inner is not None for _, inner in inside)
        return pa.struct(inside) if whole else None
    if pa.types.is_union(kind) or pa.types.is_interval(kind):
        return None
    return _settled_leaf(kind)


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _settled_leaf(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_date64(kind):
        return pa.date32()
    if kind == pa.time32("s"):  # Parquet counts no whole seconds
        return pa.time32("ms")
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    return kind


def settled_batch(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """A batch in the types of ``settled_schema``."""
    columns: list[pa.Array] = []
    for column, field in zip(batch.columns, schema, strict=True):
        try:
            columns.append(_settled(column, field.type))
        except (pa.ArrowException, ValueError) as error:
            raise BadInput(
                f"column {field.name!r} does not come through as {field.type}:"
                f" {str(error).splitlines()[0][:200]}",
                where,
                "Convert it before.",
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _settled(column: pa.Array, kind: pa.DataType) -> pa.Array:
    given = column.type
    if given == kind:
        return column
    if isinstance(given, pa.BaseExtensionType):
        if given.extension_name == "arrow.uuid":
            return pa.array([None if v is None else str(v) for v in column.to_pylist()], kind)
        return _settled(column.storage, kind)
    if pa.types.is_run_end_encoded(given):
        return _settled(pc.run_end_decode(column), kind)
    if pa.types.is_dictionary(given):
        return _settled(column.dictionary, kind).take(column.indices)
    if pa.types.is_struct(given):
        inside = [
            _settled(part, field.type) for part, field in zip(column.flatten(), kind, strict=True)
        ]
        return pa.StructArray.from_arrays(inside, fields=list(kind), mask=column.is_null())
    if _is_list(given) and not _castable(given.value_type):
        lists = column.cast(pa.list_(given.value_type))
        values = _settled(lists.flatten(), kind.value_type)
        return pa.ListArray.from_arrays(_offsets(lists), values, kind, mask=lists.is_null())
    return column.cast(kind)


def _castable(kind: pa.DataType) -> bool:
    """Whether Arrow's own cast brings it to its settled type, however deep it lies in lists."""
    return not (
        isinstance(kind, pa.BaseExtensionType)
        or pa.types.is_dictionary(kind)
        or pa.types.is_run_end_encoded(kind)
        or pa.types.is_nested(kind)
    )


def _offsets(lists: pa.ListArray) -> pa.Array:
    """Offsets into the flattened values, in which nulls take no room."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    ends = pc.cumulative_sum(lengths)
    return pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
