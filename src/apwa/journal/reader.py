"""What front ends and the driver read: read-only, short transactions, any process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from pyroaring import BitMap

from apwa.journal.schema import (
    GENERATION_BITS,
    GENERATIONS,
    ORDINALS,
    RESULT_COLUMNS,
    pack_key,
    stored,
    unpack_key,
)
from apwa.journal.seam import (
    Block,
    Counts,
    ManagerTurn,
    PlanVersion,
    StoredResult,
)
from apwa.journal.spending import decode_usage
from apwa.journal.store import Store
from apwa.vocabulary import ErrorKind, Usage
from apwa.vocabulary.events import Numbered, decode_event

_PAGE = 1000
_PARTS = len(Usage.__struct_fields__)  # the cost is the last


@dataclass(slots=True)
class _Seen:
    """What is known of one step's rows, brought up to date from the newest results only."""

    number: int
    last: int = 0  # id of the last result taken in
    done: BitMap = field(default_factory=BitMap)
    quarantined: BitMap = field(default_factory=BitMap)
    above: dict[int, int] = field(default_factory=dict[int, int])  # generations above 0


class SqlReader:
    """A ``JournalReader`` over a database that speaks SQL."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection = store.connect(write=False)
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], _Seen] = {}

    # ---- which rows

    def done(self, scope: str, step: str) -> BitMap:
        with self._lock:
            seen = self._look(scope, step)
            return BitMap() if seen is None else seen.done.copy()

    def quarantined(self, scope: str, step: str) -> BitMap:
        with self._lock:
            seen = self._look(scope, step)
            return BitMap() if seen is None else seen.quarantined.copy()

    def generations(self, scope: str, step: str) -> dict[int, int]:
        with self._lock:
            seen = self._look(scope, step)
            return {} if seen is None else dict(seen.above)

    def _look(self, scope: str, step: str) -> _Seen | None:
        seen = self._seen.get((scope, step))
        if seen is None:
            number = self._number(scope, step)
            if number is None:
                return None
            seen = self._seen[scope, step] = _Seen(number)
            self._scan(seen)
        else:
            self._catch_up(seen)
        return seen

    def _scan(self, seen: _Seen) -> None:
        """All of a step's keys and kinds, from the index alone, in ordinal order."""
        seen.last = self._ask("SELECT max(id) FROM results")[0][0] or 0
        connection = self._connection
        low, high = (
            pack_key(seen.number, 0, 0),
            pack_key(seen.number, ORDINALS - 1, GENERATIONS - 1),
        )
        bad = dict(
            self._ask(
                f"SELECT key, kind FROM results{connection.by_kind}"
                " WHERE key BETWEEN ? AND ? AND kind IS NOT NULL",
                (low, high),
            )
        )
        first = connection.pages(
            f"SELECT (key >> {GENERATION_BITS}) & {ORDINALS - 1} FROM results{connection.by_key}"
            f" WHERE key BETWEEN ? AND ? AND key & {GENERATIONS - 1} = 0",
            (low, high),
        )
        for some in first:
            seen.done.update(chain.from_iterable(some))
        for key, kind in bad.items():
            if not key & (GENERATIONS - 1):
                _take(seen, key, kind)
        above = self._ask(
            f"SELECT key FROM results{connection.by_key} WHERE key BETWEEN ? AND ?"
            f" AND key & {GENERATIONS - 1} > 0 ORDER BY key",
            (low, high),
        )
        for (key,) in above:
            _take(seen, key, bad.get(key))

    def _catch_up(self, seen: _Seen) -> None:
        rows = self._ask("SELECT id, key, kind FROM results WHERE id > ? ORDER BY id", (seen.last,))
        low, high = (
            pack_key(seen.number, 0, 0),
            pack_key(seen.number, ORDINALS - 1, GENERATIONS - 1),
        )
        for number, key, kind in rows:
            if low <= key <= high:
                _take(seen, key, kind)
            seen.last = number

    def reuse_keys(self, scope: str, step: str) -> Iterator[tuple[int, bytes]]:
        for rows in self._pages(scope, step, "key, reuse_key", 0, None):
            for key, reuse_key in rows:
                yield unpack_key(key)[0], reuse_key

    # ---- results

    def results(
        self, scope: str, step: str, start: int = 0, stop: int | None = None
    ) -> Iterator[StoredResult]:
        for rows in self._pages(scope, step, RESULT_COLUMNS, start, stop):
            for row in rows:
                yield stored(scope, step, row, b"")

    def _pages(
        self, scope: str, step: str, columns: str, start: int, stop: int | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Counting rows in ordinal order, each page a transaction of its own."""
        with self._lock:
            number = self._number(scope, step)
        if number is None:
            return
        end = pack_key(number, (ORDINALS if stop is None else stop) - 1, GENERATIONS - 1)
        low = pack_key(number, start, 0)
        while low <= end:
            with self._lock:
                page = self._ask(
                    f"SELECT {columns} FROM results{self._connection.by_key}"
                    " WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
                    (low, end, _PAGE),
                )
            if not page:
                return
            whole = len(page) < _PAGE
            if not whole:
                # the last row may go on in the next page: leave it to that one
                last = page[-1][0] >> GENERATION_BITS
                kept = [row for row in page if row[0] >> GENERATION_BITS != last]
                if kept:
                    page, low = kept, last << GENERATION_BITS
                else:
                    low = page[-1][0] + 1
            yield _highest(page)
            if whole:
                return

    def story(self, step: str, ordinal: int) -> list[StoredResult]:
        found: list[StoredResult] = []
        with self._lock:
            steps = self._ask(
                "SELECT number, scope FROM steps WHERE step = ? ORDER BY number", (step,)
            )
            for number, scope in steps:
                rows = self._ask(
                    f"SELECT {RESULT_COLUMNS}, transcript FROM results"
                    " LEFT JOIN transcripts ON result = id WHERE key BETWEEN ? AND ? ORDER BY key",
                    (pack_key(number, ordinal, 0), pack_key(number, ordinal, GENERATIONS - 1)),
                )
                found += [stored(scope, step, row[:-1], row[-1] or b"") for row in rows]
        return found

    def failures(self, scope: str, step: str, limit: int) -> list[StoredResult]:
        bad = self.quarantined(scope, step)
        by_kind: dict[ErrorKind | None, list[StoredResult]] = {}
        kinds = len(self.failure_counts(scope, step))
        each = -(-limit // max(kinds, 1))
        for ordinal in bad:
            (result,) = self.results(scope, step, ordinal, ordinal + 1)
            some = by_kind.setdefault(result.kind, [])
            if len(some) < each:
                some.append(result)
            if sum(map(len, by_kind.values())) >= limit:
                break
        return [result for some in by_kind.values() for result in some][:limit]

    def failure_counts(self, scope: str, step: str) -> dict[ErrorKind, int]:
        bad = self.quarantined(scope, step)
        counts: dict[ErrorKind, int] = {}
        if not bad:
            return counts
        with self._lock:
            number = self._number(scope, step)
            assert number is not None
            rows = self._ask(
                f"SELECT key, kind FROM results{self._connection.by_kind}"
                " WHERE key BETWEEN ? AND ? AND kind IS NOT NULL ORDER BY key DESC",
                (pack_key(number, 0, 0), pack_key(number, ORDINALS - 1, GENERATIONS - 1)),
            )
        counted = BitMap()
        for key, kind in rows:
            ordinal = unpack_key(key)[0]
            if ordinal in bad and ordinal not in counted:
                counted.add(ordinal)
                counts[ErrorKind(kind)] = counts.get(ErrorKind(kind), 0) + 1
        return counts

    def counts(self, scope: str, step: str) -> Counts:
        with self._lock:
            seen = self._look(scope, step)
            if seen is None:
                return Counts(0, 0, Usage())
            (row,) = self._ask(
                "SELECT calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens,"
                " CASE WHEN cost_unknown = 1 THEN NULL ELSE cost_nusd END"
                " FROM steps WHERE number = ?",
                (seen.number,),
            )
            return Counts(len(seen.done), len(seen.quarantined), Usage(*row))

    # ---- the rest

    def events(self, since: int = 0, limit: int = 1000) -> list[Numbered]:
        rows = self._all(
            "SELECT number, at, event FROM events WHERE number > ? ORDER BY number LIMIT ?",
            (since, limit),
        )
        return [Numbered(number, at, decode_event(event)) for number, at, event in rows]

    def plans(self) -> list[PlanVersion]:
        rows = self._all("SELECT version, text, reason, at FROM plans ORDER BY version")
        return [PlanVersion(*row) for row in rows]

    def turns(self) -> list[ManagerTurn]:
        rows = self._all("SELECT number, message, usage, plan_version FROM turns ORDER BY number")
        return [ManagerTurn(n, message, decode_usage(u), v) for n, message, u, v in rows]

    def blocks(self) -> list[Block]:
        rows = self._all("SELECT id, holder, reserved, spent FROM blocks ORDER BY id")
        return [
            Block(n, holder, decode_usage(limit), None if spent is None else decode_usage(spent))
            for n, holder, limit, spent in rows
        ]

    def spent(self) -> Usage:
        parts = [self._connection.whole.format("used", n) for n in range(_PARTS)]
        *counts, cost = [f"CAST(COALESCE(SUM({part}), 0) AS BIGINT)" for part in parts]
        # a cost that is unknown is null: sums pass over it, and the total is unknown too
        cost = f"CASE WHEN COUNT({parts[-1]}) = COUNT(*) THEN {cost} END"
        (total,) = self._all(
            f"SELECT {', '.join([*counts, cost])}"
            " FROM (SELECT COALESCE(spent, reserved) AS used FROM blocks) AS counted"
        )
        return Usage(*total)

    def fact(self, name: str) -> bytes | None:
        rows = self._all("SELECT value FROM facts WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _all(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._ask(sql, values)

    def _ask(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Ask the database; once more over a new connection, where the one there was is lost."""
        try:
            return self._connection.all(sql, values)
        except Exception as error:
            if self._store.again(error):
                self._connection = self._store.connect(write=False)
                return self._connection.all(sql, values)
            if (said := self._store.unreadable(error)) is not None:
                raise said from error
            raise

    def _number(self, scope: str, step: str) -> int | None:
        rows = self._ask("SELECT number FROM steps WHERE scope = ? AND step = ?", (scope, step))
        return rows[0][0] if rows else None


def _take(seen: _Seen, key: int, kind: str | None) -> None:
    ordinal, generation = unpack_key(key)
    if generation < seen.above.get(ordinal, 0):
        return
    if generation:
        seen.above[ordinal] = generation
    if kind is None:
        seen.done.add(ordinal)
        seen.quarantined.discard(ordinal)
    else:
        seen.quarantined.add(ordinal)
        seen.done.discard(ordinal)


def _highest(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Of each row's generations the highest: they are neighbours, the highest last."""
    return [
        row
        for row, following in zip(rows, [*rows[1:], None], strict=True)
        if following is None or following[0] >> GENERATION_BITS != row[0] >> GENERATION_BITS
    ]
