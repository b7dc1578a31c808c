"""Writes a table to the file that a person asked for: Parquet, JSON lines or CSV, whole or not."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from apwa.runs.files import check_place, whole
from apwa.tables import is_content, plain_rows
from apwa.vocabulary import Misuse

_ENDINGS = (".parquet", ".jsonl", ".csv")
_PART_BYTES = 32 << 20


def check_target(path: Path, force: bool) -> None:
    """Raises Misuse for a path that cannot be written, before anything is spent."""
    if path.suffix not in _ENDINGS:
        raise Misuse(
            f"{path.suffix or 'no ending'!r} is no format of an answer",
            str(path),
            "End the name in " + ", ".join(_ENDINGS) + ".",
        )
    for some in (path, quarantine_path(path)):
        check_place(some, force=force)


def quarantine_path(path: Path, step: str = "") -> Path:
    """The file beside an answer for its quarantined rows, or for those of an earlier step."""
    middle = f".quarantined.{step}" if step else ".quarantined"
    return path.with_name(path.stem + middle + path.suffix)


def write_answer(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Write rows to ``path`` by its ending; contents of files are left out, their names stay.

    Raises Paused if the disk is full: nothing is lost, the table stands in the run.
    """
    kept = pa.schema([f for f in schema if not is_content(f)])
    if not kept.names:
        kept = schema
    # what apwa notes on columns for itself stays inside
    bare = pa.schema([field.remove_metadata() for field in kept])
    narrow = (
        pa.RecordBatch.from_arrays(batch.select(bare.names).columns, schema=bare)
        for batch in batches
    )
    with whole(path) as begun:
        _WRITERS[path.suffix](narrow, bare, begun)


def _parquet(batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            if sum(b.nbytes for b in waiting) >= _PART_BYTES:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting = []
        writer.write_table(pa.Table.from_batches(waiting, schema))


def _jsonl(batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    encoder = msgspec.json.Encoder()
    names = schema.names
    with path.open("wb") as file:
        for batch in batches:
            rows = plain_rows(batch, names)
            lines = [encoder.encode(dict(zip(names, row, strict=True))) for row in rows]
            file.write(b"\n".join([*lines, b""]))


def _csv(batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(schema.names)
        for batch in batches:
            writer.writerows([_cell(v) for v in row] for row in plain_rows(batch, schema.names))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return msgspec.json.encode(value).decode()
    return "" if value is None else value


_WRITERS: dict[str, Callable[[Iterator[pa.RecordBatch], pa.Schema, Path], None]] = {
    ".parquet": _parquet,
    ".jsonl": _jsonl,
    ".csv": _csv,
}
