"""A locked DuckDB database: tables by name, one thread, no files, no network, no settings."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from apwa.tables.pieces import pieces_of
from apwa.tables.sql_rules import (
    Node,
    SqlProblem,
    Text,
    check_query,
    is_fixed,
    is_ordered,
    keeps_order,
    one_select,
    orders_by_all,
)
from apwa.tables.tokens import count_tokens

_MEMORY = "1GB"
_BATCH_ROWS = 2048
_MESSAGE_CHARS = 400
_END = re.compile(r";(?:\s|;|--[^\n]*(?:\n|$)|/\*.*?\*/)*\Z", re.DOTALL)
_OURS = re.compile(r"^Python exception occurred while executing the UDF: ValueError: ")
_CHUNK = """
    CREATE TEMP MACRO chunk(text, max_tokens) AS chunk_pieces(text, max_tokens, 0),
                            (text, max_tokens, overlap) AS chunk_pieces(text, max_tokens, overlap)
"""
_MACROS = {
    "date_add", "days_in_month", "fdiv", "if", "json", "nullif", "split_part",
}  # fmt: skip


class Database:
    """One in-memory database. Not for use by two threads at once."""

    def __init__(self, spill: Path | None = None) -> None:
        config: dict[str, Any] = {
            "threads": 1,
            "memory_limit": _MEMORY,
            "preserve_insertion_order": "true",
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": str(spill) if spill else "",
        }
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("SET TimeZone = 'UTC'")
        make: Any = self._connection.create_function
        make("tokens", _tokens, ["VARCHAR"], "BIGINT", type="arrow")
        make("chunk_pieces", _chunks, ["VARCHAR", "BIGINT", "BIGINT"], "VARCHAR[]", type="arrow")
        self._connection.execute(_CHUNK)
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def tables(self, tables: Mapping[str, Any]) -> Generator[None]:
        """Make Arrow tables or datasets known by name for a while."""
        for name, table in tables.items():
            self._connection.register(name, table)
        try:
            yield
        finally:
            for name in tables:
                self._connection.unregister(name)

    def tree(self, sql: str) -> Node:
        """The syntax tree of a text, or DuckDB's report of what is wrong with it."""
        answer = self._connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql])
        return json.loads(answer.fetchall()[0][0])

    def checked(self, sql: str, columns: Mapping[str, list[str]], *, limit: bool = False) -> str:
        """The query as it is run: the same rows in the same order each time."""
        text = Text(sql)
        node = one_select(text, self.tree(sql))
        check_query(text, node, columns, limit=limit)
        if keeps_order(node) or orders_by_all(node) or limit:
            return sql
        bare = self._without_end(sql)
        if not is_ordered(node):
            return f"SELECT * FROM (\n{bare}\n) ORDER BY ALL"
        with self.reader(bare, text) as reader:
            count = len(reader.schema)
        return f"{bare}\n, " + ", ".join(str(n) for n in range(1, count + 1))

    def _without_end(self, sql: str) -> str:
        bare = _END.sub("", sql)
        return bare if bare == sql or not self.tree(bare).get("error") else sql

    @contextmanager
    def reader(self, sql: str, text: Text) -> Generator[pa.RecordBatchReader]:
        """The batches of a query's result. Turns DuckDB's errors into SqlProblem."""
        try:
            relation = self._connection.sql(sql)
            if hasattr(relation, "to_arrow_reader"):
                reader = relation.to_arrow_reader(_BATCH_ROWS)
            else:
                reader = relation.fetch_arrow_reader(_BATCH_ROWS)
            try:
                yield reader
            finally:
                reader.close()
        except (duckdb.Error, pa.ArrowException) as error:
            raise shortened(error, text) from error

    def functions(self) -> frozenset[str]:
        """Names of the functions that checks may call: scalar, and the same each time."""
        rows = self._connection.execute(
            "SELECT function_name FROM duckdb_functions() WHERE function_type = 'scalar'"
            " GROUP BY ALL HAVING bool_or(stability = 'CONSISTENT') UNION ALL"
            " SELECT function_name FROM duckdb_functions() WHERE function_type = 'macro'"
            " AND regexp_matches(function_name, '^(list|array)_')"
        ).fetchall()
        names = {str(name).lower() for (name,) in rows} | {"tokens", "chunk", "list_value"}
        return frozenset(name for name in names | _MACROS if is_fixed(name) and name != "age")


def shortened(error: Exception, text: Text) -> SqlProblem:
    """DuckDB's own words, without candidates by the dozen, and the place if it can be told."""
    whole = str(error)
    head = re.split(r"\n\s*\n|\n\tCandidate|\nCandidate functions", whole)[0]
    message = re.sub(r"^[A-Za-z ]+ Error: ", "", " ".join(head.split()))
    message = _OURS.sub("", message)[:_MESSAGE_CHARS]
    quoted = re.search(r"\"([^\"]+)\"|name (\S+) does not exist|'(\w+)\(", head)
    word = next((g for g in quoted.groups() if g), "") if quoted else ""
    return text.problem_about(message, word)


def _tokens(texts: pa.ChunkedArray) -> pa.Array:
    values = texts.to_pylist()
    return pa.array([None if v is None else count_tokens(v) for v in values], pa.int64())


def _chunks(texts: pa.ChunkedArray, limits: pa.ChunkedArray, overlaps: pa.ChunkedArray) -> pa.Array:
    rows = list(zip(texts.to_pylist(), limits.to_pylist(), overlaps.to_pylist(), strict=True))
    found: list[list[str] | None] = [None] * len(rows)
    by_size: dict[tuple[int, int], list[int]] = {}
    for number, (text, limit, overlap) in enumerate(rows):
        if text is not None and limit is not None and overlap is not None:
            by_size.setdefault((limit, overlap), []).append(number)
    for size, numbers in by_size.items():
        cut = pieces_of([rows[number][0] for number in numbers], *size)
        for number, pieces in zip(numbers, cut, strict=True):
            found[number] = pieces
    return pa.array(found, pa.list_(pa.string()))
