"""What steps need, in which order they run, and what leads to the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

from apwa.plan.model import Plan, QueryStep, TemplateStep

_NO_CODE = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.S)
_WORD = re.compile(r'"((?:[^"]|"")+)"|([^\W\d]\w*)')


def needs_of(plan: Plan, tables: Iterable[str]) -> dict[str, set[str]]:
    """For each step the tables and steps that it reads, of those that there are."""
    known = {*tables, *plan.steps}
    needs: dict[str, set[str]] = {}
    for name, step in plan.steps.items():
        if isinstance(step, TemplateStep):
            needs[name] = {step.over} & known
        elif isinstance(step, QueryStep):
            needs[name] = tables_in(step.query, known)
        else:
            needs[name] = set()
    return needs


def tables_in(sql: str, known: Iterable[str]) -> set[str]:
    """The known tables that a query reads. Parses, and neither binds nor runs anything."""
    by_fold = {name.casefold(): name for name in known}
    found = _parsed_names(sql)
    if found is None:  # no valid SELECT: its own check says why; this keeps the order sensible
        code = _NO_CODE.sub(" ", sql)
        found = {quoted.replace('""', '"') or plain for quoted, plain in _WORD.findall(code)}
    return {by_fold[name.casefold()] for name in found if name.casefold() in by_fold}


def tree_of(sql: str) -> dict[str, Any] | None:
    """DuckDB's syntax tree of a query; None if it is no valid SELECT. Binds and runs nothing."""
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        try:
            row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
        except duckdb.Error:
            return None
    tree: Any = json.loads(row[0]) if row is not None else None
    if not isinstance(tree, dict) or tree.get("error"):
        return None
    return tree


def _parsed_names(sql: str) -> set[str] | None:
    tree = tree_of(sql)
    if tree is None:
        return None
    names: set[str] = set()
    ctes: set[str] = set()
    _walk(tree, names, ctes)
    return names - ctes


def _walk(node: Any, names: set[str], ctes: set[str]) -> None:
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            if part.get("type") == "BASE_TABLE" and isinstance(part.get("table_name"), str):
                names.add(part["table_name"])
            entries = part.get("cte_map")
            if isinstance(entries, dict):
                ctes |= {
                    entry["key"]
                    for entry in entries.get("map", [])
                    if isinstance(entry, dict) and isinstance(entry.get("key"), str)
                }
            waiting += part.values()


def ordered(needs: Mapping[str, set[str]]) -> tuple[list[str], list[list[str]]]:
    """Steps behind what they need, in the plan's own order where it is free; and the cycles."""
    order: list[str] = []
    left = dict(needs)
    while left:
        ready = [name for name, of in left.items() if not (of & left.keys())]
        if not ready:
            return order, _cycles(left)
        for name in ready:
            order.append(name)
            del left[name]
    return order, []


def _cycles(left: Mapping[str, set[str]]) -> list[list[str]]:
    cycles: list[list[str]] = []
    seen: set[str] = set()
    for start in left:
        path: list[str] = []
        at: str | None = start
        while at is not None and at not in seen:
            seen.add(at)
            path.append(at)
            at = next((need for need in sorted(left[at]) if need in left), None)
        if at is not None and at in path:
            cycles.append([*path[path.index(at) :], at])
    return cycles


def leading_to(answer: str, needs: Mapping[str, set[str]]) -> set[str]:
    """The answer and everything above it, tables too."""
    found: set[str] = set()
    waiting = [answer]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs.get(name, ())
    return found
