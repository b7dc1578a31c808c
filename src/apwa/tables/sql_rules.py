"""What a query or check may say: rules over DuckDB's own syntax tree, each with its place.

Theory: whatever a rule here misses meets a locked database without files, network or settings, so
that the rules need not be proof against every trick. They are there for determinism (the same
bytes each time) and for words that help a model mend its query. The tree's shape differs a little
between versions of DuckDB, so nodes are found by their ``class`` and ``type`` wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]


class SqlProblem(Exception):
    """What is wrong with a query, with its place in it (from 1; 0: unknown)."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column

    def __str__(self) -> str:
        if not self.line:
            return self.message
        return f"{self.message} (line {self.line}, column {self.column} of the query)"


_CLOCK = {
    "now", "today", "current_date", "current_time", "current_timestamp", "localtime",
    "localtimestamp", "current_localtime", "current_localtimestamp", "get_current_time",
    "get_current_timestamp", "transaction_timestamp", "ago", "pg_conf_load_time",
    "pg_postmaster_start_time",
}  # fmt: skip
_CHANCE = {
    "random", "setseed", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "reservoir_quantile",
    "nextval", "currval", "setval", "txid_current",
}  # fmt: skip
_SYSTEM = {
    "getenv", "getvariable", "sleep_ms", "write_log", "in_search_path", "stats", "vector_type",
    "current_setting", "current_database", "current_schema", "current_schemas", "current_query",
    "current_query_id", "current_connection_id", "current_transaction_id", "current_user",
    "current_role", "current_catalog", "session_user", "user", "get_block_size", "format_type",
    "json_execute_serialized_sql",
}  # fmt: skip
_SYSTEM_PREFIXES = ("pg_", "has_", "inet_", "duckdb_", "pragma_", "read_", "parquet_")
_WORDS = (_CLOCK | {"current_user", "current_role", "current_catalog", "current_schema", "user",
                    "session_user"}) - {"now", "today", "ago"}  # fmt: skip
