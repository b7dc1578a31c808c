"""A step that closes becomes a table: every input row, the answer beside it, its status.

The types come from the contract, never from rows; the rows come from the table and the journal
side by side in ordinal order, a page at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyroaring import BitMap

from apwa.journal import JournalReader, StoredResult
from apwa.plan import answer_schema, answers_to_arrow
from apwa.tables import Table, write_table
from apwa.vocabulary import PILOT, WorkSpec

HIDDEN = "(hidden: the step reads sensitive columns)"
STATUS = "_status"
ERROR = "_error"
STATS = pa.schema(
    [
        pa.field("_attempts", pa.int64()),
        pa.field("_model", pa.string()),
        pa.field("_tokens", pa.int64()),
        pa.field("_cost", pa.float64()),
    ]
)
ANSWER = {b"apwa.answer": b"yes"}
_ENDING = [pa.field(STATUS, pa.string()), pa.field(ERROR, pa.string())]


def without_ending(schema: pa.Schema) -> pa.Schema:
    """The columns that later steps see: all but the status and the error."""
    return pa.schema([field for field in schema if field.name not in (STATUS, ERROR)])


def close_template(
    spec: WorkSpec, source: Table, reader: JournalReader, scope: str, rows: BitMap, into: Path
) -> Table:
    """Write a template step's table in ordinal order, every row of the source in it.

    Rows without a result, and those that are not of ``rows``, are ``skipped``: left out by a
    selection or a stop, or their parent is not done.
    """
    return _write(spec, source, template_batches(spec, source, reader, scope, rows), scope, into)


def close_sample(
    spec: WorkSpec, source: Table, reader: JournalReader, scope: str, rows: BitMap, into: Path
) -> Table:
    """Write a pilot's table: only the rows that it has worked, however many the source has."""
    return _write(spec, source, batches_of(spec, source, reader, scope, rows), scope, into)


def _write(
    spec: WorkSpec, source: Table, batches: Iterator[pa.RecordBatch], scope: str, into: Path
) -> Table:
    return write_table(
        spec.step,
        batches,
        template_schema(spec, source),
        into,
        key=source.key,
        source=scope,
        sensitive=source.sensitive | made_sensitive(spec, source),
    )


def made_sensitive(spec: WorkSpec, source: Table) -> frozenset[str]:
    """Columns of a step that may repeat what stands in sensitive ones: its answers."""
    if not source.sensitive & set(spec.columns):
        return frozenset()
    return frozenset(answer_schema(spec.contract).names)


def template_schema(spec: WorkSpec, source: Table) -> pa.Schema:
    """Columns of a template step's table: the source's, the answer's, status and error."""
    columns = [field.remove_metadata() if is_answer(field) else field for field in source.schema]
    answer = [field.with_metadata(ANSWER) for field in answer_schema(spec.contract)]
    return pa.schema([*without_ending(pa.schema(columns)), *answer, *_ENDING])


def is_answer(field: pa.Field) -> bool:
    """Whether a column is what the table's own step answered, not what it was given."""
    return ANSWER.items() <= (field.metadata or {}).items()


