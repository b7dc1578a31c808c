"""Executes a checked plan in one scope: the pilot's sample, or the full run.

Steps run as soon as what they need is closed, side by side where they can. What a step has
already is kept as long as its rows' requests are the same (see ``settling``). A step's table is
kept as long as it was made from the same template, source and rows.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pyroaring import BitMap

from apwa.executor import StepEnd
from apwa.plan import QueryStep, RowsStep
from apwa.runs.closing import rows_table, select_rows
from apwa.runs.contents import listing_of, needs_content, unread, whole
from apwa.runs.mapping import work_template
from apwa.runs.reduction import work_reduce
from apwa.runs.state import load_state, save_state
from apwa.runs.walk import Closed, Stopped, Walk, digest
from apwa.tables import SqlProblem, Table
from apwa.vocabulary import RUN, RunFailed, Usage
from apwa.vocabulary.events import StepClosed, StepOpened, Trouble

_MOST_NAMED = 5


async def execute(walk: Walk) -> dict[str, Closed]:
    """Execute all steps. Raises Stopped, or RunFailed for a query that fails."""
    ended = {name: asyncio.Event() for name in walk.checked.order}
    tasks = [_when_ready(walk, name, ended) for name in walk.checked.order]
    # steps side by side end each in their own way: one that fails cancels no other's calls
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for error in sorted(errors, key=lambda e: isinstance(e, Stopped)):
        raise error
    return walk.closed


async def _when_ready(walk: Walk, name: str, ended: dict[str, asyncio.Event]) -> None:
    try:
        for need in walk.checked.needs[name]:
            if need in ended:
                await ended[need].wait()
                if need not in walk.closed:
                    return  # it failed, and says so itself
        walk.closed[name] = await _step(walk, name)
    finally:
        ended[name].set()


async def _step(walk: Walk, name: str) -> Closed:
    step = walk.checked.plan.steps[name]
    if isinstance(step, RowsStep):
        return await _rows(walk, name, step)
    if isinstance(step, QueryStep):
        return await _query(walk, name, step)
    if step.reduce is not None:
        return await work_reduce(walk, name, step)
    return await work_template(walk, name, step)


# ---- rows and queries: no model, no result rows in the journal


async def _rows(walk: Walk, name: str, step: RowsStep) -> Closed:
    shape = walk.checked.shapes[name]
    version = walk.desk.identity_of(step)
    state = load_state(walk.desk.reader, RUN, name)
    table = state.table_if(version)
    if table is None:
        into = walk.desk.table_folder(RUN, name, state.number + 1)
        table = await asyncio.to_thread(
            rows_table, name, [dict(row) for row in step.rows], shape.schema, shape.key, into
        )
        await save_state(walk.desk.journal, RUN, name, state.closed(version, table))
    return _close_free(walk, name, "rows", table, version)


async def _query(walk: Walk, name: str, step: QueryStep) -> Closed:
    scope = walk.effective_scope(name)
    sources = {need: walk.source(need) for need in sorted(walk.checked.needs[name])}
    picked = {need: walk.allowed(need) for need in sources}
    contents = await needs_content(
        walk.desk, step.query, {need: closed.table for need, closed in sources.items()}
    )
    aside = 0
    if contents:
        for need, closed in sources.items():
            broken = await unread(walk.desk, closed.table, picked[need])
            if broken:
                _say_unread(walk, name, closed.table, broken)
                picked[need] = picked[need] - BitMap(broken)
                aside += len(broken)
    version = walk.desk.identity_of(
        step, *(f"{need}={c.version}:{digest(picked[need])}" for need, c in sources.items())
    )
    state = load_state(walk.desk.reader, scope, name)
    table = state.table_if(version)
    if table is None:
        tables = {
            need: await _readable(walk, need, closed.table, picked[need], contents=contents)
            for need, closed in sources.items()
        }
        into = walk.desk.table_folder(scope, name, state.number + 1)
        try:
            key = walk.checked.shapes[name].key
            table = await walk.desk.sql.run(step.query, tables, into, name, key)
            if any(source.table.sensitive for source in sources.values()):
                # what a query makes of sensitive columns is not known: hide all of it
                table = replace(table, sensitive=frozenset(table.schema.names))
        except SqlProblem as problem:
            hidden = any(source.table.sensitive for source in sources.values())
            words = "its words are hidden: it reads sensitive columns" if hidden else problem
            raise RunFailed(
                f"the query fails: {words}",
                f"step {name}",
                "Mend the query in a copy of the plan, then: apwa resume --plan FILE",
            ) from problem
        await save_state(walk.desk.journal, scope, name, state.closed(version, table))
    return _close_free(walk, name, "query", table, version, aside)


def _say_unread(walk: Walk, name: str, table: Table, broken: dict[int, str]) -> None:
    """Files that a query does not see because they cannot be read: a few by name."""
    words = f"{len(broken):,} of {table.name} cannot be read and take no part"
    if not table.sensitive.intersection(table.key):
        some = sorted(broken)[:_MOST_NAMED]
        named = [f"{next(table.row_keys(at, at + 1))} ({broken[at]})" for at in some]
        more = f" and {len(broken) - len(some):,} more" if len(broken) > len(some) else ""
        words += f": {'; '.join(named)}{more}"
    walk.desk.emit(Trouble("bad_input", words, step=name))


def _close_free(
    walk: Walk, name: str, kind: str, table: Table, version: str, aside: int = 0
) -> Closed:
    """``aside``: rows of documents that it does not see, since they cannot be read."""
    rows = table.rows
    walk.desk.emit(StepOpened(walk.scope, name, kind, rows + aside))
    walk.desk.emit(StepClosed(walk.scope, name, rows + aside, rows, aside, 0, Usage()))
    return Closed(table, version, StepEnd(rows, aside, 0, Usage()))


async def _readable(walk: Walk, name: str, table: Table, rows: BitMap, *, contents: bool) -> Table:
    """A table as queries see it: only rows that take part, no status, no error."""
    if table.content is not None:
        if contents:
            return await whole(walk.desk, f"{walk.scope}-{name}", table, rows)
        table = listing_of(table)
    if len(rows) == table.rows and name in walk.desk.tables:
        return table
    into = walk.desk.scratch(f"{walk.scope}-{name}")
    return await asyncio.to_thread(select_rows, table, rows, into)
