"""A plan in the making, and the little that all of its makers need."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from apwa.practice.planning.briefing import Column

Step = dict[str, Any]


class CannotPlan(Exception):
    """The job is beyond these rules; says why in words for a person."""


@dataclass(slots=True)
class Draft:
    """A plan in the making.

    Attributes:
        source: Table or step that templates range over.
        said: What the plan does, in sentences, for the reason and the last words.
    """

    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    answer: str = ""
    source: str = ""
    columns: list[str] = field(default_factory=list[str])
    key: list[str] = field(default_factory=list[str])
    text: Column = field(default_factory=lambda: Column("", "text"))
    said: list[str] = field(default_factory=list[str])

    def add(self, name: str, step: Step, said: str) -> str:
        """Add a step under a free name; returns the name, which is the answer until another."""
        free, number = name, 2
        while free in self.steps or free == self.source:
            free, number = f"{name}_{number}", number + 1
        self.steps[free] = step
        self.answer = free
        self.said.append(said)
        return free


def query_step(sql: str, key: list[str]) -> Step:
    return {"query": sql, "key": list(key)} if key else {"query": sql}


def sql_name(name: str) -> str:
    """A column's name in SQL; in quotes only where it needs them."""
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


_RESERVED = frozenset(
    ["all", "and", "as", "by", "case", "column", "desc", "end", "from", "group", "in", "is",
     "limit", "not", "null", "on", "or", "order", "select", "table", "then", "to", "using",
     "when", "where", "with", "default", "check", "references", "user", "both", "union", "window"]
)  # fmt: skip


def free_name(name: str, taken: list[str]) -> str:
    """The name, or the name with ``new_`` before it where the table has it already."""
    lower = [column.lower() for column in taken]
    while name.lower() in lower or name in ("items", "missing"):
        name = f"new_{name}"
    return name


def own_words(clause: str, draft: Draft) -> str:
    """The job's own words, for the worker; its placeholders stay only if they are columns."""

    def known(match: re.Match[str]) -> str:
        return match.group() if match.group(1) in draft.columns else match.group(1)

    said = re.sub(r"\{\{\s*(.*?)\s*\}\}", known, clause.strip())
    said = said[:1].upper() + said[1:]
    return said if said.endswith((".", "!", "?", ":")) else said + "."
