"""SQLite files, read-only, in one transaction, and with nothing left behind beside them.

A column's type follows from all of its values (SQLite types values, not columns), and from its
declaration where it has none. Values of several kinds in one column become text.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from apwa.tables.foreign.parts import Part, check_columns
from apwa.tables.value_kinds import ValueKinds
from apwa.vocabulary import BadInput

_MAGIC = b"SQLite format 3\0"
_WAL = 2  # in the header's bytes 18 and 19
_COUNT_S = 2.0
_WAIT_S = 5.0
_BATCH_ROWS = 8192
_BATCH_BYTES = 8 << 20
_CELL_BYTES = 16  # of a value that is no text, about


class SqliteFile:
    """One open file."""

    word = "table"

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database

    def parts(self) -> list[Part]:
        """Tables with their rows, then views; none of SQLite's own."""
        found = [
            (str(name), str(kind))
            for schema, name, kind, *_ in self._database.execute("PRAGMA table_list")
            if schema == "main" and kind != "shadow" and not str(name).startswith("sqlite_")
        ]
        tables = [Part(name, self._count(name)) for name, kind in sorted(found) if kind != "view"]
        return tables + [Part(name, None, True, "view") for name, k in sorted(found) if k == "view"]

    def _count(self, name: str) -> int | None:
        until = time.monotonic() + _COUNT_S
        self._database.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        try:
            return self._database.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]
        except sqlite3.OperationalError:
            return None
        finally:
            self._database.set_progress_handler(None, 0)

    def read(self, part: Part) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Read twice: once for the types, once for the rows."""
        where = f"{self._path}, table {part.name}"
        about = self._database.execute(f"PRAGMA table_info({_quoted(part.name)})").fetchall()
        names = [str(name) for _, name, *_ in about]
        check_columns(names, where)
        declared = {str(name): _declared(str(kind)) for _, name, kind, *_ in about}
        kinds = ValueKinds(declared)
        for columns in self._columns(part.name, names, where):
            for name, column in zip(names, columns, strict=True):
                kinds.look_at(name, column)
        for name in names:
            if kinds.is_mixed(name):
                self._no_bytes(part.name, name, where)
        batches = (kinds.of_columns(columns) for columns in self._columns(part.name, names, where))
        return kinds.schema(), batches

    def _columns(self, table: str, names: list[str], where: str) -> Iterator[list[list[Any]]]:
        listed = ", ".join(map(_quoted, names))
        cursor = self._database.execute(f"SELECT {listed} FROM {_quoted(table)}")
        rows: list[tuple[Any, ...]] = []
        passed = size = 0
        while True:
            try:
                row = next(cursor, None)
            except sqlite3.OperationalError as error:
                if "decode to UTF-8" in str(error):  # its words quote the value
                    raise BadInput(
                        "a text is no UTF-8",
                        f"{where}, row {passed + len(rows) + 1:,}",
                        "Store it as a blob, or mend it.",
                    ) from None
                raise
            if row is None:
                break
            rows.append(row)
            size += sum(len(v) if isinstance(v, (str, bytes)) else _CELL_BYTES for v in row)
            if size >= _BATCH_BYTES or len(rows) >= _BATCH_ROWS:
                yield [list(column) for column in zip(*rows, strict=True)]
                passed, size = passed + len(rows), 0
                rows = []
        if rows:
            yield [list(column) for column in zip(*rows, strict=True)]

    def _no_bytes(self, table: str, column: str, where: str) -> None:
        """Raises BadInput where a column of several kinds holds bytes too: no text says them."""
        cursor = self._database.execute(f"SELECT typeof({_quoted(column)}) FROM {_quoted(table)}")
        for row, (kind,) in enumerate(cursor, 1):
            if kind == "blob":
                raise BadInput(
                    f"column {column!r} holds a blob here, and other values elsewhere",
                    f"{where}, row {row:,}",
                    "Make a view that casts the column to one type, and name the view.",
                )


@contextmanager
def sqlite_file(path: Path) -> Generator[SqliteFile]:
    """Open a file. Raises BadInput for what is none, is locked, or changes while it is read."""
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(_MAGIC):
        what = "the file is empty" if not head else "this is no SQLite file, or an encrypted one"
        raise BadInput(what, str(path))
    # Reading a file in WAL mode makes two files beside it, unless it is said to be immutable:
    # which it is while nobody has it open.
    still = head[18:20] == bytes([_WAL, _WAL]) and not _has(path, "-wal")
    options = "mode=ro&immutable=1" if still else "mode=ro"
    before = path.stat()
    database: sqlite3.Connection | None = None
    try:
        place = f"file:{quote(str(path.absolute()))}?{options}"
        database = sqlite3.connect(place, uri=True, timeout=_WAIT_S, isolation_level=None)
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield SqliteFile(path, database)
    except sqlite3.Error as error:
        raise _named(path, error) from error
    finally:
        if database is not None:
            database.close()
    after = path.stat()
    if still and (_has(path, "-wal") or before.st_mtime_ns != after.st_mtime_ns):
        raise BadInput(
            "the file was written to while it was read", str(path), "Try again once it is at rest."
        )


def _named(path: Path, error: sqlite3.Error) -> BadInput:
    words, todo = str(error), ""
    if "locked" in words or "busy" in words:
        words, todo = "another program is writing to the file", "Try again once it is at rest."
    elif _has(path, "-journal"):
        words += "; a writer has ended in the middle of its work"
        todo = "Open the file once with a program that may write to it, such as sqlite3."
    elif _has(path, "-wal"):
        todo = f"{path.name}-wal lies beside it: its folder must be writable, or copy both."
    elif "malformed" in words:
        words = "the file is damaged: " + words
    return BadInput(f"the file cannot be read: {words}", str(path), todo)


def _has(path: Path, ending: str) -> bool:
    try:
        return path.with_name(path.name + ending).stat().st_size > 0
    except OSError:
        return False


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _declared(kind: str) -> pa.DataType:
    """SQLite's own rules for what a declared type prefers."""
    kind = kind.upper()
    if "INT" in kind:
        return pa.int64()
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
        return pa.string()
    if "BLOB" in kind:
        return pa.binary()
    if any(word in kind for word in ("REAL", "FLOA", "DOUB")):
        return pa.float64()
    return pa.string()
