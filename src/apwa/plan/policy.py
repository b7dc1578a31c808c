"""Policy: which columns may go to which endpoints. Rules, what they match, and what breaks them.

A rule names columns of the inputs by a pattern, and the endpoints to which they may go. Every rule
that matches a column must allow an endpoint, so a further rule can only forbid more: what a person
sets for all runs holds, whatever a plan says. A column that no rule matches may go anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import msgspec

from apwa.plan.lineage import Lineage, Origin, lineage_of, shown_columns
from apwa.plan.loading import did_you_mean
from apwa.plan.model import TemplateStep
from apwa.plan.places import Places
from apwa.plan.shapes import CheckedPlan, TableShape
from apwa.vocabulary import Misuse, Problem

LOCAL = "local"
SENSITIVE = "sensitive"
_WHOLE_NAMES = (LOCAL, "practice", "smollm2", "*")
_WAYS = "write local, NAME:MODEL such as openai:*, or an address such as http://10.0.0.5:8000/*"


class Rule(msgspec.Struct, frozen=True):
    """Columns, by a pattern, and the endpoints to which they may go."""

    columns: str
    endpoints: list[str]
    place: str  # where a person wrote it, for messages

    def __str__(self) -> str:
        return f"{self.columns}: [{', '.join(self.endpoints)}] ({self.place})"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a model's calls go.

    Attributes:
        shown: The model as the run names it, and its address where that says more.
        names: What patterns of endpoints are held against.
        local: Whether it is served on this machine.
    """

    shown: str
    names: tuple[str, ...]
    local: bool


def rules_of(policy: Mapping[str, Sequence[str]], place: str) -> list[Rule]:
    """The rules of a ``policy`` mapping. Raises Misuse for a pattern that means nothing."""
    rules = [Rule(columns, list(endpoints), place) for columns, endpoints in policy.items()]
    for rule in rules:
        if problem := rule_problem(rule):
            raise Misuse(problem, f"policy of {place}")
    return rules


def rule_problem(rule: Rule) -> str:
    """What is wrong with a rule by itself; empty if nothing is."""
    table, dot, column = rule.columns.partition(".")
    if rule.columns not in ("*", SENSITIVE) and not (table and dot and column):
        return f"{rule.columns!r} names no columns: write TABLE.COLUMN, sensitive or *"
    for endpoint in rule.endpoints:
        if endpoint not in _WHOLE_NAMES and ":" not in endpoint:
            return f"{endpoint!r} names no endpoint: {_WAYS}"
    return ""


def unmatched(rules: Iterable[Rule], inputs: Mapping[str, TableShape]) -> list[tuple[Rule, str]]:
    """Rules that name a column which an input does not have, each with what to do."""
    found: list[tuple[Rule, str]] = []
    for rule in rules:
        table, _, column = rule.columns.partition(".")
        shape = inputs.get(table)
        if shape is None or "*" in column:
            continue
        if column.casefold() not in map(str.casefold, shape.schema.names):
            found.append((rule, did_you_mean(column, shape.schema.names)))
    return found


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of a run, over its inputs. ``sensitive``: those of their columns that are so."""

    rules: Sequence[Rule]
    sensitive: Collection[Origin]

    def forbids(self, origin: Origin, to: Destination) -> Rule | None:
        """A rule by which a column may not go there; None if it may."""
        for rule in self.rules:
            if self._concerns(rule, origin) and not allows(rule, to):
                return rule
        return None

    def _concerns(self, rule: Rule, origin: Origin) -> bool:
        if rule.columns == SENSITIVE:
            return origin in self.sensitive
        table, dot, column = rule.columns.partition(".")
        if not dot:
            return True
        # a name is one name however it is written, as in SQL
        return _is_like(table, origin[0]) and _is_like(column.casefold(), origin[1].casefold())

    def problems(
        self,
        checked: CheckedPlan,
        places: Places,
        inputs: Mapping[str, TableShape],
        to: Mapping[str, Destination],
    ) -> list[Problem]:
        """What of a plan breaks the rules. ``to``: where each template step's calls go."""
        lineage = lineage_of(checked, inputs)
        return [
            problem
            for name, step in checked.plan.steps.items()
            if isinstance(step, TemplateStep)
            for problem in self._of_template(name, step, places, lineage, to[name])
        ]

    def _of_template(
        self,
        name: str,
        step: TemplateStep,
        places: Places,
        lineage: Lineage,
        to: Destination,
    ) -> Iterable[Problem]:
        for column in shown_columns(step):
            for origin in sorted(lineage[step.over].get(column, ())):
                rule = self.forbids(origin, to)
                if rule is None:
                    continue
                table, source = origin
                made = f"made from {table}.{source}, " if origin != (step.over, column) else ""
                yield places.problem(
                    ("steps", name, "template"),
                    f"the column {column!r} ({made}policy {rule}) may not go to {to.shown}",
                    f"leave {{{{{column}}}}} out, give the step a `model` that is allowed, or take"
                    " what an earlier step `releases`",
                )
                break


def allows(rule: Rule, to: Destination) -> bool:
    return any(
        to.local if endpoint == LOCAL else any(_is_like(endpoint, name) for name in to.names)
        for endpoint in rule.endpoints
    )


def _is_like(pattern: str, text: str) -> bool:
    return _compiled(pattern).fullmatch(text) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.S)
