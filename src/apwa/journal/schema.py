"""The journal's file: its tables, its keys, and what a row's bytes mean.

Results lie in an append-only rowid table; one unique integer index is their key, packed as

    step (10 bits) | ordinal (40 bits) | generation (13 bits)

where the step's number stands for (scope, step). All generations of a row are neighbours, the
highest last, and a span of ordinals is a span of keys. A second index holds the few rows that are
quarantined, with their kinds, so that done-sets are read from two indexes and never from the
rows. (Clustered or hashed keys fall below a third of this table's speed at three million rows.)
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from apwa.journal.seam import StoredResult
from apwa.vocabulary import Attempt, ErrorKind, Misuse, Paused

VERSION = 1
_APPLICATION = 0x41505741  # "APWA"

GENERATION_BITS = 13
ORDINAL_BITS = 40
GENERATIONS = 1 << GENERATION_BITS
ORDINALS = 1 << 32  # what a bitmap holds

_TABLES = """
CREATE TABLE steps (number INTEGER PRIMARY KEY, scope TEXT NOT NULL, step TEXT NOT NULL,
    calls INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0, cost_nusd INTEGER NOT NULL DEFAULT 0,
    cost_unknown INTEGER NOT NULL DEFAULT 0, UNIQUE (scope, step));
CREATE TABLE results (id INTEGER PRIMARY KEY, key INTEGER NOT NULL, kind TEXT,
    reuse_key BLOB NOT NULL, source TEXT NOT NULL, answer BLOB NOT NULL, raw TEXT NOT NULL,
    message TEXT NOT NULL, attempts BLOB NOT NULL, duration_s REAL NOT NULL, host TEXT NOT NULL);
CREATE UNIQUE INDEX results_key ON results (key);
CREATE INDEX results_bad ON results (key, kind) WHERE kind IS NOT NULL;
CREATE TABLE transcripts (result INTEGER PRIMARY KEY, transcript BLOB NOT NULL);
CREATE TABLE blocks (id INTEGER PRIMARY KEY, holder TEXT NOT NULL, reserved BLOB NOT NULL,
    spent BLOB);
CREATE TABLE events (number INTEGER PRIMARY KEY, at REAL NOT NULL, progress TEXT NOT NULL,
    event BLOB NOT NULL);
CREATE INDEX events_progress ON events (progress, number) WHERE progress <> '';
CREATE TABLE plans (version INTEGER PRIMARY KEY, text TEXT NOT NULL, reason TEXT NOT NULL,
    at REAL NOT NULL);
CREATE TABLE turns (number INTEGER PRIMARY KEY, message BLOB NOT NULL, usage BLOB NOT NULL,
    plan_version INTEGER NOT NULL);
CREATE TABLE commands (number INTEGER PRIMARY KEY, at REAL NOT NULL, command BLOB NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
INSERT INTO facts VALUES ('epoch', '0');
"""

RESULT_COLUMNS = "key, kind, reuse_key, source, answer, raw, message, attempts, duration_s, host"
_attempts = msgspec.msgpack.Decoder(list[Attempt])
encode_attempts = msgspec.msgpack.Encoder().encode


def pack_key(step: int, ordinal: int, generation: int) -> int:
    """The integer key of a result; keys of one row are neighbours."""
    if not (0 <= ordinal < ORDINALS and 0 <= generation < GENERATIONS):
        raise ValueError(f"ordinal {ordinal} or generation {generation} is out of bounds")
    return (step << ORDINAL_BITS | ordinal) << GENERATION_BITS | generation


def unpack_key(key: int) -> tuple[int, int]:
    """(ordinal, generation) of a key."""
    return key >> GENERATION_BITS & ((1 << ORDINAL_BITS) - 1), key & (GENERATIONS - 1)


def stored(scope: str, step: str, row: tuple[object, ...], transcript: bytes) -> StoredResult:
    """A row of RESULT_COLUMNS as a result."""
    key, kind, reuse_key, source, answer, raw, message, attempts, duration_s, host = row
    ordinal, generation = unpack_key(key)  # pyright: ignore[reportArgumentType]
    return StoredResult(
        scope, step, ordinal, generation, reuse_key, source,  # pyright: ignore[reportArgumentType]
        None if kind is None else ErrorKind(kind), answer, raw, message,  # pyright: ignore[reportArgumentType]
        _attempts.decode(attempts) if attempts else [],  # pyright: ignore[reportArgumentType]
        duration_s, host, transcript,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open the journal's file; a writer makes it if it is not there.

    Raises Misuse for a file that is no journal, or one of a newer apwa; Paused on a full disk.
    """
    try:
        if write:
            if not path.exists():
                _create(path)
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            _recognise(connection, path)  # before anything is written to a stranger's file
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -16384")
        else:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        connection.execute("PRAGMA busy_timeout = 30000")
        _recognise(connection, path)
    except sqlite3.DatabaseError as error:
        if is_of_disk(error):
            raise unwritable(error, path) from error
        raise Misuse(
            f"this is no journal of a run: {error}", str(path), "Name another run."
        ) from error
    return connection


_OF_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


def is_of_disk(error: BaseException) -> bool:
    """Whether it is the disk that refuses, not SQLite: full, over quota, or broken."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _OF_DISK  # the bits above say which operation it was


def unwritable(error: BaseException, path: Path) -> Paused:
    return Paused(
        f"the journal cannot be written: {error}",
        str(path),
        "Free some space on the disk, then try again: nothing done is lost.",
    )


def _create(path: Path) -> None:
    """Make the file beside its place and rename it: no reader ever sees half a journal."""
    begun = path.with_name(f"{path.name}.begun")
    begun.unlink(missing_ok=True)
    with closing(sqlite3.connect(begun, isolation_level=None)) as connection:
        connection.executescript(
            f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION};"
            f" PRAGMA application_id = {_APPLICATION}; COMMIT;"
        )
    begun.rename(path)


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION:
        raise Misuse("this is no journal of a run", str(path), "Name another run.")
    if version > VERSION:
        raise Misuse(
            f"a newer apwa has written this run (journal version {version})",
            str(path),
            "Upgrade apwa.",
        )
