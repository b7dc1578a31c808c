"""Reads a run's inputs once, and sees at resume whether their sources have changed since."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from apwa.runs.desk import Desk
from apwa.runs.settings import TableSource
from apwa.tables import Table, find_source, read_table
from apwa.vocabulary import BadInput, Misuse
from apwa.vocabulary.events import TableRead, Trouble

_STAMPS = "sources"
_END_BYTES = 64 << 10


async def read_inputs(desk: Desk, sources: Sequence[TableSource]) -> None:
    """Snapshot the inputs. All errors of format are found here, before any call."""
    stamps: dict[str, str] = {}
    for source in sources:
        # before it is read: what changes meanwhile shows as a change
        stamps[source.name] = await asyncio.to_thread(stamp, source.source)
        table = await _in_thread(desk, source)
        desk.tables[source.name] = table
        desk.emit(TableRead(source.name, table.rows, len(table.schema), table.source))
    await desk.journal.put_fact(_STAMPS, msgspec.json.encode(stamps))
    await desk.keep_tables()


async def _in_thread(desk: Desk, source: TableSource) -> Table:
    reading = asyncio.ensure_future(
        asyncio.to_thread(
            read_table,
            source.name,
            source.source,
            desk.directory.inputs / source.name,
            key=source.key,
            sensitive=source.sensitive,
        )
    )
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait([reading])  # a thread cannot be stopped, and must not write later on
        raise


async def look_for_changes(desk: Desk, sources: Sequence[TableSource]) -> None:
    """Warn where a source is not what was read: the run goes on with what it has.

    Raises Misuse for a table that is read in place and has changed: its rows are not those that
    were answered.
    """
    kept = desk.reader.fact(_STAMPS)
    stamps = {} if kept is None else msgspec.json.decode(kept, type=dict[str, str])
    for source in sources:
        before = stamps.get(source.name)
        if before is None or before == await asyncio.to_thread(stamp, source.source):
            continue
        files = desk.tables[source.name].files
        if files and not all(path.is_relative_to(desk.directory.inputs) for path in files):
            raise Misuse(
                f"table {source.name} has changed since the run began, and it is read in place",
                source.source,
                "Put the file back as it was, or start a new run.",
            )
        words = f"{source.source} has changed since table {source.name} was read: the run goes on"
        desk.emit(Trouble("source_changed", f"{words} with what it read then"))


def stamp(source: str) -> str:
    """Marks the state of a source's files: size and time of change, or both ends of those that
    are read in place (a copy that is put back is then the same)."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        found = find_source(source)
        for path in found.files:
            about = path.stat()
            mark = f"{path}:{about.st_size}"
            if found.kind in ("parquet", "arrow"):
                digest.update(_ends(path, about.st_size))
            else:
                mark += f":{about.st_mtime_ns}"
            digest.update(mark.encode("utf-8", "surrogateescape"))
    except (BadInput, OSError):
        return "gone"
    return digest.hexdigest()


def _ends(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        head = file.read(_END_BYTES)
        file.seek(max(0, size - _END_BYTES))
        return head + file.read()
