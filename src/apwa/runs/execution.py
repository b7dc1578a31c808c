"""Executes a checked plan in one scope: the pilot's sample, or the full run.

Steps run as soon as what they need is closed, side by side where they can. What a step has
already is kept as long as its rows' requests are the same (see ``settling``). A step's table is
kept as long as it was made from the same template, source and rows.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pyroaring import BitMap

from apwa.executor import StepEnd, StepJob
from apwa.plan import CheckedPlan, QueryStep, RowsStep, TemplateStep
from apwa.runs.closing import (
    close_sample,
    close_template,
    done_ordinals,
    rows_table,
    select_rows,
)
from apwa.runs.desk import Desk
from apwa.runs.expand import expand, fit_of
from apwa.runs.reduction import work_reduce
from apwa.runs.settling import Known, piloted, settle, without_again
from apwa.runs.state import StepState, load_state, save_state
from apwa.tables import SqlProblem, Table, pilot_ordinals
from apwa.vocabulary import PILOT, RUN, RunFailed, Usage, WorkSpec
from apwa.vocabulary.events import StepClosed, StepOpened


class Stopped(Exception):
    """The executor stopped before the step's end; the words say why."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A step that has its table."""

    table: Table
    version: str  # names the table's content: what ranges over it compares this
    end: StepEnd
    subtasks: int = 0


