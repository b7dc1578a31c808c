"""The policy of a run: kept with it, held against its plans, its endpoints and its manager.

Rules come from the settings and from the user's plans. Once a run has a rule, it keeps it: neither
a mended plan nor other settings at a resume take one back.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from apwa.plan import (
    CheckedPlan,
    Destination,
    Origin,
    Places,
    Policy,
    Rule,
    TemplateStep,
    load_plan,
    rules_of,
    unmatched,
)
from apwa.runs.desk import Desk, input_shape
from apwa.runs.settings import RunRequest
from apwa.vocabulary import Misuse, Problem
from apwa.vocabulary.events import Trouble


class KeptRules(msgspec.Struct, frozen=True):
    rules: list[Rule] = []


async def take_rules(desk: Desk, plan: tuple[str, str] | None) -> None:
    """Add the rules of the settings and of a user's plan to those that the run has.

    Raises Misuse for a rule that names a column which its table does not have.
    """
    kept = kept_rules(desk).rules
    new = rules_of(desk.settings.policy, "the settings")
    if plan is not None:
        text, source = plan
        new += rules_of(load_plan(text, source)[0].policy, source)
    inputs = {name: input_shape(table) for name, table in desk.tables.items()}
    for rule, todo in unmatched(new, inputs):
        raise Misuse(f"there is no column {rule.columns}", f"policy of {rule.place}", todo)
    for rule in new:
        table, dot, _ = rule.columns.partition(".")
        if dot and "*" not in table and table not in inputs:  # of another job, or a slip
            words = f"there is no table {table} in this run, so a rule holds nothing: {rule}"
            desk.emit(Trouble("policy", words))
    await desk.keep("policy", KeptRules([*kept, *(rule for rule in new if rule not in kept)]))


def kept_rules(desk: Desk) -> KeptRules:
    """The rules that the run has."""
    return desk.kept("policy", KeptRules) or KeptRules()


def carried(desk: Desk) -> dict[str, list[str]]:
    """The rules of the settings that a manager's plan takes along, for whoever runs it again."""
    return {
        columns: list(endpoints)
        for columns, endpoints in desk.settings.policy.items()
        if "." not in columns or "*" in (table := columns.partition(".")[0]) or table in desk.tables
    }


def policy_of(desk: Desk) -> Policy | None:
    """The run's policy as it stands; None if it has no rules."""
    rules, request = kept_rules(desk).rules, desk.kept("request", RunRequest)
    if not rules or request is None:
        return None
    # as a person declared them: what is hidden from a manager besides is not of that class
    sensitive = {(table.name, column) for table in request.tables for column in table.sensitive}
    return Policy(rules, sensitive)


async def policy_problems(
    desk: Desk, policy: Policy, checked: CheckedPlan, places: Places, *, by_manager: bool
) -> list[Problem]:
    """What of a plan breaks the run's policy. Opens clients, and sends nothing.

    ``by_manager``: what the manager was shown may stand in its instructions.
    """
    to: dict[str, Destination] = {}
    problems: list[Problem] = []
    for name, step in checked.plan.steps.items():
        if not isinstance(step, TemplateStep):
            continue
        to[name] = await desk.endpoints.destination(step.model)
        if by_manager and (shown := _may_not_go(desk, policy, [to[name]])):
            table, column = min(shown)
            what = (
                f"the manager has been shown values of {table}.{column}, which may not go to"
                f" {to[name].shown}"
            )
            problems.append(places.problem(("steps", name, "model"), what, "leave `model` out"))
    inputs = {name: input_shape(table) for name, table in desk.tables.items()}
    return problems + policy.problems(checked, places, inputs, to)


async def veil(desk: Desk) -> None:
    """Hide from the manager values that may not go to its endpoint, or to that of the workers,
    whose instructions it writes.

    Raises Misuse where it has seen such values already: its conversation would carry them there.
    """
    policy = policy_of(desk)
    if policy is None:
        return
    ends = dict.fromkeys([desk.settings.manager_model, ""])
    to = [await desk.endpoints.destination(end) for end in ends]
    hidden = _may_not_go(desk, policy, to)
    if hidden and desk.reader.turns():
        table, column = min(hidden)
        raise Misuse(
            f"the manager has been shown values of {table}.{column}, which may not go to"
            f" {' and '.join(end.shown for end in to)}",
            "policy",
            "Go on with the models that it had, or read its plan and give it back as a file:"
            f" apwa resume --plan {desk.directory.plan_path}",
        )
    for name, table in desk.tables.items():
        columns = {column for of, column in hidden if of == name}
        if columns:
            desk.tables[name] = replace(table, sensitive=table.sensitive | columns)
            shown = ", ".join(sorted(columns))
            desk.emit(Trouble("policy", f"the manager is shown no values of {name}: {shown}"))
    if hidden:
        await desk.keep_tables()


def _may_not_go(desk: Desk, policy: Policy, to: list[Destination]) -> set[Origin]:
    """Columns that managers are shown and that may not go to some of these endpoints."""
    return {
        (name, column)
        for name, table in desk.tables.items()
        for column in table.schema.names
        if column not in table.sensitive
        and any(policy.forbids((name, column), end) is not None for end in to)
    }
