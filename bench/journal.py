"""Speed of the journal: commits of 1 KB results beside raw SQLite, and knowing what is done.

python bench/journal.py [ROWS]     (1,000,000 if not named; memory stays flat)
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from apwa.journal import StoredResult, open_journal
from apwa.vocabulary import RUN, Attempt, ErrorKind, Usage

_BATCH = 256
_COMPARED = 100_000  # rows written both ways
_TEXT = '{"label":"positive","reason":"' + "x" * 870 + '"}'
_USAGE = Usage(1, 100, 20, cost_nusd=1000)


def main() -> None:
    rows = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        ours = asyncio.run(_append(Path(folder) / "ours.db", _COMPARED, _TEXT.encode()))
        raw = _raw(Path(folder) / "raw.db", _COMPARED)
    print(f"1 KB results in batches of {_BATCH}: {ours:,.0f} rows/s")
    print(f"raw executemany, same settings: {raw:,.0f} rows/s; ours is {ours / raw:.2f} of it")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_load(Path(folder) / "run.db", rows))


def _result(ordinal: int, answer: bytes) -> StoredResult:
    return StoredResult(
        scope=RUN,
        step="tag",
        ordinal=ordinal,
        generation=0,
        reuse_key=ordinal.to_bytes(16, "big"),
        source="model",
        kind=ErrorKind.CONTRACT if ordinal % 50 == 0 else None,
        answer=answer,
        raw="",
        message="",
        attempts=[Attempt("call-1", "model", None, _USAGE, 0.1)],
        duration_s=0.1,
        host="local",
    )


async def _append(path: Path, rows: int, answer: bytes, batch: int = _BATCH) -> float:
    journal = open_journal(path)
    spent = 0.0
    for start in range(0, rows, batch):
        results = [_result(o, answer) for o in range(start, min(start + batch, rows))]
        began = time.perf_counter()
        await journal.append(results)
        spent += time.perf_counter() - began
    await journal.close()
    return rows / spent


def _raw(path: Path, rows: int) -> float:
    """The least that SQLite can do for this: one table, one unique key, the same durability."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("CREATE TABLE r (id INTEGER PRIMARY KEY, key INTEGER UNIQUE, answer TEXT)")
    spent = 0.0
    for start in range(0, rows, _BATCH):
        values = [(o << 12, _TEXT) for o in range(start, min(start + _BATCH, rows))]
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO r (key, answer) VALUES (?, ?)", values)
        connection.execute("COMMIT")
        spent += time.perf_counter() - began
    connection.close()
    return rows / spent


async def _load(path: Path, rows: int) -> None:
    await _append(path, rows, b'{"label":"positive"}', 4096)
    began = time.perf_counter()
    journal = open_journal(path)
    opened = time.perf_counter()
    done, quarantined = journal.reader.done(RUN, "tag"), journal.reader.quarantined(RUN, "tag")
    loaded = time.perf_counter()
    assert len(done) + len(quarantined) == rows
    assert journal.reader.counts(RUN, "tag").done == len(done)
    await journal.close()
    print(
        f"{rows:,} results: opened in {opened - began:.2f} s,"
        f" done-sets loaded in {loaded - opened:.2f} s"
    )


if __name__ == "__main__":
    main()
