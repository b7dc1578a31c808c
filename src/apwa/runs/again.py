"""Retry: rows of a run that are to be worked anew, in a higher generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from apwa.plan import QueryStep, TemplateStep, load_plan
from apwa.runs.desk import Desk
from apwa.runs.state import load_state, save_state
from apwa.tables import Table
from apwa.vocabulary import RUN, Misuse


@dataclass(frozen=True, slots=True)
class Again:
    """Which rows to work anew: of one step or of all, those quarantined or those named."""

    step: str = ""
    rows: Sequence[str] = ()


async def want_again(desk: Desk, again: Again) -> int:
    """Want the rows in a new generation; how many. Later steps follow by their reuse keys.

    Raises Misuse if there is nothing to retry.
    """
    plans = desk.reader.plans()
    if not plans:
        raise Misuse("the run has no plan yet", desk.directory.name, "Resume it instead.")
    plan, _ = load_plan(plans[-1].text, "plan")
    steps = {n: s for n, s in plan.steps.items() if isinstance(s, TemplateStep)}
    if again.step and again.step not in steps:
        known = ", ".join(steps) or "none"
        raise Misuse(f"no step {again.step!r} has subtasks", "--step", f"Steps: {known}.")
    if again.rows and not again.step and len(steps) > 1:
        raise Misuse("--rows needs --step here", "--rows", f"Steps: {', '.join(steps)}.")
    wanted = 0
    for name, step in steps.items():
        if again.step in ("", name):
            wanted += await _want(desk, name, step, again)
    if not again.step and any(isinstance(step, QueryStep) for step in plan.steps.values()):
        wanted += _read_again(desk)
    if not wanted:
        raise Misuse("no row is quarantined", desk.directory.name, "There is nothing to retry.")
    return wanted


def _read_again(desk: Desk) -> int:
    """Have files that queries could not see read once more; how many."""
    found = 0
    for table in desk.tables.values():
        if table.content is not None and (broken := desk.documents.broken(table)):
            desk.documents.forget_broken(table, BitMap(broken))
            found += len(broken)
    return found


async def _want(desk: Desk, name: str, step: TemplateStep, again: Again) -> int:
    if again.rows and step.reduce is not None:
        raise Misuse(
            f"step {name!r} is a reduce: its subtasks are no rows", "--rows", "Leave --rows out."
        )
    if again.rows:
        rows = BitMap(_source(desk, step).find(list(again.rows)))
    else:
        rows = desk.reader.quarantined(RUN, name)
    if rows:
        source = desk.tables.get(step.over)
        if source is not None and source.content is not None:
            desk.documents.forget_broken(source, rows)
        state = load_state(desk.reader, RUN, name)
        state = state.wanting(rows, desk.reader.generations(RUN, name), again=True)
        await save_state(desk.journal, RUN, name, state)
    return len(rows)


def _source(desk: Desk, step: TemplateStep) -> Table:
    if step.over in desk.tables:
        return desk.tables[step.over]
    table = load_state(desk.reader, RUN, step.over).closed_table()
    if table is None:
        raise Misuse(f"step {step.over!r} has no table yet", "--rows", "Resume the run first.")
    return table
