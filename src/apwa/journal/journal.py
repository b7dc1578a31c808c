"""Writing a run's journal: what the driver holds.

Exactly one result per row rests on three things. The key is unique, so the first writer wins
within a generation and a late duplicate changes nothing. The lock admits one driver. And each
driver raises the run's epoch when it opens the journal and every transaction checks it, so that
one that was given up for dead and comes back can no longer write.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from apwa.journal.ageing import Ageing, subject_of
from apwa.journal.books import Books
from apwa.journal.key import MAX_GENERATION, MAX_ORDINAL, pack
from apwa.journal.lock import RunLock, refuse_network
from apwa.journal.reader import SqliteReader
from apwa.journal.schema import USAGE_COLUMNS, connect_writer, words_for
from apwa.journal.seam import Journal, JournalReader, PlanVersion, StoredResult
from apwa.journal.writer import Change, T, Writer
from apwa.vocabulary import Usage, encode_command
from apwa.vocabulary.control import Command
from apwa.vocabulary.events import Event, Numbered, encode_event

_INSERT = (
    "INSERT INTO results (key, kind, reuse_key, source, duration_s, host, answer, raw, message,"
    " attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
)
_encode = msgspec.msgpack.Encoder().encode


def open_journal(path: Path) -> Journal:
    """Take the run's lock, make or open its journal, raise its epoch.

    Raises Locked if another driver holds the run, Misuse for a network file system and for a
    file that is no journal or of a newer apwa.
    """
    refuse_network(path.parent)
    lock = RunLock(path)
    try:
        connection = connect_writer(path)
        try:
            epoch = _raise_epoch(connection, path)
            reader = SqliteReader(path)
            writer = Writer(connection, path, epoch)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        lock.release()
        raise
    return SqliteJournal(lock, writer, reader, epoch)


def _raise_epoch(connection: sqlite3.Connection, path: Path) -> int:
    try:
        [(epoch,)] = connection.execute("UPDATE run SET epoch = epoch + 1 RETURNING epoch")
    except sqlite3.Error as error:
        raise words_for(error, path) from error
    return epoch


class SqliteJournal:
    """The ``Journal`` in SQLite. Made by ``open_journal``."""

    def __init__(self, lock: RunLock, writer: Writer, reader: SqliteReader, epoch: int) -> None:
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._epoch = epoch
        self._ageing = Ageing()

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def reader(self) -> JournalReader:
        return self._reader

    async def append(self, results: Sequence[StoredResult]) -> list[bool]:
        for result in results:
            if not 0 <= result.ordinal <= MAX_ORDINAL:
                raise ValueError(f"ordinal {result.ordinal} is out of bounds")
            if not 0 <= result.generation <= MAX_GENERATION:
                raise ValueError(f"generation {result.generation} is out of bounds")
        if not results:
            return []
        taken = list(results)
        return await self._write(lambda connection, books: _append(connection, books, taken))

    async def add_event(self, event: Event) -> Numbered:
        at, subject, text = time.time(), subject_of(event), encode_event(event).decode()

        def change(connection: sqlite3.Connection, _: Books) -> Numbered:
            number = _insert(
                connection, "INSERT INTO events (at, progress, event) VALUES (?, ?, ?)",
                at, subject, text,
            )  # fmt: skip
            if subject is not None:
                self._ageing.thin(connection, subject, number, at)
            return Numbered(number, at, event)

        return await self._write(change)

    async def add_plan(self, text: str, reason: str) -> PlanVersion:
        at = time.time()

        def change(connection: sqlite3.Connection, _: Books) -> PlanVersion:
            version = _insert(
                connection, "INSERT INTO plans (text, reason, at) VALUES (?, ?, ?)",
                _text(text), _text(reason), at,
            )  # fmt: skip
            return PlanVersion(version, text, reason, at)

        return await self._write(change)

    async def add_turn(self, message: bytes, usage: Usage, plan_version: int) -> None:
        await self._put(
            "INSERT INTO turns (message, usage, plan_version) VALUES (?, ?, ?)",
            _readable(message), _json(usage), plan_version,
        )  # fmt: skip

    async def open_block(self, holder: str, limit: Usage) -> int:
        return await self._put(
            f'INSERT INTO blocks (holder, "limit", {USAGE_COLUMNS})'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            holder, _json(limit), *msgspec.structs.astuple(limit),
        )  # fmt: skip

    async def close_block(self, block: int, spent: Usage) -> None:
        await self._put(
            f"UPDATE blocks SET (spent, {USAGE_COLUMNS}) = (?, ?, ?, ?, ?, ?, ?)"
            " WHERE id = ? AND spent IS NULL",
            _json(spent), *msgspec.structs.astuple(spent), block,
        )  # fmt: skip

    async def take_command(self, command: Command) -> None:
        await self._put(
            "INSERT INTO commands (at, command) VALUES (?, ?)",
            time.time(), encode_command(command).decode(),
        )  # fmt: skip

    async def put_fact(self, name: str, value: bytes) -> None:
        await self._put("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", name, value)

    async def close(self) -> None:
        """Write what is waiting, close the file, give the run free. Safe to call twice."""
        self._writer.stop()
        await asyncio.to_thread(self._writer.join)
        self._reader.close()
        self._lock.release()

    async def _write(self, change: Change[T]) -> T:
        return await asyncio.wrap_future(self._writer.submit(change))

    async def _put(self, sql: str, *values: object) -> int:
        return await self._write(lambda connection, _: _insert(connection, sql, *values))


def _insert(connection: sqlite3.Connection, sql: str, *values: object) -> int:
    return connection.execute(sql, values).lastrowid or 0


def _append(
    connection: sqlite3.Connection, books: Books, results: list[StoredResult]
) -> list[bool]:
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM results").fetchone()
    written = connection.total_changes
    keys = [pack(books.of(r.scope, r.step).number, r.ordinal, r.generation) for r in results]
    connection.executemany(_INSERT, map(_row, keys, results))
    if connection.total_changes - written == len(results):
        first = [True] * len(results)
    else:
        rows = connection.execute("SELECT key FROM results WHERE id > ?", (newest,))
        new = {key for (key,) in rows}
        first = []
        for key in keys:  # of equal keys within the batch, too, the first one wins
            first.append(key in new)
            new.discard(key)
    here: dict[int, tuple[int, bool]] = {}
    for key, result, counts in zip(keys, results, first, strict=True):
        if counts:
            book = books.of(result.scope, result.step)
            book.charge(result.attempts)
            book.count(connection, key, result.kind is not None, newest, here)
    transcripts = [
        (key, result.transcript)
        for key, result, counts in zip(keys, results, first, strict=True)
        if counts and result.transcript
    ]
    connection.executemany("INSERT INTO transcripts (key, data) VALUES (?, ?)", transcripts)
    return first


def _row(key: int, result: StoredResult) -> tuple[object, ...]:
    return (
        key,
        None if result.kind is None else result.kind.value,
        result.reuse_key,
        result.source,
        result.duration_s,
        result.host,
        _readable(result.answer),
        _text(result.raw),
        _text(result.message),
        _encode(result.attempts),
    )


def _json(usage: Usage) -> str:
    return msgspec.json.encode(usage).decode()


def _readable(data: bytes) -> str | bytes:
    """JSON as text, so that people and SQLite's JSON functions can read it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _text(text: str) -> str:
    """Text that SQLite can hold: half a surrogate pair, which a model may send, becomes '?'."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
