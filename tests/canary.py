"""A key that is no key: every test has it in its environment, and no file may hold it after.

It is sent to each endpoint that a test names by its address. Once all tests are done, whatever
they have left behind is searched for it: journals, transcripts, reports, tables, logs.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

CANARY = "sk-canary-5f1d0c77a9be4e21"


def find(folder: Path) -> list[str]:
    """The places below a folder that hold the canary."""
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if CANARY.encode() in data:
            found.append(str(path))
        elif data.startswith(b"SQLite format 3\0"):
            found += [f"{path}: {place}" for place in _packed(path)]
    return found


def _packed(path: Path) -> Iterator[str]:
    """Places in a database whose compressed values hold it."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            tables = database.execute("select name from sqlite_master where type = 'table'")
            for (table,) in tables.fetchall():
                if not re.fullmatch(r"\w+", table):
                    continue
                for row in database.execute(f"select * from {table}"):
                    if any(isinstance(v, bytes) and CANARY.encode() in _opened(v) for v in row):
                        yield table
    except sqlite3.Error:
        return


def _opened(value: bytes) -> bytes:
    try:
        return zlib.decompress(value)
    except zlib.error:
        return value