_ORDERED = {
    "first", "last", "any_value", "arbitrary", "list", "array_agg", "string_agg", "group_concat",
    "listagg", "json_group_array", "json_group_object", "variant_group_array",
}  # fmt: skip
_TABLE_FUNCTIONS = {"unnest", "range", "generate_series", "json_each", "json_tree"}
_SOURCES = {
    "BASE_TABLE", "JOIN", "SUBQUERY", "TABLE_FUNCTION", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST",
    "CTE", "PIVOT", "COLUMN_DATA", "INVALID",
}  # fmt: skip
_NEEDS_ORDER = {
    "WINDOW_ROW_NUMBER", "WINDOW_RANK", "WINDOW_RANK_DENSE", "WINDOW_NTILE",
    "WINDOW_PERCENT_RANK", "WINDOW_CUME_DIST", "WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE",
    "WINDOW_NTH_VALUE", "WINDOW_LEAD", "WINDOW_LAG", "WINDOW_FILL",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    """A query's text, which tells lines and columns from DuckDB's byte offsets."""

    sql: str

    def problem(self, message: str, node: Node | None = None) -> SqlProblem:
        location = (node or {}).get("query_location")
        if not isinstance(location, int) or location > len(self.sql.encode()):
            return SqlProblem(message)
        return self.problem_at(message, location)

    def problem_at(self, message: str, location: int) -> SqlProblem:
        before = self.sql.encode()[:location].decode("utf-8", "ignore")
        return SqlProblem(message, before.count("\n") + 1, len(before) - before.rfind("\n"))

    def problem_about(self, message: str, word: str) -> SqlProblem:
        """The place is where a word first stands."""
        found = self.sql.lower().find(word.lower()) if word else -1
        if found < 0:
            return SqlProblem(message)
        return self.problem_at(message, len(self.sql[:found].encode()))


def one_select(text: Text, tree: Node) -> Node:
    """The node of the one SELECT that a text must be."""
    if tree.get("error"):
        if tree.get("error_type") == "not implemented":
            raise SqlProblem("a query must be one SELECT and nothing else", 1, 1)
        message = f"this is no SQL: {tree.get('error_message', '')}"
        position = str(tree.get("position", ""))
        if position.isdigit():
            return _raise(text.problem_at(message, int(position)))
        return _raise(SqlProblem(message))
    statements: list[Node] = tree.get("statements", [])
    if len(statements) != 1:
        raise SqlProblem(f"a query must be one SELECT, and these are {len(statements)} statements")
    return statements[0]["node"]


def _raise(problem: SqlProblem) -> Node:
    raise problem


def check_query(
    text: Text, node: Node, tables: Mapping[str, Sequence[str]], *, limit: bool
) -> None:
    """Raises SqlProblem for the first thing that a query may not say.

    Args:
        text: The query.
        node: Its syntax tree.
        tables: Columns by table.
        limit: Whether LIMIT is allowed (in previews, which are no part of a plan).
    """
    views = {name.lower() for name in ctes(node)}
    known = {name.lower() for name in tables} | views
    columns = {column.lower() for names in tables.values() for column in names}
    for found in walk(node):
        kind, group = str(found.get("type", "")), found.get("class")
        if kind == "BASE_TABLE":
            _check_table(text, found, known, tables)
        elif kind == "TABLE_FUNCTION":
            _check_table_function(text, found)
        elif kind == "LIMIT_MODIFIER" or kind == "LIMIT_PERCENT_MODIFIER":
            if not limit:
                place = found.get("limit") or found.get("offset")
                raise text.problem(
                    "LIMIT and OFFSET are not allowed: which rows they leave in is chance;"
                    " choose rows by a condition, or number them by row_number() over (order by …)",
                    place if isinstance(place, dict) else None,
                )
        elif kind == "DISTINCT_MODIFIER" and found.get("distinct_on_targets"):
            raise text.problem(
                "DISTINCT ON keeps a row by chance; use arg_min or row_number() over (order by …)",
                found["distinct_on_targets"][0],
            )
        elif kind == "POSITIONAL" or found.get("ref_type") == "POSITIONAL":
            raise text.problem("a positional join depends on row order; join on columns", found)
        elif found.get("sample"):
            raise text.problem("a sample is chance; choose rows by a condition", found)
        elif group == "PARAMETER":
            raise text.problem("a query takes no parameters", found)
        elif group == "COLUMN_REF":
            _check_word(text, found, columns)
        elif group in ("FUNCTION", "WINDOW"):
            _check_function(text, found)
    for source in walk_sources(node):
        if source not in _SOURCES:
            raise SqlProblem(f"{source} is not allowed in FROM: a query ranges over tables by name")


def _check_table(
    text: Text, node: Node, known: set[str], tables: Mapping[str, Sequence[str]]
) -> None:
    name = str(node.get("table_name", ""))
    if node.get("schema_name") or node.get("catalog_name") or name.lower() not in known:
        whole = ".".join(p for p in (node.get("schema_name"), name) if p)
        shown = ", ".join(tables) or "none"
        raise text.problem(f"there is no table {whole!r}; the tables are: {shown}", node)


def _check_table_function(text: Text, node: Node) -> None:
    name = str(node.get("function", {}).get("function_name", "")).lower()
    if name not in _TABLE_FUNCTIONS:
        raise text.problem(
            f"{name} is not allowed in FROM: a query ranges over tables by name", node
        )


def _check_word(text: Text, node: Node, columns: set[str]) -> None:
    names = node.get("column_names") or []
    if len(names) == 1 and names[0].lower() in _WORDS and names[0].lower() not in columns:
        raise text.problem(f"{names[0]} is not allowed: {_why(names[0].lower())}", node)


def _check_function(text: Text, node: Node) -> None:
    name = function_name(node)
    if not is_fixed(name) or (name == "age" and len(arguments(node)) == 1):
        raise text.problem(f"{name}() is not allowed: {_why(name)}", node)
    if node.get("class") == "WINDOW":
        ordered = node.get("orders") or node.get("arg_orders")
        if (node.get("type") in _NEEDS_ORDER or name in _ORDERED) and not ordered:
            raise text.problem(f"{name}() over () needs an ORDER BY: row order is chance", node)
        return
    inner = node.get("order_bys")
    orders = inner.get("orders") if isinstance(inner, dict) else inner
    if name in _ORDERED and not orders:
        advice = f"write {name}(x ORDER BY …)"
        if name.startswith("json_group"):
            advice = "use to_json(list(x ORDER BY …))"
        raise text.problem(f"{name}() depends on row order; {advice}", node)


def is_fixed(name: str) -> bool:
    """Whether a function gives the same for the same arguments, and touches nothing else."""
    return name not in _CLOCK | _CHANCE | _SYSTEM and not name.startswith(_SYSTEM_PREFIXES)


def _why(name: str) -> str:
    if name in _CHANCE:
        return "a query must give the same each time"
    if name in _CLOCK or name == "age":
        return "a query must give the same at any time; give the date as a literal"
    return "a query sees its tables and nothing else"


def keeps_order(node: Node) -> bool:
    """Whether the rows come in the order of one input table by themselves."""
    if node.get("type") != "SELECT_NODE" or node.get("modifiers") or node.get("qualify"):
        return False
    if node.get("group_expressions") or node.get("having") or ctes(node):
        return False
    source = node.get("from_table", {}).get("type")
    if source not in ("BASE_TABLE", "EMPTY", "EMPTY_FROM", "TABLE_FUNCTION", "EXPRESSION_LIST"):
        return False
    return not any(found.get("class") in ("WINDOW", "SUBQUERY") for found in walk(node))


def is_ordered(node: Node) -> bool:
    """Whether the outermost query has an ORDER BY."""
    return any(m.get("type") == "ORDER_MODIFIER" for m in node.get("modifiers") or [])


def orders_by_all(node: Node) -> bool:
    """Whether that is ORDER BY ALL, which leaves no ties."""
    return any(
        order.get("expression", {}).get("class") == "STAR"
        for modifier in node.get("modifiers") or []
        for order in modifier.get("orders") or []
    )


def function_name(node: Node) -> str:
    """The function that a node calls, in lower case."""
    name = str(node.get("function_name", "")) or str(node.get("type", ""))
    return name.lower()


def arguments(node: Node) -> list[Any]:
    """A call's arguments, as either version of DuckDB keeps them."""
    return node.get("arguments") or node.get("children") or []


def ctes(node: Node) -> list[str]:
    """Names that WITH gives to queries, anywhere in a tree."""
    names: list[str] = []
    for found in walk(node):
        entries = found.get("cte_map")
        if isinstance(entries, dict):
            names += [str(entry.get("key", "")) for entry in entries.get("map") or []]
    return names


def walk_sources(node: Node) -> Iterator[str]:
    """Types of all that stands in FROM."""
    for found in walk(node):
        for slot in ("from_table", "left", "right", "source"):
            inner = found.get(slot)
            is_join = slot == "from_table" or found.get("type") in ("JOIN", "PIVOT")
            if is_join and isinstance(inner, dict) and "class" not in inner:
                yield str(inner.get("type", ""))


def walk(node: object) -> Iterator[Node]:
    """All nodes of a tree, from the root down."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(reversed(list(found.values())))
        elif isinstance(found, list):
            waiting.extend(reversed(found))
