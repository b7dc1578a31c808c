"""Reading a run's journal: from any process, while the driver writes or after it is gone.

Every question is one short transaction, long answers are read in pages: a transaction that stays
open would keep the write-ahead log from being cleared. A reader may be shared by threads.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from pyroaring import BitMap

from apwa.journal.key import generation_of, ordinal_of, span, step_of
from apwa.journal.schema import USAGE_COLUMNS, connect_reader, words_for
from apwa.journal.seam import (
    Block,
    Counts,
    JournalReader,
    ManagerTurn,
    PlanVersion,
    Source,
    StoredResult,
)
from apwa.journal.settled import Settled, catch_up
from apwa.vocabulary import Attempt, ErrorKind, Usage
from apwa.vocabulary.events import Numbered, decode_event

_PAGE = 1000
_COLUMNS = "key, kind, reuse_key, source, duration_s, host, answer, raw, message, attempts"

_attempts = msgspec.msgpack.Decoder(list[Attempt])
_usage = msgspec.json.Decoder(Usage)


def open_reader(path: Path) -> JournalReader:
    """Open a run's journal for reading.

    Raises Misuse for a file that is missing, foreign, damaged, or of a newer apwa.
    """
    return SqliteReader(path)


class SqliteReader:
    """The ``JournalReader`` of a journal in SQLite."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect_reader(path)
        self._lock = threading.RLock()
        self._steps: dict[tuple[str, str], int] = {}
        self._settled: dict[int, Settled] = {}

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # ---- which rows have a result

    def done(self, scope: str, step: str) -> BitMap:
        return self._current(scope, step).done

    def quarantined(self, scope: str, step: str) -> BitMap:
        return self._current(scope, step).quarantined

    def generations(self, scope: str, step: str) -> dict[int, int]:
        return self._current(scope, step).generations

    def counts(self, scope: str, step: str) -> Counts:
        rows = self._rows(
            f"SELECT done, quarantined, {USAGE_COLUMNS} FROM steps WHERE scope = ? AND step = ?",
            scope,
            step,
        )
        if not rows:
            return Counts(0, 0, Usage())
        done, quarantined, *usage = rows[0]
        return Counts(done, quarantined, Usage(*usage))

    # ---- results

    def results(
        self, scope: str, step: str, start: int = 0, stop: int | None = None
    ) -> Iterator[StoredResult]:
        for row in self._counting(scope, step, _COLUMNS, start, stop):
            yield _result(scope, step, row)

    def reuse_keys(self, scope: str, step: str) -> Iterator[tuple[int, bytes]]:
        for key, reuse_key in self._counting(scope, step, "key, reuse_key", 0, None):
            yield ordinal_of(key), reuse_key

    def story(self, step: str, ordinal: int) -> list[StoredResult]:
        scopes: dict[int, str] = dict(
            self._rows("SELECT number, scope FROM steps WHERE step = ?", step)
        )
        spans = [span(number, ordinal, ordinal + 1) for number in scopes]
        columns = ", ".join(f"r.{name.strip()}" for name in _COLUMNS.split(","))
        found: list[tuple[Any, ...]] = []
        for first, past in spans:
            found += self._rows(
                f"SELECT r.id, coalesce(t.data, x''), {columns} FROM results r"
                " LEFT JOIN transcripts t ON t.key = r.key WHERE r.key >= ? AND r.key < ?",
                first,
                past,
            )
        found.sort()  # by id, which is the order of the commits
        return [
            _result(scopes[step_of(row[0])], step, row, transcript) for _, transcript, *row in found
        ]

    def failures(self, scope: str, step: str, limit: int) -> list[StoredResult]:
        kinds: dict[str, list[int]] = {}
        for key, kind in self._failed(scope, step):
            kinds.setdefault(kind, []).append(key)
        chosen: list[int] = []
        for place in range(limit):  # the first of each kind, the second of each, …
            layer = [keys[place] for keys in kinds.values() if place < len(keys)]
            chosen += layer[: limit - len(chosen)]
            if not layer or len(chosen) == limit:
                break
        return [
            _result(scope, step, row)
            for key in sorted(chosen)
            for row in self._rows(f"SELECT {_COLUMNS} FROM results WHERE key = ?", key)
        ]

    def failure_counts(self, scope: str, step: str) -> dict[ErrorKind, int]:
        counted = Counter(kind for _, kind in self._failed(scope, step))
        return {ErrorKind(kind): count for kind, count in counted.most_common()}

    # ---- the run

    def events(self, since: int = 0, limit: int = 1000) -> list[Numbered]:
        rows = self._rows(
            "SELECT number, at, event FROM events WHERE number > ? ORDER BY number LIMIT ?",
            since,
            limit,
        )
        return [Numbered(number, at, decode_event(event.encode())) for number, at, event in rows]

    def plans(self) -> list[PlanVersion]:
        rows = self._rows("SELECT version, text, reason, at FROM plans ORDER BY version")
        return [PlanVersion(*row) for row in rows]

    def turns(self) -> list[ManagerTurn]:
        rows = self._rows("SELECT number, message, usage, plan_version FROM turns ORDER BY number")
        return [
            ManagerTurn(number, _bytes(message), _usage.decode(usage), plan)
            for number, message, usage, plan in rows
        ]

    def blocks(self) -> list[Block]:
        rows = self._rows('SELECT id, holder, "limit", spent FROM blocks ORDER BY id')
        return [
            Block(id, holder, _usage.decode(limit), None if spent is None else _usage.decode(spent))
            for id, holder, limit, spent in rows
        ]

    def spent(self) -> Usage:
        # a block's own columns hold its limit while it is open, then what it spent
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in USAGE_COLUMNS.split(", "))
        [(*usage, unknown)] = self._rows(f"SELECT {sums}, count(*) - count(cost_nusd) FROM blocks")
        total = Usage(*usage)
        return msgspec.structs.replace(total, cost_nusd=None) if unknown else total

    def fact(self, name: str) -> bytes | None:
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        return rows[0][0] if rows else None

    # ---- asking the file

    def _rows(self, sql: str, *values: object) -> list[Any]:
        """One question, answered whole, in a transaction of its own."""
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise words_for(error, self._path) from error

    def _number(self, scope: str, step: str) -> int | None:
        number = self._steps.get((scope, step))
        if number is None:
            rows = self._rows("SELECT number FROM steps WHERE scope = ? AND step = ?", scope, step)
            if rows:
                number = self._steps[scope, step] = rows[0][0]
        return number

    def _current(self, scope: str, step: str) -> Settled:
        """The step's rows as of now, in copies that the caller may change."""
        number = self._number(scope, step)
        if number is None:
            return Settled()
        with self._lock:
            try:
                self._connection.execute("BEGIN")
                try:
                    kept = catch_up(self._connection, number, self._settled.get(number))
                finally:
                    self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise words_for(error, self._path) from error
            self._settled[number] = kept
            return Settled(
                kept.seen, kept.done.copy(), kept.quarantined.copy(), dict(kept.generations)
            )

    def _counting(
        self, scope: str, step: str, columns: str, start: int, stop: int | None
    ) -> Iterator[Any]:
        """Rows of the counting results in ordinal order; the first column is the key."""
        number = self._number(scope, step)
        if number is None:
            return
        first, past = span(number, start, stop)
        sql = f"SELECT {columns} FROM results WHERE key >= ? AND key < ? ORDER BY key LIMIT {_PAGE}"
        held = None  # a row counts once the next one is known to be of another ordinal
        while page := self._rows(sql, first, past):
            for row in page:
                if held is not None and ordinal_of(held[0]) != ordinal_of(row[0]):
                    yield held
                held = row
            first = page[-1][0] + 1
            if len(page) < _PAGE:
                break
        if held is not None:
            yield held

    def _failed(self, scope: str, step: str) -> Iterable[tuple[int, str]]:
        """(key, kind) of the rows that are quarantined now, in ordinal order."""
        number = self._number(scope, step)
        if number is None:
            return
        current = self._current(scope, step)
        for key, kind in self._rows(
            "SELECT key, kind FROM results INDEXED BY results_failed"
            " WHERE key >= ? AND key < ? AND kind IS NOT NULL ORDER BY key",
            *span(number),
        ):
            ordinal = ordinal_of(key)
            counts = generation_of(key) == current.generations.get(ordinal, 0)
            if counts and ordinal in current.quarantined:
                yield key, kind


def _result(scope: str, step: str, row: Any, transcript: bytes = b"") -> StoredResult:
    key, kind, reuse_key, source, duration, host, answer, raw, message, attempts = row
    origin: Source = source
    return StoredResult(
        scope=scope,
        step=step,
        ordinal=ordinal_of(key),
        generation=generation_of(key),
        reuse_key=reuse_key,
        source=origin,
        kind=None if kind is None else ErrorKind(kind),
        answer=_bytes(answer),
        raw=raw,
        message=message,
        attempts=_attempts.decode(attempts),
        duration_s=duration,
        host=host,
        transcript=transcript,
    )


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
