"""One type for each column of JSON rows, found over all rows.

Whole numbers, numbers, truth values and strings become columns of their type; lists a list of
one type; objects that all have the same fields a struct. Anything else, mixed kinds above all,
becomes text: strings as they are, other values as JSON. An absent value is null.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

_EXACT_IN_FLOAT = 1 << 53
_INT64 = 1 << 63
_DEPTH = 8

# A kind is an Arrow type, or _MIXED; null stands for "nothing seen yet", and an int32 for a whole
# number that a float holds exactly, so that it may still become one.
_SMALL = pa.int32()
_MIXED = pa.binary()


class JsonKinds:
    """Watches rows go by and knows the columns and their types at the end."""

    def __init__(self) -> None:
        self._kinds: dict[str, pa.DataType] = {}

    def look(self, rows: list[dict[str, Any]]) -> None:
        """Take in some rows."""
        names: dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row))
        for name in names:
            known = self._kinds.get(name, pa.null())
            if known == _MIXED:
                continue
            values = [row.get(name) for row in rows]
            self._kinds[name] = _joined(known, _kind_of_all(values))

    def drop(self, names: list[str]) -> None:
        """Leave columns out."""
        for name in names:
            self._kinds.pop(name, None)

    @property
    def names(self) -> list[str]:
        return list(self._kinds)

    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, _final(kind)) for name, kind in self._kinds.items()])

    def batch(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        """Rows in the types found."""
        schema = self.schema()
        columns: list[pa.Array] = []
        for field in schema:
            values = [row.get(field.name) for row in rows]
            if self._kinds[field.name] == _MIXED:
                values = [v if v is None or isinstance(v, str) else _text(v) for v in values]
            columns.append(pa.array(values, field.type))
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _kind_of_all(values: list[Any]) -> pa.DataType:
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:  # the most frequent case, without a look at each value
        return pa.string()
    found = pa.null()
    for value in values:
        found = _joined(found, _kind(value, 0))
        if found == _MIXED:
            break
    return found


def _kind(value: Any, depth: int) -> pa.DataType:
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        if abs(value) <= _EXACT_IN_FLOAT:
            return _SMALL
        return pa.int64() if -_INT64 <= value < _INT64 else _MIXED
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, str):
        return pa.string()
    if depth == _DEPTH:
        return _MIXED
    if isinstance(value, list):
        inner = pa.null()
        for item in value:
            inner = _joined(inner, _kind(item, depth + 1))
        return _MIXED if inner == _MIXED else pa.list_(inner)
    fields = {name: _kind(inner, depth + 1) for name, inner in sorted(value.items())}
    if not fields or _MIXED in fields.values():
        return _MIXED  # Parquet has no struct without fields
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


def _joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds both, exactly; else _MIXED."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {_SMALL, pa.int64()}:
        return pa.int64()
    if {one, other} == {_SMALL, pa.float64()}:
        return pa.float64()
    if pa.types.is_list(one) and pa.types.is_list(other):
        inner = _joined(one.value_type, other.value_type)
        return _MIXED if inner == _MIXED else pa.list_(inner)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        ours, theirs = list(one), list(other)
        if [f.name for f in ours] != [f.name for f in theirs]:
            return _MIXED
        inner = [_joined(a.type, b.type) for a, b in zip(ours, theirs, strict=True)]
        if _MIXED in inner:
            return _MIXED
        return pa.struct([pa.field(f.name, kind) for f, kind in zip(ours, inner, strict=True)])
    return _MIXED


def _final(kind: pa.DataType) -> pa.DataType:
    if kind == _SMALL:
        return pa.int64()
    if kind == _MIXED or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_final(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _final(f.type)) for f in kind])
    return kind
