"""Expansion: a template over a table gives subtasks, in ordinal order, in bounded batches.

Nothing here holds a table: rows stream from Arrow batches and leave as ``Work``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
from pyroaring import BitMap

from apwa.executor import Work
from apwa.plan import canonical_values, user_message
from apwa.tables import LARGE_CHARS, CellPlaces, Table, count_tokens, plain_rows
from apwa.vocabulary import ErrorKind, Values, WorkSpec, reuse_key

UNREADABLE = "_unreadable"
"""Column of a snapshot that says why a file could not be read; null where it could."""

_SPARSE = 64  # below one row in so many, rows are taken singly instead of scanning the table
_TAKE = 256


@dataclass(frozen=True, slots=True)
class Fit:
    """What a row must fit into. ``context`` in tokens; None if unknown."""

    context: int | None
    system_tokens: int
    output_tokens: int

    @property
    def room(self) -> int:
        """Tokens that are left for the row."""
        return (self.context or 0) - self.system_tokens - self.output_tokens

    def trouble(self, text_bytes: int, count: Iterator[int]) -> str:
        """Why the row does not fit, in words; empty if it does, or if nobody knows."""
        if self.context is None:
            return ""
        room = self.room
        if text_bytes <= room:  # no text has more tokens than bytes
            return ""
        tokens = next(count)
        if tokens <= room:
            return ""
        return (
            f"the row has about {tokens:,} tokens, and {room:,} of the model's {self.context:,}"
            " are left for it"
        )


def fit_of(spec: WorkSpec, context: int | None) -> Fit:
    return Fit(context, count_tokens(spec.system), spec.limits.output_tokens)


def expand(
    spec: WorkSpec,
    table: Table,
    todo: BitMap,
    wanted: Mapping[int, int],
    fit: Fit,
    *,
    by_reference: bool = False,
) -> Iterator[list[Work]]:
    """Subtasks of ``todo`` in ordinal order.

    Args:
        spec: The step's template, compiled.
        table: What it ranges over.
        todo: Ordinals of the table to work.
        wanted: Generation of each row where that is above 0.
        fit: The context that a row must fit into.
        by_reference: Say of large cells where they stand, for hosts elsewhere to read.
    """
    places = CellPlaces(table, spec.columns) if by_reference else None
    for ordinals, batch in _batches(table, spec.columns, todo):
        reasons = _unreadable(batch)
        rows = plain_rows(batch, spec.columns)
        works = [
            work_of(spec, ordinal, wanted.get(ordinal, 0), values, fit, reason)
            for ordinal, values, reason in zip(ordinals, rows, reasons, strict=True)
        ]
        yield works if places is None else [_light(work, places) for work in works]


def work_of(
    spec: WorkSpec, ordinal: int, generation: int, values: Values, fit: Fit, unreadable: str | None
) -> Work:
    """One subtask; one that cannot be worked carries its refusal."""
    canonical = canonical_values(spec, values)
    refused: tuple[str, str] | None = None
    if unreadable is not None:
        refused = (ErrorKind.BAD_INPUT.value, unreadable)
    else:
        tokens = (count_tokens(user_message(spec, values)[0]) for _ in range(1))
        if trouble := fit.trouble(len(canonical), tokens):
            refused = (ErrorKind.CONTEXT_TOO_LONG.value, trouble)
    return Work(
        ordinal=ordinal,
        generation=generation,
        reuse_key=reuse_key(spec.prefix_hash, canonical),
        values=values,
        size_bytes=len(canonical),
        refused=refused,
    )


def _light(work: Work, places: CellPlaces) -> Work:
    if work.size_bytes < LARGE_CHARS or work.refused is not None:
        return work
    values, cells = places.without_large(work.ordinal, work.values)
    return replace(work, values=values, cells=cells) if cells else work


def canonical_rows(spec: WorkSpec, table: Table, ordinals: BitMap) -> Iterator[tuple[int, bytes]]:
    """(ordinal, canonical values) of rows as they are now, in ordinal order."""
    for some, batch in _batches(table, spec.columns, ordinals):
        for ordinal, values in zip(some, plain_rows(batch, spec.columns), strict=True):
            yield ordinal, canonical_values(spec, values)


def _batches(
    table: Table, columns: list[str], todo: BitMap
) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    if not todo:
        return
    wanted = list(dict.fromkeys(columns))
    if UNREADABLE in table.schema.names:
        wanted.append(UNREADABLE)
    if len(todo) * _SPARSE < table.rows:
        yield from _taken(table, wanted, todo)
        return
    for first, batch in table.batches(wanted, todo.min(), todo.max() + 1):
        inside = todo & BitMap(range(first, first + batch.num_rows))
        if len(inside) == batch.num_rows:
            yield list(inside), batch
        elif inside:
            yield list(inside), batch.take(pa.array([o - first for o in inside], pa.int64()))


def _taken(
    table: Table, columns: list[str], todo: BitMap
) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    ordinals = list(todo)
    for start in range(0, len(ordinals), _TAKE):
        some = ordinals[start : start + _TAKE]
        for batch in table.take(some, columns).combine_chunks().to_batches():
            yield some, batch


def _unreadable(batch: pa.RecordBatch) -> list[str | None]:
    if UNREADABLE not in batch.schema.names:
        return [None] * batch.num_rows
    return batch.column(UNREADABLE).to_pylist()
