"""One fixed mapping from JSON Schema to Arrow: an answer's properties become columns.

Text, enums of text and date-times are strings, integers int64, numbers float64, dates date32,
arrays lists, objects structs; all columns may be null. What has no such type is a problem of
the plan: columns never depend on what the rows happen to hold.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from apwa.plan.places import Path
from apwa.plan.shortform import ContractProblem, Schema
from apwa.vocabulary import ContractSpec

_MAX_DEPTH = 20
_Change = Callable[[Any], Any]


def answer_schema(spec: ContractSpec) -> pa.Schema:
    """The columns that answers of a contract make. Raises ContractProblem for the first that has
    no type; a checked plan has none such."""
    fields, problems = answer_fields(spec.schema)
    if problems:
        raise problems[0]
    return pa.schema(fields)


def answer_fields(schema: Schema) -> tuple[list[pa.Field], list[ContractProblem]]:
    """The columns, and all problems that there are with making them."""
    problems: list[ContractProblem] = []
    fields: list[pa.Field] = []
    top = resolved(schema, schema, ())
    properties = top.get("properties")
    if not isinstance(properties, dict) or not properties:
        todo = "answers are objects whose properties become columns"
        return [], [ContractProblem((), "the contract has no properties", todo)]
    for name, part in properties.items():
        path: Path = ("properties", name)
        try:
            fields.append(pa.field(name, _type(part, schema, path, 0)))
        except ContractProblem as problem:
            problems.append(problem)
    return fields, problems


def resolved(schema: Any, root: Schema, path: Path) -> Schema:
    """The schema behind local references. Raises ContractProblem for others."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, dict):
            raise ContractProblem(path, "this schema says nothing of a type", "give it a type")
        reference = schema.get("$ref")
        if reference is None:
            return schema
        if not isinstance(reference, str) or not reference.startswith("#"):
            what = f"the reference {reference!r} leads out of the plan"
            raise ContractProblem(path, what, "write the schema out, or use #/$defs/…")
        schema = root
        for part in reference.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            schema = schema.get(name) if isinstance(schema, dict) else None
        if schema is None:
            raise ContractProblem(path, f"the reference {reference!r} leads nowhere")
    raise ContractProblem(path, "the reference leads back to itself")


def without_null(schema: Schema) -> tuple[Schema, bool]:
    """A schema without its null alternative, and whether it had one."""
    for key in ("anyOf", "oneOf"):
        branches = schema.get(key)
        if isinstance(branches, list):
            rest = [b for b in branches if not (isinstance(b, dict) and b.get("type") == "null")]
            if len(rest) == 1 and isinstance(rest[0], dict):
                return rest[0], len(rest) < len(branches)
            return {**schema, key: rest}, len(rest) < len(branches)
    kinds = schema.get("type")
    if isinstance(kinds, list) and "null" in kinds:
        kinds = [kind for kind in kinds if kind != "null"]
        return {**schema, "type": kinds[0] if len(kinds) == 1 else kinds}, True
    return schema, False


def _type(schema: Any, root: Schema, path: Path, depth: int) -> pa.DataType:
    if depth > _MAX_DEPTH:
        todo = "a column's type cannot hold itself"
        raise ContractProblem(path, "the schema is nested too deeply", todo)
    schema, _ = without_null(resolved(schema, root, path))
    schema = resolved(schema, root, path)
    for key in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(key)
        if isinstance(branches, list) and branches and "type" not in schema:
            types = [_type(branch, root, (*path, key), depth + 1) for branch in branches]
            if any(other != types[0] for other in types):
                raise ContractProblem(path, f"{key} of different types makes no column", _ONE)
            return types[0]
    match schema.get("type"):
        case "string":
            return pa.date32() if schema.get("format") == "date" else pa.string()
        case "integer":
            return pa.int64()
        case "number":
            return pa.float64()
        case "boolean":
            return pa.bool_()
        case "array":
            items = schema.get("items")
            if not isinstance(items, dict) or "prefixItems" in schema:
                todo = "give the list one schema under items"
                raise ContractProblem(path, "a list needs one type for all its items", todo)
            return pa.list_(_type(items, root, (*path, "items"), depth + 1))
        case "object":
            return _struct(schema, root, path, depth)
        case list():
            raise ContractProblem(path, "a field of several types makes no column", _ONE)
        case None:
            return _of_values(schema, path)
        case other:
            raise ContractProblem(path, f"the type {other!r} makes no column", _ONE)


_ONE = "give it one type (and null, if it may be missing)"


def _struct(schema: Schema, root: Schema, path: Path, depth: int) -> pa.DataType:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties or schema.get("additionalProperties"):
        todo = "name its properties, or use a list of {key, value}"
        raise ContractProblem(path, "an object with names of its own makes no column", todo)
    return pa.struct(
        [
            pa.field(name, _type(part, root, (*path, "properties", name), depth + 1))
            for name, part in properties.items()
        ]
    )


def _of_values(schema: Schema, path: Path) -> pa.DataType:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    kinds = {type(value) for value in values if value is not None}
    if kinds == {str}:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    raise ContractProblem(path, "this schema says nothing of one type", _ONE)


# ---- answers to columns


def answers_to_arrow(answers: Sequence[bytes | None], schema: pa.Schema) -> pa.RecordBatch:
    """Answers, canonical as ``Contract.parse`` gives them, as columns; None is a row of nulls."""
    rows = [None if answer is None else _decode(answer) for answer in answers]
    columns: list[pa.Array] = []
    for field in schema:
        values = [None if row is None else row.get(field.name) for row in rows]
        change = _change(field.type)
        if change is not None:
            values = [None if value is None else change(value) for value in values]
        columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def _change(kind: pa.DataType) -> _Change | None:
    """What makes a JSON value one that Arrow takes for the type; None: it is one already."""
    if pa.types.is_date(kind):
        return datetime.date.fromisoformat
    if pa.types.is_floating(kind):
        return float  # integers past 2^53 are refused otherwise
    if pa.types.is_list(kind):
        inner = _change(kind.value_type)
        if inner is None:
            return None
        return lambda items: [None if item is None else inner(item) for item in items]
    if pa.types.is_struct(kind):
        parts = {field.name: change for field in kind if (change := _change(field.type))}
        if not parts:
            return None
        return lambda value: {
            name: parts[name](inner) if name in parts and inner is not None else inner
            for name, inner in value.items()
        }
    return None
