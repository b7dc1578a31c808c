"""The journal in one SQLite file of the run's directory."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from apwa.journal.lock import RunLock, is_locked
from apwa.journal.schema import RESULT_COLUMNS, TABLES, VERSION
from apwa.journal.store import Row
from apwa.vocabulary import Misuse, Paused

_APPLICATION = 0x41505741  # "APWA"
_TYPES = {"number": "INTEGER PRIMARY KEY", "bytes": "BLOB", "words": "TEXT", "real": "REAL"}
_OF_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_INSERT = f"INSERT OR IGNORE INTO results ({RESULT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class SqliteStore:
    """A ``Store`` over one SQLite file."""

    marks = False  # a commit either answers or has failed

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def run(self) -> str:
        return self._path.parent.name

    def lock(self) -> RunLock:
        return RunLock(self._path)

    def is_driven(self) -> bool:
        return is_locked(self._path)

    def connect(self, *, write: bool) -> SqliteConnection:
        """Raises Misuse for a file that is no journal or is newer, Paused on a full disk."""
        path = self._path
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
            if (full := self.unwritable(error)) is not None:
                raise full from error
            raise Misuse(
                f"this is no journal of a run: {error}", str(path), "Name another run."
            ) from error
        return SqliteConnection(connection)

    def again(self, error: BaseException) -> bool:
        return False

    def unwritable(self, error: BaseException) -> Paused | None:
        """Where it is the disk that refuses, not SQLite: full, over quota, or broken."""
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF not in _OF_DISK:  # the bits above say which operation it was
            return None
        return Paused(
            f"the journal cannot be written: {error}",
            str(self._path),
            "Free some space on the disk, then try again: nothing done is lost.",
        )

    def unreadable(self, error: BaseException) -> Exception | None:
        if not isinstance(error, sqlite3.DatabaseError):
            return None
        return Misuse(
            f"the journal cannot be read: {error}",
            str(self._path),
            "If the file is damaged, its rows may still be saved: sqlite3 run.db .recover",
        )


class SqliteConnection:
    """A ``Connection`` to a file."""

    by_key = " INDEXED BY results_key"
    by_kind = " INDEXED BY results_bad"
    whole = "json_extract(CAST({0} AS TEXT), '$[{1}]')"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._connection.execute(sql, tuple(values)).fetchall()  # pyright: ignore[reportArgumentType]

    def pages(self, sql: str, values: Sequence[object] = ()) -> Iterator[list[Row]]:
        cursor = self._connection.execute(sql, tuple(values))  # pyright: ignore[reportArgumentType]
        while some := cursor.fetchmany(100_000):
            yield some

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(sql, tuple(values))  # pyright: ignore[reportArgumentType]

    def number(self, sql: str, values: Sequence[object]) -> int:
        return self.all(sql, values)[0][0]

    def insert_results(self, rows: Sequence[Row]) -> dict[int, int]:
        new: dict[int, int] = {}
        for row in rows:
            cursor: Any = self._connection.execute(_INSERT, row)
            if cursor.rowcount == 1:
                new[row[0]] = cursor.lastrowid
        return new

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # whoever waits must hear of the first trouble
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


def _create(path: Path) -> None:
    """Make the file beside its place and rename it: no reader ever sees half a journal."""
    begun = path.with_name(f"{path.name}.begun")
    begun.unlink(missing_ok=True)
    with closing(sqlite3.connect(begun, isolation_level=None)) as connection:
        connection.executescript(
            f"BEGIN; {TABLES.format_map(_TYPES)} PRAGMA user_version = {VERSION};"
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
