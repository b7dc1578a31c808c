"""Reads a run's inputs once, and sees at resume whether their sources have changed since."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from apwa.documents import Split
from apwa.runs.desk import Desk
from apwa.runs.settings import TableSource
from apwa.stores import Fetched, Progress, fetch, is_address, remote_stamp, shown
from apwa.tables import COPIED, Stop, Table, find_source, frame_table, read_table
from apwa.vocabulary import BadInput, Misuse
from apwa.vocabulary.events import InputFetched, TableRead, Trouble

_STAMPS = "sources"
_END_BYTES = 64 << 10


async def read_inputs(
    desk: Desk, sources: Sequence[TableSource], frames: Mapping[str, object] | None = None
) -> None:
    """Snapshot the inputs. All errors of format are found here, before any call.

    Args:
        sources: Where the tables come from, with whatever an address hides.
        frames: Data frames of the caller, by table.
    """
    stamps: dict[str, str] = {}
    for source in sources:
        if source.frame:
            table = await _frame(desk, source, (frames or {}).get(source.name))
        elif is_address(source.source):
            stamps[source.name], table = await _from_afar(desk, source)
        else:
            # before it is read: what changes meanwhile shows as a change
            stamps[source.name] = await asyncio.to_thread(stamp, source.source, source.split)
            table = await _read(desk, source, source.source)
        desk.tables[source.name] = table
        desk.emit(
            TableRead(
                source.name, table.rows, len(table.schema), table.source, left_out=table.left_out
            )
        )
    await desk.journal.put_fact(_STAMPS, msgspec.json.encode(stamps))
    await desk.keep_tables()


def as_kept(source: TableSource) -> TableSource:
    """A source as it may be kept with a run: a query of an address may be a key."""
    return msgspec.structs.replace(source, source=shown(source.source))


async def _read(desk: Desk, source: TableSource, place: str) -> Table:
    stop = Stop()

    def read() -> Table:
        return read_table(
            source.name,
            place,
            desk.directory.inputs / source.name,
            key=source.key,
            sensitive=source.sensitive,
            split=source.split,
            stop=stop,
        )

    return await _in_thread(read, stop)


async def _in_thread(work: Callable[[], Table], stop: Stop) -> Table:
    reading = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([reading])  # a thread cannot be killed, and must not write later on
        raise


async def _from_afar(desk: Desk, source: TableSource) -> tuple[str, Table]:
    """Fetch what an address names, and read it from here."""
    place = shown(source.source)
    into = desk.directory.inputs / f"{source.name}.fetched"

    def say(now: Progress) -> None:
        loop.call_soon_threadsafe(
            desk.emit,
            InputFetched(
                source.name, place, now.files, now.all_files, now.size_bytes, now.all_bytes
            ),
        )

    loop = asyncio.get_running_loop()
    fetched = await fetch(source.source, into, say)
    try:
        table = await _read(desk, source, fetched.source)
    except BadInput as error:
        raise BadInput(
            *(_said(words, fetched) for words in (error.what, error.where, error.todo))
        ) from error
    if (await asyncio.to_thread(find_source, fetched.source, source.split)).kind in COPIED:
        await asyncio.to_thread(shutil.rmtree, into)  # all of it stands in the snapshot
    return fetched.stamp, replace(table, source=place, left_out=fetched.left_out)


def _said(words: str, fetched: Fetched) -> str:
    """Words about a file here, as words about where it came from."""
    return words.replace(fetched.here, fetched.there)


async def _frame(desk: Desk, source: TableSource, frame: object) -> Table:
    if frame is None:
        raise Misuse(
            f"table {source.name} came from the memory of a process that has ended before it was"
            " written down",
            source.source,
            "Start a new run.",
        )

    def read() -> Table:
        return frame_table(
            source.name,
            frame,
            desk.directory.inputs / source.name,
            key=source.key,
            sensitive=source.sensitive,
        )

    return await _in_thread(read, Stop())


async def look_for_changes(desk: Desk, sources: Sequence[TableSource]) -> None:
    """Warn where a source is not what was read: the run goes on with what it has.

    Raises Misuse for a table that is read in place and has changed: its rows are not those that
    were answered.
    """
    kept = desk.reader.fact(_STAMPS)
    stamps = {} if kept is None else msgspec.json.decode(kept, type=dict[str, str])
    for source in sources:
        before = stamps.get(source.name)
        if before is None:
            continue
        if is_address(source.source):
            now = await remote_stamp(source.source)
        else:
            now = await asyncio.to_thread(stamp, source.source, source.split)
        if now in (before, None):
            continue
        files = desk.tables[source.name].files
        if files and not all(path.is_relative_to(desk.directory.inputs) for path in files):
            raise Misuse(
                f"table {source.name} has changed since the run began, and it is read in place",
                source.source,
                "Put the file back as it was, or start a new run.",
            )
        words = f"{source.source} has changed since table {source.name} was read: the run goes on"
        rest = "with what it read then"
        if desk.tables[source.name].content is not None:
            rest += "; of what it had not read yet, a file that is another one now is set aside"
        desk.emit(Trouble("source_changed", f"{words} {rest}"))


def stamp(source: str, split: Split = "") -> str:
    """Marks the state of a source's files: size and time of change, or both ends of those that
    are read in place (a copy that is put back is then the same)."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        found = find_source(source, split)
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
