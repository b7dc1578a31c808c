"""DuckDB files, read-only: no other file is opened, whatever a view of theirs says."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from apwa.tables.arrow_kinds import settled_batch, settled_kind, settled_schema
from apwa.tables.foreign.parts import Part, check_columns
from apwa.vocabulary import BadInput

_SETTINGS: dict[str, Any] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "lock_configuration": "true",
    "threads": "1",
    "memory_limit": "1GB",
}
_BATCH_ROWS = 4096
# Arrow has no type for these, or a poorer one: as text they come through whole
_AS_TEXT = re.compile(r"\b(INTERVAL|BIT|BIGNUM|VARINT|UNION|VARIANT|TIME WITH TIME ZONE)\b")
_HUGE = ("HUGEINT", "UHUGEINT")  # what sum() makes of integers


class DuckdbFile:
    """One open file."""

    word = "table"

    def __init__(self, path: Path, database: duckdb.DuckDBPyConnection) -> None:
        self._path = path
        self._database = database

    def parts(self) -> list[Part]:
        """Tables with their rows, then views; those of other schemas with the schema's name."""
        tables = self._rows("SELECT schema_name, table_name FROM duckdb_tables()")
        views = self._rows("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal")
        found = [Part(_named(*t), self._count(_quoted(*t))) for t in sorted(tables)]
        return found + [Part(_named(*v), None, True, "view") for v in sorted(views)]

    def _count(self, table: str) -> int:
        return self._rows(f"SELECT count(*) FROM {table}")[0][0]

    def _rows(self, query: str) -> list[Any]:
        return self._database.sql(query).fetchall()

    def read(self, part: Part) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        where = f"{self._path}, table {part.name}"
        schema, _, name = part.name.rpartition(".")
        table = _quoted(schema or "main", name)
        if not self._is_there(schema or "main", name):  # a dot in the name itself
            table = _quoted("main", part.name)
        columns = self._rows(f"DESCRIBE {table}")
        check_columns([str(column) for column, *_ in columns], where)
        listed = ", ".join(self._column(table, str(c), str(kind)) for c, kind, *_ in columns)
        reader = self._database.sql(f"SELECT {listed} FROM {table}").to_arrow_reader(_BATCH_ROWS)
        target = settled_schema(reader.schema, where)
        return target, (settled_batch(batch, target, where) for batch in reader)

    def _is_there(self, schema: str, name: str) -> bool:
        found = self._database.execute(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
            [schema, name],
        ).fetchall()
        return bool(found)

    def _column(self, table: str, name: str, kind: str) -> str:
        quoted = _quoted(name)
        if kind in _HUGE:
            fits = f"min({quoted}) >= -9223372036854775808 AND max({quoted}) <= 9223372036854775807"
            narrow = self._rows(f"SELECT coalesce({fits}, true) FROM {table}")[0][0]
            return f"CAST({quoted} AS {'BIGINT' if narrow else 'VARCHAR'}) AS {quoted}"
        plain = f"SELECT {quoted} FROM {table} LIMIT 0"
        given = self._database.sql(plain).to_arrow_table().schema.field(0).type
        if _AS_TEXT.search(kind) or settled_kind(given) is None:
            return f"CAST({quoted} AS VARCHAR) AS {quoted}"
        return quoted


@contextmanager
def duckdb_file(path: Path) -> Generator[DuckdbFile]:
    """Open a file. Raises BadInput for what is none, is locked, or too new for this DuckDB."""
    database: duckdb.DuckDBPyConnection | None = None
    try:
        database = duckdb.connect(str(path), read_only=True, config=_SETTINGS)
        yield DuckdbFile(path, database)
    except duckdb.Error as error:
        raise _in_words(path, error) from error
    finally:
        if database is not None:
            database.close()


def _in_words(path: Path, error: duckdb.Error) -> BadInput:
    words, todo = str(error).partition("\n")[0], ""
    if "Could not set lock" in words:
        words = "another program has the file open for writing"
        todo = "Close it there, or give a copy."
    elif "version number" in words:
        todo = f"This is DuckDB {duckdb.__version__}: install a newer one, or export the table."
    elif "not a valid DuckDB" in words:
        words = "this is no DuckDB file"
    elif isinstance(error, duckdb.PermissionException):
        words, todo = f"the view reads something else: {words}", "Make a table of it."
    return BadInput(f"the file cannot be read: {words}", str(path), todo)


def _named(schema: str, name: str) -> str:
    return name if schema == "main" else f"{schema}.{name}"


def _quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
