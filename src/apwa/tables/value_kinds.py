"""One type for each column of rows of Python values, found over all rows.

Whole numbers, numbers, truth values, dates, times, bytes and strings become columns of their type;
lists a list of one type; objects that all have the same fields a struct. Anything else, mixed kinds
above all, becomes text: strings as they are, dates in ISO form, other values as JSON. An absent
value is null.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pyarrow as pa

_EXACT_IN_FLOAT = 1 << 53
_INT64 = 1 << 63
_DEPTH = 8

# A kind is an Arrow type, or _MIXED; null stands for "nothing seen yet", and an int32 for a whole
# number that a float holds exactly, so that it may still become one.
_SMALL = pa.int32()
_MOMENT = pa.timestamp("us")
_DAYS_AND_MOMENTS = {pa.date32(), _MOMENT}
_MIXED = pa.month_day_nano_interval()  # a type that no value has

_EXACT_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    float: pa.float64(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.time: pa.time64("us"),
    datetime.timedelta: pa.duration("us"),
}


class ValueKinds:
    """Watches rows go by and knows the columns and their types at the end.

    Args:
        declared: Columns that are there whatever the rows are, and their types while no row has
            a value in them.
    """

    def __init__(self, declared: Mapping[str, pa.DataType] | None = None) -> None:
        self._declared = dict(declared or {})
        self._kinds: dict[str, pa.DataType] = dict.fromkeys(self._declared, pa.null())

    def look(self, rows: list[dict[str, Any]]) -> None:
        """Take in some rows."""
        names: dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row))
        for name in names:
            self.look_at(name, [row.get(name) for row in rows])

    def look_at(self, name: str, values: list[Any]) -> None:
        """Take in some values of one column."""
        known = self._kinds.get(name, pa.null())
        if known != _MIXED:
            self._kinds[name] = _of_column(known, _kind_of_all(values))

    @property
    def names(self) -> list[str]:
        return list(self._kinds)

    def is_mixed(self, name: str) -> bool:
        """Whether values of several kinds became text."""
        return self._kinds[name] == _MIXED

    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, self._final(name)) for name in self._kinds])

    def _final(self, name: str) -> pa.DataType:
        kind = self._kinds[name]
        if pa.types.is_null(kind):
            return self._declared.get(name, pa.string())
        return _final(kind)

    def batch(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        """Rows in the types found."""
        return self.of_columns([[row.get(name) for row in rows] for name in self._kinds])

    def of_columns(self, columns: list[list[Any]]) -> pa.RecordBatch:
        """Columns, in the order of ``names``, in the types found."""
        schema = self.schema()
        arrays: list[pa.Array] = []
        for field, values in zip(schema, columns, strict=True):
            if self.is_mixed(field.name):
                values = [v if v is None or isinstance(v, str) else _text(v) for v in values]
            elif field.type == _MOMENT:
                values = [_moment(v) for v in values]
            arrays.append(pa.array(values, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _moment(value: Any) -> Any:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return datetime.datetime.combine(value, datetime.time())
    return value


def _text(value: object) -> str:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta) or (
        isinstance(value, float) and not math.isfinite(value)  # JSON has none of these
    ):
        return str(value)
    return msgspec.json.encode(value, enc_hook=str).decode()


def _kind_of_all(values: list[Any]) -> pa.DataType:
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) == 1:  # the most frequent case, without a look at each value
        (only,) = kinds
        if only in _EXACT_TYPES:
            return _EXACT_TYPES[only]
        if only is int:
            return _int_kind(values)
    found = pa.null()
    for value in values:
        found = _of_column(found, _kind(value, 0))
        if found == _MIXED:
            break
    return found


def _of_column(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type of a column that holds both: a day among moments is its midnight."""
    if {one, other} == _DAYS_AND_MOMENTS:
        return _MOMENT
    return _joined(one, other)


def _int_kind(values: list[Any]) -> pa.DataType:
    some = [value for value in values if value is not None]
    low, high = min(some), max(some)
    if low >= -_EXACT_IN_FLOAT and high <= _EXACT_IN_FLOAT:
        return _SMALL
    return pa.int64() if low >= -_INT64 and high < _INT64 else _MIXED


def _kind(value: Any, depth: int) -> pa.DataType:
    if value is None:
        return pa.null()
    exact = _EXACT_TYPES.get(type(value))
    if exact is not None:
        return exact
    if isinstance(value, int):
        return _int_kind([value])
    if isinstance(value, datetime.datetime):
        return pa.timestamp("us", "UTC" if value.tzinfo else None)
    for base, kind in _EXACT_TYPES.items():
        if isinstance(value, base):
            return kind
    if depth == _DEPTH:
        return _MIXED
    inside: dict[type, Callable[[Any, int], pa.DataType]] = {list: _list_kind, dict: _struct_kind}
    look = inside.get(type(value))
    return _MIXED if look is None else look(value, depth)


def _list_kind(value: list[Any], depth: int) -> pa.DataType:
    inner = pa.null()
    for item in value:
        inner = _joined(inner, _kind(item, depth + 1))
    return _MIXED if inner == _MIXED else pa.list_(inner)


def _struct_kind(value: dict[str, Any], depth: int) -> pa.DataType:
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