@dataclass
class Execution:
    """One walk through a plan.

    Attributes:
        scope: ``run`` or ``pilot``.
        selection: Rows of each input table that take part; an absent table takes part whole.
        sample: In a pilot, how many rows each template ranges over at most.
    """

    desk: Desk
    checked: CheckedPlan
    scope: str
    selection: Mapping[str, BitMap]
    sample: int | None = None
    closed: dict[str, Closed] = field(default_factory=dict[str, Closed])

    async def run(self) -> dict[str, Closed]:
        """Execute all steps. Raises Stopped, or RunFailed for a query that fails."""
        ended = {name: asyncio.Event() for name in self.checked.order}
        tasks = [self._when_ready(name, ended) for name in self.checked.order]
        # steps side by side end each in their own way: one that fails cancels no other's calls
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in sorted(errors, key=lambda e: isinstance(e, Stopped)):
            raise error
        return self.closed

    async def _when_ready(self, name: str, ended: dict[str, asyncio.Event]) -> None:
        try:
            for need in self.checked.needs[name]:
                if need in ended:
                    await ended[need].wait()
                    if need not in self.closed:
                        return  # it failed, and says so itself
            self.closed[name] = await self._step(name)
        finally:
            ended[name].set()

    async def _step(self, name: str) -> Closed:
        step = self.checked.plan.steps[name]
        if isinstance(step, RowsStep):
            return await self._rows(name, step)
        if isinstance(step, QueryStep):
            return await self._query(name, step)
        if step.reduce is not None:
            return await work_reduce(self, name, step)
        return await self._template(name, step)

    # ---- rows and queries: no model, no result rows in the journal

    def effective_scope(self, name: str) -> str:
        """Steps above every template are the same in a pilot as in the run, and made once."""
        return RUN if self.scope == RUN or self.is_free(name) else PILOT

    def is_free(self, name: str) -> bool:
        if name in self.desk.tables:
            return True
        if isinstance(self.checked.plan.steps[name], TemplateStep):
            return False
        return all(self.is_free(need) for need in self.checked.needs[name])

    async def _rows(self, name: str, step: RowsStep) -> Closed:
        shape = self.checked.shapes[name]
        version = self.desk.identity_of(step)
        state = load_state(self.desk.reader, RUN, name)
        table = state.table_if(version)
        if table is None:
            into = self.desk.table_folder(RUN, name, state.number + 1)
            table = await asyncio.to_thread(
                rows_table, name, [dict(row) for row in step.rows], shape.schema, shape.key, into
            )
            await save_state(self.desk.journal, RUN, name, state.closed(version, table))
        return self._close_free(name, "rows", table, version)

    async def _query(self, name: str, step: QueryStep) -> Closed:
        scope = self.effective_scope(name)
        sources = {need: self.source(need) for need in sorted(self.checked.needs[name])}
        picked = {need: self.allowed(need) for need in sources}
        version = self.desk.identity_of(
            step, *(f"{need}={c.version}:{digest(picked[need])}" for need, c in sources.items())
        )
        state = load_state(self.desk.reader, scope, name)
        table = state.table_if(version)
        if table is None:
            tables = {
                need: await self._readable(need, closed.table, picked[need])
                for need, closed in sources.items()
            }
            into = self.desk.table_folder(scope, name, state.number + 1)
            try:
                key = self.checked.shapes[name].key
                table = await self.desk.sql.run(step.query, tables, into, name, key)
                if any(source.table.sensitive for source in sources.values()):
                    # what a query makes of sensitive columns is not known: hide all of it
                    table = replace(table, sensitive=frozenset(table.schema.names))
            except SqlProblem as problem:
                hidden = any(source.table.sensitive for source in sources.values())
                words = "its words are hidden: it reads sensitive columns" if hidden else problem
                raise RunFailed(
                    f"the query fails: {words}",
                    f"step {name}",
                    "Mend the query in the plan, then resume the run with the mended plan.",
                ) from problem
            await save_state(self.desk.journal, scope, name, state.closed(version, table))
        return self._close_free(name, "query", table, version)

    def _close_free(self, name: str, kind: str, table: Table, version: str) -> Closed:
        rows = table.rows
        self.desk.emit(StepOpened(self.scope, name, kind, rows))
        self.desk.emit(StepClosed(self.scope, name, rows, rows, 0, 0, Usage()))
        return Closed(table, version, StepEnd(rows, 0, 0, Usage()))

    async def _readable(self, name: str, table: Table, rows: BitMap) -> Table:
        """A table as queries see it: only rows that take part, no status, no error."""
        if len(rows) == table.rows and name in self.desk.tables:
            return table
        into = self.desk.scratch(f"{self.scope}-{name}")
        return await asyncio.to_thread(select_rows, table, rows, into)

    # ---- templates

    def source(self, name: str) -> Closed:
        if name in self.desk.tables:
            table = self.desk.tables[name]
            return Closed(table, table.fingerprint, StepEnd(table.rows, 0, 0, Usage()))
        return self.closed[name]

    def allowed(self, name: str) -> BitMap:
        """Rows of a source that may be worked: selected, and done where a step made them."""
        table = self.source(name).table
        if name in self.desk.tables:
            return self.selection.get(name, BitMap(range(table.rows)))
        return done_ordinals(table)

    def sampled(self, name: str) -> BitMap:
        """What a template ranges over: all that is allowed, or in a pilot a sample of it."""
        allowed = self.allowed(name)
        if self.sample is None or len(allowed) <= self.sample:
            return allowed
        table = self.source(name).table
        picked = BitMap(pilot_ordinals(table, self.sample, self.desk.settings.seed)) & allowed
        return picked or BitMap(list(allowed)[: self.sample])

    async def _template(self, name: str, step: TemplateStep) -> Closed:
        desk, reader, scope = self.desk, self.desk.reader, self.scope
        source = self.source(step.over)
        rows = await asyncio.to_thread(self.sampled, step.over)
        spec = await desk.spec(name, step, self.checked)
        state, known = await self._settle(name, step, spec, source, rows)
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
                    expand=expand(spec, source.table, todo, state.wanted, fit),
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
        return await self.close(name, table, state, version, rows)

    async def _settle(
        self, name: str, step: TemplateStep, spec: WorkSpec, source: Closed, rows: BitMap
    ) -> tuple[StepState, Known]:
        """Find out which results still count, and want a new generation of those that do not."""
        state = self.taken_up(name, step, spec)
        made_of = f"{state.template} {spec.prefix_hash.hex()} {source.version}"
        known: Known = {}
        if state.made_of != made_of:
            if state.made_of:
                state, known = await asyncio.to_thread(
                    settle, self.desk.reader, self.scope, spec, source.table, rows, state
                )
            state = state.of(made_of)
            await save_state(self.desk.journal, self.scope, name, state)
        return state, known

    def taken_up(self, name: str, step: TemplateStep, spec: WorkSpec) -> StepState:
        """The step's state under its template as it is now.

        In the full run, what one model has answered goes on to count when another one takes
        over; a pilot is there to try the model.
        """
        state = load_state(self.desk.reader, self.scope, name)
        template = self.desk.identity_of(step)
        return state.under(template, spec.prefix_hash, any_model=self.scope == RUN)

    async def close(
        self,
        name: str,
        table: Table,
        state: StepState,
        version: str,
        subtasks: BitMap,
        rows: int | None = None,
    ) -> Closed:
        """Keep a step's table, and say that the step is closed.

        ``rows``: how many subtasks there are, where those are not the table's rows.
        """
        reader, scope = self.desk.reader, self.scope
        if state.version != version or state.table != table.to_json():
            state = state.closed(version, table).trimmed(reader.generations(scope, name))
            await save_state(self.desk.journal, scope, name, state)
        done, quarantined = (len(b) for b in state.standing(reader, scope, name, subtasks))
        rows = table.rows if rows is None else rows
        skipped = rows - done - quarantined
        usage = reader.counts(scope, name).usage
        self.desk.emit(StepClosed(scope, name, rows, done, quarantined, skipped, usage))
        return Closed(
            table, f"{name}/v{state.number}", StepEnd(done, quarantined, skipped, usage), rows
        )


def digest(rows: BitMap) -> str:
    return hashlib.blake2b(rows.serialize(), digest_size=8).hexdigest()
