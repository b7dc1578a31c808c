"""The file itself: its tables, its version, how it is opened for writing and for reading.

Results lie in a rowid table in the order of their commits, which SQLite appends to at the speed
of the disk; the unique integer index on the key makes the first writer win. All that bitmaps
need stands in indexes: every key in one, the keys of quarantined rows in a second, partial one.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

from apwa.vocabulary import ApwaError, Misuse, Paused, RunFailed

VERSION = 1
_APPLICATION = 0x61707761  # "apwa"

_USAGE = """
    calls INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cost_nusd INTEGER DEFAULT 0"""

USAGE_COLUMNS = "calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_nusd"

_TABLES = f"""
CREATE TABLE run (epoch INTEGER NOT NULL);
INSERT INTO run VALUES (0);
CREATE TABLE steps (
    number INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    step TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0,
    top_generation INTEGER NOT NULL DEFAULT 0,{_USAGE},
    UNIQUE (scope, step)
);
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    kind TEXT,
    reuse_key BLOB NOT NULL,
    source TEXT NOT NULL,
    duration_s REAL NOT NULL,
    host TEXT NOT NULL,
    answer TEXT NOT NULL,
    raw TEXT NOT NULL,
    message TEXT NOT NULL,
    attempts BLOB NOT NULL
);
CREATE UNIQUE INDEX results_key ON results (key);
CREATE INDEX results_failed ON results (key, kind) WHERE kind IS NOT NULL;
CREATE TABLE transcripts (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    progress TEXT,
    event TEXT NOT NULL
);
CREATE INDEX events_progress ON events (progress, at) WHERE progress IS NOT NULL;
CREATE TABLE plans (
    version INTEGER PRIMARY KEY, text TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE turns (
    number INTEGER PRIMARY KEY,
    message TEXT NOT NULL,
    usage TEXT NOT NULL,
    plan_version INTEGER NOT NULL
);
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY,
    holder TEXT NOT NULL,
    "limit" TEXT NOT NULL,
    spent TEXT,{_USAGE}
);
CREATE TABLE commands (number INTEGER PRIMARY KEY, at REAL NOT NULL, command TEXT NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
-- for people who look into the file by hand
CREATE VIEW rows AS
    SELECT scope, step, key >> 12 & 0xffffffffff AS ordinal, key & 4095 AS generation,
        coalesce(kind, 'done') AS status, answer, message, source, host, duration_s
    FROM results JOIN steps ON number = key >> 52;
"""


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open or make the file for the driver. Raises Misuse for a file that is no journal."""
    try:
        connection = sqlite3.connect(
            path, timeout=10, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise words_for(error, path) from error
    try:
        # the version before the settings: switching a foreign file to WAL would change it
        new = not _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA cache_size = -32000")
        if new:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {_APPLICATION};"
                f" PRAGMA user_version = {VERSION}; COMMIT;"
            )
    except sqlite3.Error as error:
        connection.close()
        raise words_for(error, path) from error
    except ApwaError:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open the file read-only: such a connection never checkpoints, whoever closes last."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro",
            uri=True,
            timeout=10,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise _foreign(path) from error
    try:
        if not _check(connection, path):
            raise _foreign(path)
    except sqlite3.Error as error:
        connection.close()
        raise words_for(error, path) from error
    except ApwaError:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; False for an empty file. Raises Misuse for any other file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == _APPLICATION:
        if version > VERSION:
            raise Misuse(
                f"the run was written by a newer apwa (journal version {version}, this one knows"
                f" {VERSION})",
                str(path),
                "Upgrade apwa.",
            )
        return True
    if application or version or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise _foreign(path)
    return False


def _foreign(path: Path) -> Misuse:
    return Misuse("this is no journal of an apwa run", str(path), "See: apwa runs")


def words_for(error: sqlite3.Error, path: Path) -> ApwaError:
    """A database error as a person can use it."""
    # errors of the module itself, such as a wrong argument, carry no code
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return Paused("the disk is full", str(path), "Free space, then resume.")
    if code == sqlite3.SQLITE_NOTADB:
        return _foreign(path)
    if code == sqlite3.SQLITE_CORRUPT:
        return Misuse(
            "the journal is damaged", str(path), "Copy the file; sqlite3's .recover may save rows."
        )
    return RunFailed(f"the journal cannot be used: {error}", str(path))


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < 1 << 20
    except OSError:
        return False
