"""Works a template step over the rows of its table."""

from __future__ import annotations

import asyncio

from pyroaring import BitMap

from apwa.executor import StepJob
from apwa.plan import TemplateStep
from apwa.runs.closing import close_sample, close_template
from apwa.runs.expand import expand, fit_of
from apwa.runs.settling import Known, piloted, settle, without_again
from apwa.runs.state import StepState, save_state
from apwa.runs.walk import Closed, Stopped, Walk, digest
from apwa.vocabulary import PILOT, WorkSpec
from apwa.vocabulary.events import StepOpened


async def work_template(walk: Walk, name: str, step: TemplateStep) -> Closed:
    """Work a template step to its end. Raises Stopped."""
    desk, reader, scope = walk.desk, walk.desk.reader, walk.scope
    source = walk.source(step.over)
    rows = await asyncio.to_thread(walk.sampled, step.over)
    spec = await desk.spec(name, step, walk.checked)
    state, known = await _settle(walk, name, step, spec, source, rows)
    standing = state.standing(reader, scope, name, rows)
    todo = rows - standing.settled
    desk.emit(StepOpened(scope, name, "template", len(rows), len(standing.done)))
    await desk.keep_spec(scope, spec, step.over, source.table)
    if todo:
        state = state.opened()
        await save_state(desk.journal, scope, name, state)
        known = piloted(reader, scope, name) | known
        fit = fit_of(spec, await desk.context_of(step))
        end = await desk.executor.run_step(
            StepJob(
                scope=scope,
                spec=spec,
                rows=len(rows),
                todo=todo,
                expand=expand(
                    spec,
                    source.table,
                    todo,
                    state.wanted,
                    fit,
                    desk.documents,
                    by_reference=desk.settings.executor == "ray",
                ),
                done=len(standing.done),
                quarantined=len(standing.quarantined),
                known=await asyncio.to_thread(
                    without_again, known, spec, source.table, todo, state
                ),
                share=desk.shareable(spec),
            )
        )
        if end.paused:
            raise Stopped(end.paused)
    version = f"{state.made_of} {digest(rows)}"
    table = state.table_if(version)
    if table is None:
        into = desk.table_folder(scope, name, state.number + 1)
        close = close_sample if scope == PILOT else close_template
        table = await asyncio.to_thread(close, spec, source.table, reader, scope, rows, into)
    return await walk.close(name, table, state, version, rows)


async def _settle(
    walk: Walk, name: str, step: TemplateStep, spec: WorkSpec, source: Closed, rows: BitMap
) -> tuple[StepState, Known]:
    """Find out which results still count, and want a new generation of those that do not."""
    state = walk.taken_up(name, step, spec)
    made_of = f"{state.template} {spec.prefix_hash.hex()} {source.version}"
    known: Known = {}
    if state.made_of != made_of:
        if state.made_of:
            state, known = await asyncio.to_thread(
                settle, walk.desk.reader, walk.scope, spec, source.table, rows, state
            )
        state = state.of(made_of)
        await save_state(walk.desk.journal, walk.scope, name, state)
    return state, known
