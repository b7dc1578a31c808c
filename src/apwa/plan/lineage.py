"""Which columns of the inputs each column of a plan's tables may tell of.

Rather too much than too little: an answer tells of every column that its worker is shown; a query's
columns tell of every column that the query mentions anywhere, and of all columns of the tables it
reads where that cannot be known from its text (``*``, a natural join, a table taken as a value).
Only a plain count tells of nothing, and what a person has declared as released.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apwa.plan.graph import tree_of
from apwa.plan.model import QueryStep, RowsStep, TemplateStep
from apwa.plan.shapes import CheckedPlan, TableShape
from apwa.plan.templates import placeholders

Origin = tuple[str, str]
"""A column of an input: table, column."""

Origins = frozenset[Origin]
Lineage = Mapping[str, Mapping[str, Origins]]
"""Table or step, to its columns, to what each tells of."""

_NOTHING: Origins = frozenset()
_COUNTS = {"count", "count_star"}
_UNKNOWN = {"STAR", "POSITIONAL_REFERENCE"}


def lineage_of(checked: CheckedPlan, inputs: Mapping[str, TableShape]) -> Lineage:
    """The origins of all columns of a checked plan."""
    found: dict[str, dict[str, Origins]] = {
        name: {column: frozenset({(name, column)}) for column in shape.schema.names}
        for name, shape in inputs.items()
    }
    for name in checked.order:
        step, columns = checked.plan.steps[name], checked.shapes[name].schema.names
        if isinstance(step, TemplateStep):
            source = found[step.over]
            told = _all(source, shown_columns(step))
            if step.reduce is None:
                made = {column: source.get(column, told) for column in columns}
            else:
                groups = _all(source, step.reduce.by)
                named = {column: source[column] for column in step.reduce.by}
                made = dict.fromkeys(columns, told) | named
                made |= {"items": _NOTHING, "missing": groups}
        elif isinstance(step, QueryStep):
            sources = {need: found[need] for need in checked.needs[name]}
            made = _query(step.query, sources, columns)
        else:
            made = dict.fromkeys(columns, _NOTHING)
        released = () if isinstance(step, RowsStep) else step.releases
        found[name] = made | {column: _NOTHING for column in released if column in made}
    return found


def shown_columns(step: TemplateStep) -> list[str]:
    """The columns whose values a template's calls hold."""
    return placeholders(step.template)


def _all(source: Mapping[str, Origins], columns: list[str]) -> Origins:
    return _NOTHING.union(*(source.get(column, _NOTHING) for column in columns))


def _query(
    sql: str, sources: Mapping[str, Mapping[str, Origins]], columns: list[str]
) -> dict[str, Origins]:
    node = _select(sql)
    mentioned = _mentioned(node, sources) if node is not None else None
    told = _NOTHING.union(
        *(
            origins
            for source in sources.values()
            for column, origins in source.items()
            if mentioned is None or column.casefold() in mentioned
        )
    )
    counts = _counts(node, len(columns))
    return {c: _NOTHING if n in counts else told for n, c in enumerate(columns)}


def _select(sql: str) -> dict[str, Any] | None:
    tree = tree_of(sql)
    statements = tree.get("statements") if tree is not None else None
    return statements[0].get("node") if statements else None


def _mentioned(
    node: dict[str, Any], sources: Mapping[str, Mapping[str, Origins]]
) -> set[str] | None:
    """The names that a query speaks of, folded; None if it may speak of all there are."""
    columns = {column.casefold() for source in sources.values() for column in source}
    parts = list(_walk(node))
    tables = {name.casefold() for name in sources}
    own: set[str] = set()  # names that the query itself gives
    for part in parts:
        name = str(part.get("alias") or "").casefold()
        if "class" in part:
            own.add(name)
        else:
            tables.add(name)
        entries = part.get("cte_map")
        if isinstance(entries, dict):
            tables |= {str(entry["key"]).casefold() for entry in entries.get("map") or []}
        if part.get("class") == "LAMBDA":
            own |= {n for inner in _walk(part.get("lhs")) for n in _names(inner)}
    mentioned: set[str] = set()
    for part in parts:
        if part.get("class") in _UNKNOWN or part.get("ref_type") in ("NATURAL", "POSITIONAL"):
            return None
        if part.get("type") in ("PIVOT", "SHOW_REF"):
            return None
        if part.get("type") == "BASE_TABLE" and part.get("column_name_alias"):
            return None  # its columns go by other names
        mentioned |= {str(name).casefold() for name in part.get("using_columns") or []}
        names = _names(part)
        mentioned.update(names)
        if len(names) == 1 and (names[0] in tables or names[0] not in columns | own):
            return None
        if names and names[-1] in tables and names[-1] not in columns:
            return None  # a whole row, or something that is not seen through
    return mentioned


def _names(part: dict[str, Any]) -> list[str]:
    if part.get("class") not in ("COLUMN_REF", "LAMBDA_REF"):
        return []
    return [str(name).casefold() for name in part.get("column_names") or []]


def _counts(node: dict[str, Any] | None, width: int) -> set[int]:
    """Numbers of the result's columns that are only counts."""
    selected: list[dict[str, Any]] = (node or {}).get("select_list") or []
    if node is None or node.get("type") != "SELECT_NODE" or len(selected) != width:
        return set()
    return {
        number
        for number, part in enumerate(selected)
        if part.get("class") == "FUNCTION" and part.get("function_name") in _COUNTS
    }


def _walk(node: object) -> Iterator[dict[str, Any]]:
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
