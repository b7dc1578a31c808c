"""Works a template step over the rows of its table."""

from __future__ import annotations

import asyncio

from pyroaring import BitMap

from apwa.executor import StepJob
from apwa.plan import TemplateStep
from apwa.runs.closing import close_sample, close_template, made_sensitive
from apwa.runs.expand import by_reference, expand, fit_of
from apwa.runs.kept_answers import KeptAnswers, unchanged, under_another_contract
from apwa.runs.settling import Known, piloted, settle, without_again
from apwa.runs.specs import KeptSpec
from apwa.runs.state import StepState, save_state
from apwa.runs.walk import Closed, Stopped, Walk, digest
from apwa.runs.windows import check_window
from apwa.vocabulary import PILOT, RUN, WorkSpec
from apwa.vocabulary.events import AnswersReused, StepOpened


async def work_template(walk: Walk, name: str, step: TemplateStep) -> Closed:
    """Work a template step to its end. Raises Stopped."""
    desk, reader, scope = walk.desk, walk.desk.reader, walk.scope
    source = walk.source(step.over)
    rows = await asyncio.to_thread(walk.sampled, step.over)
    spec = await desk.spec(name, step, walk.checked)
    await check_window(desk, step, spec, source.table)
    before = await under_another_contract(desk, scope, step, spec)
    state, known = await _settle(walk, name, step, spec, source, rows)
    standing = state.standing(reader, scope, name, rows)
    todo = rows - standing.settled
    desk.emit(StepOpened(scope, name, "template", len(rows), len(standing.done)))
    await desk.keep_spec(scope, spec, step, source.table, state.prefixes)
    if todo:
        state = state.opened()
        await save_state(desk.journal, scope, name, state)
        known = piloted(reader, scope, name) | known
        fit = fit_of(spec, await desk.context_of(step))
        again = BitMap(state.again)
        kept = await _kept_answers(walk, spec, source, before, todo - again)
        earlier = None
        if scope == RUN or step.over in desk.tables:  # of a pilot's own tables, it says nothing
            earlier = await desk.earlier_answers(spec, source.table, todo)
        batches = expand(spec, source.table, todo, state.wanted, fit, desk.documents)
        if kept is not None:
            batches = kept.answering(batches)
        if earlier is not None:
            batches = earlier.answering(batches, again)
        if desk.settings.executor == "ray":
            batches = by_reference(batches, spec, source.table)
        end = await desk.executor.run_step(
            StepJob(
                scope=scope,
                spec=spec,
                rows=len(rows),
                todo=todo,
                expand=batches,
                done=len(standing.done),
                quarantined=len(standing.quarantined),
                known=await asyncio.to_thread(
                    without_again, known, spec, source.table, todo, state
                ),
                share=desk.shareable(spec),
                hidden=bool(made_sensitive(spec, source.table)),
            )
        )
        if kept is not None and kept.accepted:
            desk.emit(AnswersReused(name, kept.accepted, len(todo)))
        if end.paused and not desk.finishing:
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


async def _kept_answers(
    walk: Walk, spec: WorkSpec, source: Closed, before: KeptSpec | None, rows: BitMap
) -> KeptAnswers | None:
    if before is None:
        return None
    reader, scope = walk.desk.reader, walk.scope
    same = await asyncio.to_thread(
        unchanged, reader, scope, before.spec, before.prefixes, source.table, rows
    )
    return KeptAnswers(reader, scope, spec, same, walk.desk.checks) if same else None
