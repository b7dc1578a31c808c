"""The shape of a ``rows`` step: its columns and their types, told from its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from apwa.plan.loading import did_you_mean
from apwa.plan.model import RowsStep
from apwa.plan.places import Path
from apwa.plan.shapes import TableShape

Say = Callable[[Path, str, str], None]
_INT64 = 2**63


def rows_shape(name: str, step: RowsStep, say: Say) -> TableShape:
    """The table that the rows make; says what is wrong with them."""
    path: Path = ("steps", name, "rows")
    columns = list(step.rows[0])
    if not columns:
        say((*path, 0), "a row has no columns", "give at least one")
    for number, row in enumerate(step.rows):
        differs = sorted(set(columns) ^ set(row))
        if differs:
            what = f"all rows have the same columns; this one differs in {differs[0]!r}"
            say((*path, number), what, "use null for what is missing")
            return TableShape(name, pa.schema([]), tuple(step.key), len(step.rows))
    fields: list[pa.Field] = []
    for column in columns:
        kind = _column_type([row[column] for row in step.rows])
        if isinstance(kind, str):
            say(path, f"the column {column!r} {kind}", "give all its values one type")
        else:
            fields.append(pa.field(column, kind))
    for number, column in enumerate(step.key):
        if column not in columns:
            what = f"the rows have no column {column!r}"
            say(("steps", name, "key", number), what, did_you_mean(column, columns))
    if step.key and set(step.key) <= set(columns):
        _unique(name, step, say)
    return TableShape(name, pa.schema(fields), tuple(step.key), len(step.rows))


def _column_type(values: list[Any]) -> pa.DataType | str:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {list}:
        return pa.list_(pa.string())
    if kinds <= {int, float}:
        if any(isinstance(v, int) and not -_INT64 <= v < _INT64 for v in values):
            return "has a number that is out of range"
        return pa.int64() if kinds == {int} else pa.float64()
    return "has values of several types"


def _unique(name: str, step: RowsStep, say: Say) -> None:
    seen: dict[str, int] = {}
    for number, row in enumerate(step.rows):
        key = "/".join(str(row[column]) for column in step.key)
        if key in seen:
            what = f"the key {key!r} stands in two rows, {seen[key] + 1} and {number + 1}"
            say(("steps", name, "rows", number), what, "make keys unique")
            return
        seen[key] = number
