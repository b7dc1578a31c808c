"""The driver's side: one thread writes, what waits is committed together."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from apwa.journal.progress import EventLog
from apwa.journal.reader import SqlReader
from apwa.journal.schema import encode_attempts, pack_key
from apwa.journal.seam import Journal, JournalReader, PlanVersion, StoredResult
from apwa.journal.spending import Spending, encode_usage
from apwa.journal.store import Connection, Lock, Row, Store
from apwa.vocabulary import Command, Locked, Usage, encode_command
from apwa.vocabulary.events import Event, Numbered

_TOGETHER = 64  # calls committed in one transaction at most
_RECONNECT_S = 60.0  # how long a lost connection is tried again, before the run pauses

_MARK = "batch"  # a fact: the last batch committed, where its answer may be lost
_PUT = (
    "INSERT INTO facts (name, value) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)

Write = Callable[[Connection], Any]
_Waiting = tuple[Write, "Future[Any]"]


def begin_journal(store: Store) -> Journal:
    """Take the run: its lock, a new epoch, its journal (made if it is not there).

    Raises:
        Locked: Another process drives the run.
        Misuse: There is something else in its place, or it cannot be reached.
        Paused: The disk is full.
    """
    lock = store.lock()
    try:
        return SqlJournal(store, lock)
    except BaseException as error:
        lock.close()
        if (said := store.unwritable(error)) is not None:
            raise said from error
        raise


class SqlJournal:
    """A ``Journal`` over a database that speaks SQL."""

    def __init__(self, store: Store, lock: Lock) -> None:
        self._store = store
        self._lock = lock
        self._connection = store.connect(write=True)
        self._epoch = _raise_epoch(self._connection)
        rows = self._connection.all("SELECT scope, step, number FROM steps")
        self._steps = {(scope, step): number for scope, step, number in rows}
        self._spending = Spending()
        self._events = EventLog(self._epoch)
        self._reader = SqlReader(store)
        self._batches = 0
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
        progress = self._events.progress_of(event)
        number = await self._do(
            lambda connection: self._events.write(connection, at, event, progress)
        )
        return Numbered(number, at, event)

    async def add_plan(self, text: str, reason: str) -> PlanVersion:
        at = time.time()

        version = await self._number(
            "INSERT INTO plans (text, reason, at) VALUES (?, ?, ?) RETURNING version",
            (text, reason, at),
        )
        return PlanVersion(version, text, reason, at)

    async def add_turn(self, message: bytes, usage: Usage, plan_version: int) -> None:
        row = (message, encode_usage(usage), plan_version)
        await self._run("INSERT INTO turns (message, usage, plan_version) VALUES (?, ?, ?)", row)

    async def open_block(self, holder: str, limit: Usage) -> int:
        return await self._do(lambda connection: self._spending.open(connection, holder, limit))

    async def close_block(self, block: int, spent: Usage) -> None:
        await self._do(lambda connection: self._spending.close(connection, block, spent))

    async def add_spent(self, spent: Mapping[str, Usage]) -> None:
        await self._do(lambda connection: self._spending.add(connection, spent))

    async def take_command(self, command: Command) -> None:
        row = (time.time(), encode_command(command))
        await self._run("INSERT INTO commands (at, command) VALUES (?, ?)", row)

    async def put_fact(self, name: str, value: bytes) -> None:
        await self._run(_PUT, (name, value))

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

    async def _run(self, sql: str, row: tuple[object, ...]) -> None:
        await self._do(lambda connection: connection.run(sql, row))

    async def _number(self, sql: str, row: tuple[object, ...]) -> int:
        return await self._do(lambda connection: connection.number(sql, row))

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
        self._batches += 1
        mark = f"{self._epoch} {self._batches}".encode()
        done: list[Any] = []
        steps = dict(self._steps)
        end = 0.0
        while True:
            try:
                if end:
                    self._lock.close()  # it has ended with its connection: take it anew
                    self._lock = self._store.lock()
                    self._connection = self._store.connect(write=True)
                    if self._mark() == mark:
                        break  # it was committed, and only its answer was lost
                    done.clear()
                    self._steps = dict(steps)
                self._write_batch(batch, mark, done)
                break
            except BaseException as error:
                self._spending.forget()
                self._connection.rollback()
                end = end or time.monotonic() + _RECONNECT_S
                if self._store.again(error) and time.monotonic() < end:
                    time.sleep(0.5)
                    continue
                self._steps = steps
                said = self._store.unwritable(error) or error
                for _, future in batch:
                    future.set_exception(said)
                return
        for (_, future), result in zip(batch, done, strict=True):
            future.set_result(result)

    def _write_batch(self, batch: list[_Waiting], mark: bytes, done: list[Any]) -> None:
        connection = self._connection
        connection.begin()
        self._refuse_old_epoch(connection)
        for write, _ in batch:
            done.append(write(connection))
        if self._store.marks:
            connection.run(_PUT, (_MARK, mark))
        connection.commit()

    def _mark(self) -> bytes:
        rows = self._connection.all("SELECT value FROM facts WHERE name = ?", (_MARK,))
        return bytes(rows[0][0]) if rows else b""

    def _refuse_old_epoch(self, connection: Connection) -> None:
        ((epoch,),) = connection.all("SELECT value FROM facts WHERE name = 'epoch'")
        if int(epoch) != self._epoch:
            raise Locked(
                "another driver has taken the run over", self._store.run, "Leave it to it."
            )

    def _append(self, connection: Connection, results: Sequence[StoredResult]) -> list[bool]:
        numbers = [self._step(connection, result.scope, result.step) for result in results]
        rows = [_row(number, result) for number, result in zip(numbers, results, strict=True)]
        new = connection.insert_results(rows)
        first: list[bool] = []
        spent: dict[int, Usage] = {}
        for number, row, result in zip(numbers, rows, results, strict=True):
            stored = new.pop(row[0], None)  # once: a batch may hold a key twice
            first.append(stored is not None)
            if stored is None:
                continue
            if result.transcript:
                connection.run("INSERT INTO transcripts VALUES (?, ?)", (stored, result.transcript))
            for attempt in result.attempts:
                spent[number] = spent.get(number, Usage()) + attempt.usage
        for number, usage in spent.items():
            connection.run(
                "UPDATE steps SET calls = calls + ?, input_tokens = input_tokens + ?,"
                " output_tokens = output_tokens + ?, cached_tokens = cached_tokens + ?,"
                " reasoning_tokens = reasoning_tokens + ?, cost_nusd = cost_nusd + ?,"
                " cost_unknown = CASE WHEN ? THEN 1 ELSE cost_unknown END WHERE number = ?",
                (
                    usage.calls, usage.input_tokens, usage.output_tokens, usage.cached_tokens,
                    usage.reasoning_tokens, usage.cost_nusd or 0, usage.cost_nusd is None, number,
                ),
            )  # fmt: skip
        return first

    def _step(self, connection: Connection, scope: str, step: str) -> int:
        number = self._steps.get((scope, step))
        if number is None:
            sql = "INSERT INTO steps (scope, step) VALUES (?, ?) RETURNING number"
            number = self._steps[scope, step] = connection.number(sql, (scope, step))
        return number


def _row(number: int, result: StoredResult) -> Row:
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


def _raise_epoch(connection: Connection) -> int:
    connection.begin()
    ((value,),) = connection.all("SELECT value FROM facts WHERE name = 'epoch'")
    epoch = int(value) + 1
    connection.run(_PUT, ("epoch", str(epoch).encode()))
    connection.commit()
    return epoch
