"""Which rows of a step have a result, as bitmaps over ordinals, built from indexes alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from pyroaring import BitMap

from apwa.journal.key import MAX_GENERATION, generation_of, ordinal_of, span

_CATCH_UP = 100_000  # newer results above which a fresh scan of the index is cheaper


@dataclass(slots=True)
class Settled:
    """A step's rows by what their highest generation with a result came to."""

    seen: int = 0  # the last result's id that is in here
    done: BitMap = field(default_factory=BitMap)
    quarantined: BitMap = field(default_factory=BitMap)
    generations: dict[int, int] = field(default_factory=dict[int, int])  # only those above 0

    def add(self, rows: Iterable[tuple[int, str | None]]) -> None:
        """Take in (key, kind) of newer results."""
        for key, kind in rows:
            ordinal, generation = ordinal_of(key), generation_of(key)
            if generation < self.generations.get(ordinal, 0):
                continue  # a latecomer of a generation that no longer counts
            if generation:
                self.generations[ordinal] = generation
            into, outof = (
                (self.done, self.quarantined) if kind is None else (self.quarantined, self.done)
            )
            into.add(ordinal)
            outof.discard(ordinal)


def catch_up(connection: sqlite3.Connection, step: int, kept: Settled | None) -> Settled:
    """The step's state now. Call it within one read transaction.

    What was kept is brought up to date from the newer results alone; the first time, and after
    many, the indexes are scanned. They hold integers, so millions take a second or two.
    """
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM results").fetchone()
    if kept is None or newest - kept.seen > _CATCH_UP:
        return _scan(connection, step, newest)
    if newest > kept.seen:
        first, past = span(step)
        kept.add(
            # the plus keeps SQLite on the rowid: by the key's index it would read the whole step
            connection.execute(
                "SELECT key, kind FROM results WHERE id > ? AND +key >= ? AND +key < ?",
                (kept.seen, first, past),
            )
        )
        kept.seen = newest
    return kept


def _scan(connection: sqlite3.Connection, step: int, newest: int) -> Settled:
    bounds = span(step)
    keys = _integers(
        connection, "SELECT key FROM results WHERE key >= ? AND key < ? ORDER BY key", bounds
    )
    failed = _integers(
        connection,
        "SELECT key FROM results INDEXED BY results_failed"
        " WHERE key >= ? AND key < ? AND kind IS NOT NULL ORDER BY key",
        bounds,
    )
    ordinals = keys - bounds[0] >> 12
    # a row's generations are neighbours, the highest last
    last = np.ones(len(keys), dtype=bool)
    last[:-1] = ordinals[1:] != ordinals[:-1]
    keys, ordinals = keys[last], ordinals[last]
    bad = np.isin(keys, failed, assume_unique=True)
    generations = keys & MAX_GENERATION
    raised = generations > 0
    return Settled(
        newest,
        _bitmap(ordinals[~bad]),
        _bitmap(ordinals[bad]),
        dict(zip(ordinals[raised].tolist(), generations[raised].tolist(), strict=True)),
    )


def _integers(
    connection: sqlite3.Connection, sql: str, bounds: tuple[int, int]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    cursor = connection.execute(sql, bounds)
    return np.fromiter((row[0] for row in cursor), dtype=np.int64)


def _bitmap(ordinals: np.ndarray[tuple[int], np.dtype[np.int64]]) -> BitMap:
    return BitMap(ordinals.astype(np.uint32))
