"""The driver's side: one thread writes, what waits is committed together."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from apwa.journal.lock import RunLock
from apwa.journal.reader import SqliteReader
from apwa.journal.schema import (
    RESULT_COLUMNS,
    connect,
    encode_attempts,
    is_of_disk,
    pack_key,
    unwritable,
)
from apwa.journal.seam import Journal, JournalReader, PlanVersion, StoredResult
from apwa.vocabulary import Command, Locked, Usage, encode_command
from apwa.vocabulary.events import Event, Numbered, StepProgress, encode_event

_TOGETHER = 64  # calls committed in one transaction at most
_RECENT_S = 600.0
_COARSE_S = 10
_PRUNE_EVERY = 200

_INSERT = f"INSERT OR IGNORE INTO results ({RESULT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

Write = Callable[[sqlite3.Connection], Any]
_Waiting = tuple[Write, "Future[Any]"]


def open_journal(path: Path) -> Journal:
    """Take the run: its lock, a new epoch, its journal (made if it is not there).

    Raises:
        Locked: Another process drives the run.
        Misuse: The file is no journal, or lies on a network file system.
        Paused: The disk is full.
    """
    lock = RunLock(path)
    try:
        return SqliteJournal(path, lock)
    except BaseException as error:
        lock.close()
        if is_of_disk(error):
            raise unwritable(error, path) from error
        raise


class SqliteJournal:
    """A ``Journal`` over one SQLite file."""

    def __init__(self, path: Path, lock: RunLock) -> None:
        self._path = path
        self._lock = lock
        self._connection = connect(path, write=True)
        self._epoch = _raise_epoch(self._connection)
        rows = self._connection.execute("SELECT scope, step, number FROM steps")
        self._steps = {(scope, step): number for scope, step, number in rows}
        self._reader = SqliteReader(path)
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()
        self._closed = False

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def reader(self) -> JournalReader:
        return self._reader

    async def append(self, results: Sequence[StoredResult]) -> list[bool]:
        return await self._do(lambda connection: self._append(connection, results))

    async def add_event(self, event: Event) -> Numbered:
        at = time.time()
        progress = f"{event.scope} {event.step}" if isinstance(event, StepProgress) else ""
        row = (at, progress, encode_event(event))

        def write(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO events (at, progress, event) VALUES (?, ?, ?)", row
            )
            number = cursor.lastrowid or 0
            if progress and number % _PRUNE_EVERY == 0:
                _coarsen(connection, at)
            return number

        return Numbered(await self._do(write), at, event)

    async def add_plan(self, text: str, reason: str) -> PlanVersion:
        at = time.time()

        def write(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO plans (text, reason, at) VALUES (?, ?, ?)", (text, reason, at)
            )
            return cursor.lastrowid or 0

        return PlanVersion(await self._do(write), text, reason, at)

    async def add_turn(self, message: bytes, usage: Usage, plan_version: int) -> None:
        row = (message, msgspec.json.encode(usage), plan_version)
        await self._run("INSERT INTO turns (message, usage, plan_version) VALUES (?, ?, ?)", row)

    async def open_block(self, holder: str, limit: Usage) -> int:
        row = (holder, msgspec.json.encode(limit))
        return await self._run("INSERT INTO blocks (holder, reserved) VALUES (?, ?)", row)

    async def close_block(self, block: int, spent: Usage) -> None:
        row = (msgspec.json.encode(spent), block)
        await self._run("UPDATE blocks SET spent = ? WHERE id = ? AND spent IS NULL", row)

    async def take_command(self, command: Command) -> None:
        row = (time.time(), encode_command(command))
        await self._run("INSERT INTO commands (at, command) VALUES (?, ?)", row)

    async def put_fact(self, name: str, value: bytes) -> None:
        await self._run("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.close()
        self._connection.close()
        self._lock.close()

    # ---- writing

    async def _run(self, sql: str, row: tuple[object, ...]) -> int:
        return await self._do(lambda connection: connection.execute(sql, row).lastrowid or 0)

    async def _do(self, write: Write) -> Any:
        future: Future[Any] = Future()
        self._waiting.put((write, future))
        return await asyncio.wrap_future(future)

    def _write(self) -> None:
        """The writing thread: what has gathered meanwhile shares one transaction and one sync."""
        ended = False
        while not ended:
            batch: list[_Waiting] = []
            item = self._waiting.get()
            while item is not None:
                if item[1].set_running_or_notify_cancel():
                    batch.append(item)
                if len(batch) >= _TOGETHER or self._waiting.empty():
                    break
                item = self._waiting.get()
            ended = item is None
            if batch:
                self._commit(batch)

    def _commit(self, batch: list[_Waiting]) -> None:
        connection = self._connection
        done: list[Any] = []
        steps = dict(self._steps)
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._refuse_old_epoch(connection)
            for write, _ in batch:
                done.append(write(connection))
            connection.execute("COMMIT")
        except BaseException as error:
            self._steps = steps
            if connection.in_transaction:
                with contextlib.suppress(
                    sqlite3.Error
                ):  # whoever waits must hear of it all the same
                    connection.execute("ROLLBACK")
            said = unwritable(error, self._path) if is_of_disk(error) else error
            for _, future in batch:
                future.set_exception(said)
            return
        for (_, future), result in zip(batch, done, strict=True):
            future.set_result(result)

    def _refuse_old_epoch(self, connection: sqlite3.Connection) -> None:
        (epoch,) = connection.execute("SELECT value FROM facts WHERE name = 'epoch'").fetchone()
        if int(epoch) != self._epoch:
            raise Locked(
                "another driver has taken the run over", self._path.parent.name, "Leave it to it."
            )

    def _append(
        self, connection: sqlite3.Connection, results: Sequence[StoredResult]
    ) -> list[bool]:
        first: list[bool] = []
        spent: dict[int, Usage] = {}
        for result in results:
            number = self._step(connection, result.scope, result.step)
            cursor = connection.execute(_INSERT, _row(number, result))
            first.append(cursor.rowcount == 1)
            if not first[-1]:
                continue
            if result.transcript:
                connection.execute(
                    "INSERT INTO transcripts VALUES (?, ?)", (cursor.lastrowid, result.transcript)
                )
            for attempt in result.attempts:
                spent[number] = spent.get(number, Usage()) + attempt.usage
        for number, usage in spent.items():
            connection.execute(
                "UPDATE steps SET calls = calls + ?, input_tokens = input_tokens + ?,"
                " output_tokens = output_tokens + ?, cached_tokens = cached_tokens + ?,"
                " reasoning_tokens = reasoning_tokens + ?, cost_nusd = cost_nusd + ?,"
                " cost_unknown = cost_unknown OR ? WHERE number = ?",
                (
                    usage.calls, usage.input_tokens, usage.output_tokens, usage.cached_tokens,
                    usage.reasoning_tokens, usage.cost_nusd or 0, usage.cost_nusd is None, number,
                ),
            )  # fmt: skip
        return first

    def _step(self, connection: sqlite3.Connection, scope: str, step: str) -> int:
        number = self._steps.get((scope, step))
        if number is None:
            cursor = connection.execute(
                "INSERT INTO steps (scope, step) VALUES (?, ?)", (scope, step)
            )
            number = self._steps[scope, step] = cursor.lastrowid or 0
        return number


def _row(number: int, result: StoredResult) -> tuple[object, ...]:
    return (
        pack_key(number, result.ordinal, result.generation),
        None if result.kind is None else result.kind.value,
        result.reuse_key, result.source, result.answer, _storable(result.raw),
        _storable(result.message),
        encode_attempts(result.attempts) if result.attempts else b"",
        result.duration_s, result.host,
    )  # fmt: skip


def _storable(text: str) -> str:
    """Text that SQLite takes: half a surrogate pair, which a model may send, is none."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _raise_epoch(connection: sqlite3.Connection) -> int:
    connection.execute("BEGIN IMMEDIATE")
    (value,) = connection.execute("SELECT value FROM facts WHERE name = 'epoch'").fetchone()
    epoch = int(value) + 1
    connection.execute("UPDATE facts SET value = ? WHERE name = 'epoch'", (str(epoch),))
    connection.execute("COMMIT")
    return epoch


def _coarsen(connection: sqlite3.Connection, now: float) -> None:
    """Of a step's progress older than ten minutes, keep one event in ten seconds."""
    connection.execute(
        "DELETE FROM events WHERE progress <> '' AND at < ? AND number NOT IN (SELECT max(number)"
        " FROM events WHERE progress <> '' AND at < ? GROUP BY progress, CAST(at / ? AS INTEGER))",
        (now - _RECENT_S, now - _RECENT_S, _COARSE_S),
    )
