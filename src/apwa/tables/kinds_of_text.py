"""Finds columns of text that are numbers, truth values or dates, byte for byte.

A column changes its type only if each of its cells comes back exactly as it was written when the
typed value is written again: ``007``, ``1.50`` and ``TRUE`` stay text. A float is written as
Python and JSON write it, so that ``1.0`` is one and ``1`` is none. An empty cell is null in a
typed column, and an empty text in a text column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute

# its functions are made at import time, which type checkers do not see
pc: Any = pyarrow.compute

_Test = Callable[[pa.Array], bool]


def _matches(values: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _casts(values: pa.Array, kind: pa.DataType) -> bool:
    try:
        return values.cast(kind).cast(pa.string()).equals(values)
    except pa.ArrowInvalid:
        return False


def _is_int(values: pa.Array) -> bool:
    return _matches(values, r"^(0|-?[1-9][0-9]{0,18})$") and _casts(values, pa.int64())


def _is_float(values: pa.Array) -> bool:
    if not _matches(values, r"^-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?$"):
        return False
    return all(repr(float(text)) == text for text in values.to_pylist())


def _is_bool(values: pa.Array) -> bool:
    return _matches(values, r"^(true|false)$")


def _is_date(values: pa.Array) -> bool:
    # Python has no year 0
    return (
        _matches(values, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
        and not pc.any(pc.starts_with(values, "0000")).as_py()
        and _casts(values, pa.date32())
    )


_TESTS: dict[pa.DataType, _Test] = {
    pa.int64(): _is_int,
    pa.float64(): _is_float,
    pa.bool_(): _is_bool,
    pa.date32(): _is_date,
}


class TextKinds:
    """Watches batches of text columns go by and knows their types at the end."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._open = [dict(_TESTS) for _ in names]
        self._seen = [False for _ in names]

    def watch(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches through, unchanged."""
        for batch in batches:
            for number, still in enumerate(self._open):
                if still:
                    self._look(number, batch.column(number))
            yield batch

    def _look(self, number: int, column: pa.Array) -> None:
        filled = column.filter(pc.not_equal(column, ""))
        if len(filled) == 0:
            return
        self._seen[number] = True
        still = self._open[number]
        head = filled.slice(0, 1)
        self._open[number] = {
            kind: test for kind, test in still.items() if test(head) and test(filled)
        }

    def schema(self) -> pa.Schema:
        """The types that all cells so far allow."""
        kinds = [
            next(iter(still)) if still and seen else pa.string()
            for still, seen in zip(self._open, self._seen, strict=True)
        ]
        return pa.schema([pa.field(n, k) for n, k in zip(self._names, kinds, strict=True)])


def typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of text columns in the types of a schema that its text allows."""
    columns = [
        column
        if pa.types.is_string(field.type)
        else pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column).cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
