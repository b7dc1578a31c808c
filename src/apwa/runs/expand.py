"""Expansion: a template over a table gives subtasks, in ordinal order, in bounded batches.

Nothing here holds a table: rows stream from Arrow batches and leave as ``Work``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
from pyroaring import BitMap

from apwa.executor import Work
from apwa.plan import canonical_values, image_tokens, user_message, with_images
from apwa.tables import (
    LARGE_CHARS,
    UNREADABLE,
    CellPlaces,
    Documents,
    Table,
    count_tokens,
    is_content,
    plain_rows,
)
from apwa.vocabulary import ErrorKind, Values, WorkSpec, reuse_key

_NOTHING_TO_READ = (
    "the file holds nothing of what the template names: name {{images}} for pictures and scanned"
    " pages, {{text}} for texts, both where both may come"
)
_SPARSE = 64  # below one row in so many, rows are taken singly instead of scanning the table
_TAKE = 256
_MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Fit:
    """What a row must fit into. ``context`` in tokens; None if unknown."""

    context: int | None
    system_tokens: int
    output_tokens: int

    @property
    def room(self) -> int | None:
        """Tokens that are left for a row; None if unknown."""
        if self.context is None:
            return None
        return self.context - self.system_tokens - self.output_tokens

    def trouble(self, text_bytes: int, count: Iterator[int]) -> str:
        """Why the row does not fit, in words; empty if it does, or if nobody knows."""
        room = self.room
        if room is None or text_bytes <= room:  # no text has more tokens than bytes
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
    documents: Documents,
) -> Iterator[list[Work]]:
    """Subtasks of ``todo`` in ordinal order; those over documents as these are read.

    Args:
        spec: The step's template, compiled.
        table: What it ranges over.
        todo: Ordinals of the table to work.
        wanted: Generation of each row where that is above 0.
        fit: The context that a row must fit into.
        documents: Where the contents of files come from.
    """
    contents = [n for n, c in enumerate(spec.columns) if is_content(table.schema.field(c))]
    for ordinals, batch in _read(table, spec.columns, todo, documents):
        works: list[Work] = []
        size = 0
        rows = zip(ordinals, plain_rows(batch, spec.columns), _unreadable(batch), strict=True)
        for ordinal, values, reason in rows:
            if reason is None and contents and all(values[n] is None for n in contents):
                reason = _NOTHING_TO_READ
            work = work_of(spec, ordinal, wanted.get(ordinal, 0), values, fit, reason, documents)
            works.append(work)
            size += work.size_bytes
            if size >= _MOST_BYTES:  # pictures are large
                yield works
                works, size = [], 0
        if works:
            yield works


def work_of(
    spec: WorkSpec,
    ordinal: int,
    generation: int,
    values: Values,
    fit: Fit,
    unreadable: str | None,
    documents: Documents | None = None,
) -> Work:
    """One subtask; one that cannot be worked carries its refusal."""
    canonical = canonical_values(spec, values)
    size = len(canonical)
    refused: tuple[str, str] | None = None
    shown = [
        image
        for tag, value in zip(spec.tags, values, strict=False)
        if tag.images
        for image in value or ()
    ]
    if unreadable is not None:
        refused = (ErrorKind.BAD_INPUT.value, unreadable)
    else:
        seen = sum(map(image_tokens, shown))
        tokens = (count_tokens(user_message(spec, values)[0]) + seen for _ in range(1))
        if trouble := fit.trouble(len(canonical) + seen, tokens):
            refused = (ErrorKind.CONTEXT_TOO_LONG.value, trouble)
        elif shown and documents is not None:
            values = with_images(spec, values, documents.image)
            size += sum(image["size"] for image in shown)
    return Work(
        ordinal=ordinal,
        generation=generation,
        reuse_key=reuse_key(spec.prefix_hash, canonical),
        values=values,
        size_bytes=size,
        refused=refused,
    )


def by_reference(
    batches: Iterator[list[Work]], spec: WorkSpec, table: Table
) -> Iterator[list[Work]]:
    """The same work, which says of large cells where they stand, for hosts elsewhere to read."""
    places = CellPlaces(table, spec.columns)
    for works in batches:
        yield [_light(work, places) for work in works]


def _light(work: Work, places: CellPlaces) -> Work:
    if work.size_bytes < LARGE_CHARS or work.refused or work.answered:
        return work
    values, cells = places.without_large(work.ordinal, work.values)
    return replace(work, values=values, cells=cells) if cells else work


def canonical_rows(spec: WorkSpec, table: Table, ordinals: BitMap) -> Iterator[tuple[int, bytes]]:
    """(ordinal, canonical values) of rows as they are now, in ordinal order."""
    for ordinal, values in values_of(spec, table, ordinals):
        yield ordinal, canonical_values(spec, values)


def values_of(spec: WorkSpec, table: Table, ordinals: BitMap) -> Iterator[tuple[int, Values]]:
    """(ordinal, values) of rows, in ordinal order."""
    for some, batch in _batches(table, spec.columns, ordinals):
        yield from zip(some, plain_rows(batch, spec.columns), strict=True)


def _read(
    table: Table, columns: list[str], todo: BitMap, documents: Documents
) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    if table.content is None or not any(is_content(table.schema.field(c)) for c in columns):
        yield from _batches(table, columns, todo)
    else:
        yield from documents.rows(table, [*dict.fromkeys(columns), UNREADABLE], todo)


def _batches(
    table: Table, columns: list[str], todo: BitMap
) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    if not todo:
        return
    wanted = list(dict.fromkeys(columns))
    if UNREADABLE in table.schema.names or table.content is not None:
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
        first = 0
        for batch in table.take(some, columns).to_batches():
            yield some[first : first + batch.num_rows], batch
            first += batch.num_rows


def _unreadable(batch: pa.RecordBatch) -> list[str | None]:
    if UNREADABLE not in batch.schema.names:
        return [None] * batch.num_rows
    return batch.column(UNREADABLE).to_pylist()