def template_batches(
    spec: WorkSpec,
    source: Table,
    reader: JournalReader,
    scope: str,
    rows: BitMap | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of a template step's table as the journal has them now, in ordinal order.

    ``rows``: only their results count; None: all.
    """
    results = _Cursor(reader.results(scope, spec.step))
    for first, batch in source.batches(without_ending(source.schema).names):
        found = results.up_to(first, first + batch.num_rows)
        if rows is not None:
            found = [r if r is not None and r.ordinal in rows else None for r in found]
        yield _with_answers(spec, source, batch, found)


def batches_of(
    spec: WorkSpec, source: Table, reader: JournalReader, scope: str, rows: BitMap
) -> Iterator[pa.RecordBatch]:
    """Just these rows of a template step's table, as the journal has them now."""
    ordinals = list(rows)
    taken = source.take(ordinals, without_ending(source.schema).names)
    found = [next(reader.results(scope, spec.step, o, o + 1), None) for o in ordinals]
    first = 0
    for batch in taken.combine_chunks().to_batches():
        yield _with_answers(spec, source, batch, found[first : first + batch.num_rows])
        first += batch.num_rows


def _with_answers(
    spec: WorkSpec, source: Table, batch: pa.RecordBatch, found: list[StoredResult | None]
) -> pa.RecordBatch:
    answers = answers_to_arrow(
        [r.answer if r is not None and r.kind is None else None for r in found],
        answer_schema(spec.contract),
    )
    endings = _endings(found, hidden=bool(made_sensitive(spec, source)))
    return pa.RecordBatch.from_arrays(
        [*batch.columns, *answers.columns, *endings], schema=template_schema(spec, source)
    )


class _Cursor:
    """Aligns results, which come in ordinal order and may lack some, with spans of ordinals."""

    def __init__(self, results: Iterator[StoredResult]) -> None:
        self._results = results
        self._next = next(results, None)

    def up_to(self, start: int, stop: int) -> list[StoredResult | None]:
        found: list[StoredResult | None] = [None] * (stop - start)
        while self._next is not None and self._next.ordinal < stop:
            if self._next.ordinal >= start:
                found[self._next.ordinal - start] = self._next
            self._next = next(self._results, None)
        return found


def _endings(found: list[StoredResult | None], *, hidden: bool) -> list[pa.Array]:
    status = [
        "skipped" if r is None else "done" if r.kind is None else "quarantined" for r in found
    ]
    reasons = [reason(r, hidden=hidden) for r in found]
    return [pa.array(status, pa.string()), pa.array(reasons, pa.string())]


def reason(result: StoredResult | None, *, hidden: bool) -> str | None:
    """Why a row is quarantined: its kind, and the words that say what happened.

    ``hidden``: not the words, which may quote what stands in sensitive columns.
    """
    if result is None or result.kind is None:
        return None
    return f"{result.kind.value}: {HIDDEN if hidden else result.message}"


def with_stats(
    table: Table, reader: JournalReader, step: str, scope: str
) -> Iterator[pa.RecordBatch]:
    """The table's batches with attempts, model, tokens and cost (US dollars) beside each row.

    What nobody has counted is null; a call of unknown outcome counts with its bound, as in caps. An
    answer of the pilot's counts with the first row that has it; a row that shares another's, or an
    earlier run's, made no attempt.
    """
    results = _Cursor(reader.results(scope, step))
    piloted = {r.reuse_key: r for r in reader.results(PILOT, step) if r.kind is None}
    schema = pa.schema([*table.schema, *STATS])
    for first, batch in table.batches():
        found = results.up_to(first, first + batch.num_rows)
        made = [r if r is None or r.attempts else piloted.pop(r.reuse_key, r) for r in found]
        usages = [None if r is None else _usage(r) for r in made]
        stats = pa.RecordBatch.from_pylist(
            [dict(zip(STATS.names, u or (None,) * 4, strict=True)) for u in usages], schema=STATS
        )
        yield pa.RecordBatch.from_arrays([*batch.columns, *stats.columns], schema=schema)


def _usage(result: StoredResult) -> tuple[int, str | None, int | None, float | None]:
    counted = all(attempt.counted for attempt in result.attempts)
    tokens = sum(a.usage.tokens for a in result.attempts) if counted else None
    costs = [a.usage.cost_nusd for a in result.attempts]
    cost = None if None in costs else sum(c for c in costs if c is not None) / 1e9
    model = result.attempts[-1].model if result.attempts else None
    return len(result.attempts), model, tokens, cost


def done_ordinals(table: Table) -> BitMap:
    """Ordinals that later steps may range over: all of a table without a status column."""
    if STATUS not in table.schema.names:
        return BitMap(range(table.rows))
    done = BitMap()
    for first, batch in table.batches([STATUS]):
        done.update(
            first + i for i, status in enumerate(batch.column(0).to_pylist()) if status == "done"
        )
    return done


class StatusCounts(NamedTuple):
    """How the rows of a table stand: the three last add up to the first."""

    rows: int
    done: int
    quarantined: int
    skipped: int


def status_counts(table: Table) -> StatusCounts:
    """Count a table's rows by status; all rows of a table without one are done."""
    if STATUS not in table.schema.names:
        return StatusCounts(table.rows, table.rows, 0, 0)
    seen = Counter[str]()
    for _, batch in table.batches([STATUS]):
        seen.update(batch.column(0).to_pylist())
    return StatusCounts(table.rows, seen["done"], seen["quarantined"], seen["skipped"])


def skipped_rows(table: Table, most: int) -> list[str]:
    """The keys of the first so many skipped rows; their positions where keys are sensitive."""
    if STATUS not in table.schema.names:
        return []
    by_key = bool(table.key) and not table.sensitive & set(table.key)
    found: list[str] = []
    for first, batch in table.batches([STATUS]):
        skipped = [
            first + i for i, word in enumerate(batch.column(0).to_pylist()) if word == "skipped"
        ]
        for ordinal in skipped[: most - len(found)]:
            keys = table.row_keys(ordinal, ordinal + 1) if by_key else iter([str(ordinal + 1)])
            found += keys
    return found


def select_rows(table: Table, ordinals: BitMap, into: Path) -> Table:
    """A table of just these rows, without status and error, for queries."""
    schema = without_ending(table.schema)

    def batches() -> Iterator[pa.RecordBatch]:
        for first, batch in table.batches(schema.names):
            inside = ordinals & BitMap(range(first, first + batch.num_rows))
            if len(inside) == batch.num_rows:
                yield batch
            elif inside:
                yield batch.take(pa.array([o - first for o in inside], pa.int64()))

    return write_table(
        table.name, batches(), schema, into, key=table.key, source=table.source,
        sensitive=table.sensitive & set(schema.names),
    )  # fmt: skip


def rows_table(
    name: str, rows: list[dict[str, object]], schema: pa.Schema, key: tuple[str, ...], into: Path
) -> Table:
    """The table of a ``rows`` step."""
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    return write_table(name, chain([batch]), schema, into, key=key, source="rows of the plan")
