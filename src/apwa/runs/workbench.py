"""The workbench that a run hands its manager: cards, samples, plan, pilot and run."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from apwa.manager import ToolAnswer
from apwa.plan import plan_from
from apwa.runs.contents import previewed
from apwa.runs.course import Course
from apwa.runs.policy import carried
from apwa.runs.reporting import failures_shown, pilot_text, run_text
from apwa.runs.untrusted import some_done, untrusted
from apwa.tables import SqlProblem, Table, card, pilot_ordinals
from apwa.vocabulary import PILOT, RUN, PlanError, Problem, RunFailed

_CARD_CHARS = 3000
_SAMPLE_ROWS = 5
_QUERY_ROWS = 20


class RunWorkbench:
    """Implements ``manager.Workbench`` over a run's course. Every answer is bounded."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._desk = course.desk
        self._last_scope = PILOT

    def cards(self) -> str:
        if not self._desk.tables:
            return "There are no input tables."
        return "\n\n".join(
            card(table, max_chars=_CARD_CHARS).text() for table in self._desk.tables.values()
        )

    def capabilities(self) -> str:
        cards = self._desk.grant_cards()
        if not cards:
            return "None: workers can only read their row and answer."
        return "\n".join(
            f"- {c.name}: {c.description} Arguments: {msgspec.json.encode(c.arguments).decode()}"
            for c in cards.values()
        )

    async def describe(self, table: str) -> ToolAnswer:
        found = self._table(table)
        if found is None:
            return self._no_table(table)
        text = await asyncio.to_thread(lambda: card(found, max_chars=2 * _CARD_CHARS).text())
        return ToolAnswer(text)

    async def sample(self, table: str, rows: int, columns: list[str]) -> ToolAnswer:
        found = self._table(table)
        if found is None:
            return self._no_table(table)
        shown = [c for c in columns or found.schema.names if c not in found.sensitive]
        unknown = [column for column in shown if column not in found.schema.names]
        if unknown:
            return ToolAnswer(f"Table {table} has no column {unknown[0]!r}.", failed=True)
        some = min(max(rows, 1), _SAMPLE_ROWS, found.rows)
        ordinals = await asyncio.to_thread(pilot_ordinals, found, some, 7)
        await asyncio.to_thread(self._desk.documents.ensure, found, ordinals)
        taken = await asyncio.to_thread(found.take, ordinals, shown[:20])
        return ToolAnswer(untrusted(taken))

    async def query(self, sql: str) -> ToolAnswer:
        tables = self._tables()
        hidden = [n for n, t in tables.items() if t.sensitive]
        if hidden:
            return ToolAnswer("Previews are off: a table has sensitive columns.", failed=True)
        try:
            tables, sampled = await previewed(self._desk, sql, tables)
            result = await self._desk.sql.preview(sql, tables, _QUERY_ROWS)
        except SqlProblem as problem:
            return ToolAnswer(str(problem), failed=True)
        seen = [n for n in self._course.piloted if n in sql and n not in self._course.finished]
        note = f"(of {', '.join(seen)}: only rows of the last pilot)\n" if seen else ""
        if sampled:
            note += f"(of {', '.join(sampled)}: only some of the files are read yet)\n"
        return ToolAnswer(note + untrusted(result))

    def plan_text(self) -> str:
        return self._course.plan_text

    @property
    def plan_version(self) -> int:
        return self._course.plan_version

    async def put_steps(
        self, steps: dict[str, dict[str, Any] | None], answer: str, reason: str
    ) -> list[Problem]:
        merged: dict[str, dict[str, Any]] = dict(self._course.steps)
        for name, step in steps.items():
            if step is None:
                merged.pop(name, None)
            elif "releases" in step:
                what = "`releases` is a person's word, and not for a manager to give"
                return [Problem(what, f"steps.{name}.releases", todo="leave it out")]
            else:
                merged[name] = step
        try:
            plan, places = plan_from(merged, answer, self._course.request.job, {})
            plan = plan.model_copy(update={"policy": carried(self._desk)})
            checked = await self._course.check(plan, places, by_manager=True)
        except PlanError as error:
            self._course.steps = merged  # kept, so that the manager need only send what it mends
            return error.problems
        await self._course.adopt(checked, merged, reason)
        return []

    async def pilot(self) -> ToolAnswer:
        if (problem := self._unready()) is not None:
            return problem
        if not self._desk.settings.pilot:
            return ToolAnswer("The user wants no pilot: go on without one.")
        self._last_scope = PILOT
        try:
            forecast = await self._course.pilot()
        except RunFailed as failed:
            return ToolAnswer(str(failed), failed=True)
        return ToolAnswer(pilot_text(self._course, forecast))

    async def failures(self, step: str) -> ToolAnswer:
        if step not in self._course.steps:
            known = ", ".join(self._course.steps) or "none"
            return ToolAnswer(f"There is no step {step!r}. Steps: {known}.", failed=True)
        reader, scope = self._desk.reader, self._last_scope
        # an answer repeats what the worker saw, and sensitive columns are for workers alone
        answers = not any(table.sensitive for table in self._tables().values())
        return ToolAnswer(
            await asyncio.to_thread(failures_shown, reader, scope, step, answers=answers)
        )

    async def run(self) -> ToolAnswer:
        if (problem := self._unready()) is not None:
            return problem
        self._last_scope = RUN
        try:
            await self._course.approve_and_run()
        except RunFailed as failed:
            return ToolAnswer(str(failed), failed=True)
        return ToolAnswer(run_text(self._course))

    async def answer_card(self, table: str) -> ToolAnswer:
        found = self._course.finished.get(table) or self._course.piloted.get(table)
        if found is None:
            return ToolAnswer(f"No step {table!r} has been piloted or run.", failed=True)
        text = await asyncio.to_thread(lambda: card(found.table, max_chars=_CARD_CHARS).text())
        some = await asyncio.to_thread(some_done, found)
        return ToolAnswer(f"{text}\n\n{untrusted(some)}")

    def _unready(self) -> ToolAnswer | None:
        if self._course.checked is None:
            return ToolAnswer("There is no plan without problems yet: use put_steps.", failed=True)
        return None

    def _table(self, name: str) -> Table | None:
        return self._tables().get(name)

    def _tables(self) -> dict[str, Table]:
        """Inputs, and the tables of steps: of the run, else of the last pilot."""
        steps = self._course.piloted | self._course.finished
        return {name: closed.table for name, closed in steps.items()} | self._desk.tables

    def _no_table(self, name: str) -> ToolAnswer:
        known = ", ".join(sorted(self._tables())) or "none"
        return ToolAnswer(f"There is no table {name!r}. Tables: {known}.", failed=True)
