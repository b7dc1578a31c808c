"""Puts the answer where the user wants it: the table, and what was quarantined beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from apwa.journal import JournalReader
from apwa.runs.closing import STATS, STATUS, is_answer, with_stats
from apwa.runs.export import quarantine_path, write_answer
from apwa.tables import Table
from apwa.vocabulary import RUN


def deliver(
    tables: Mapping[str, Table], answer: str, path: Path, reader: JournalReader, *, stats: bool
) -> list[Path]:
    """Write the answer, and the quarantined rows of its step and of earlier ones; the paths.

    Files of quarantined rows that an earlier try left are removed: the rows have moved on.
    """
    written = write_table_to(tables[answer], path, reader, answer, stats=stats)
    for name, table in tables.items():
        if name != answer:
            written += _write_quarantined(table, quarantine_path(path, name))
    return written


def write_table_to(
    table: Table, path: Path, reader: JournalReader, step: str, *, stats: bool
) -> list[Path]:
    """Write a step's table, and its quarantined rows with their reasons to a file beside it."""
    schema = table.schema
    if stats and STATUS in schema.names:
        schema = pa.schema([*schema, *STATS])
        write_answer(with_stats(table, reader, step, RUN), schema, path)
    else:
        write_answer((batch for _, batch in table.batches()), schema, path)
    return [path, *_write_quarantined(table, quarantine_path(path))]


def _write_quarantined(table: Table, beside: Path) -> list[Path]:
    schema = pa.schema([field for field in table.schema if not is_answer(field)])
    batches = (batch.select(schema.names) for batch in quarantined_batches(table))
    first = next(batches, None)
    beside.unlink(missing_ok=True)
    if first is None:
        return []

    def rows() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    write_answer(rows(), schema, beside)
    return [beside]


def quarantined_batches(table: Table) -> Iterator[pa.RecordBatch]:
    """Quarantined rows: their input columns, status and error, so that they can be mended."""
    if STATUS not in table.schema.names:
        return
    for _, batch in table.batches():
        status = batch.column(batch.schema.get_field_index(STATUS)).to_pylist()
        rows = [i for i, word in enumerate(status) if word == "quarantined"]
        if rows:
            yield batch.take(pa.array(rows, pa.int64()))
