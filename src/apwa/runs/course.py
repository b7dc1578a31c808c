"""The course of a run: its plan's versions, the pilot, the approval, the full run.

Everything durable stands in the journal; a course is made anew from it at each resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from pyroaring import BitMap

from apwa.plan import (
    CheckedPlan,
    Places,
    Plan,
    TemplateStep,
    check_plan,
    dump_plan,
    load_plan,
)
from apwa.runs.desk import Desk, input_shape
from apwa.runs.execution import execute
from apwa.runs.expand import fit_of
from apwa.runs.files import write_text
from apwa.runs.forecast import Forecast, StepSample, forecast
from apwa.runs.long_rows import LongRows, look_for_long_rows
from apwa.runs.policy import policy_of, policy_problems, veil
from apwa.runs.settings import RunRequest
from apwa.runs.walk import Closed, Stopped, Walk
from apwa.vocabulary import PILOT, RUN, Attempt, Paused, PlanError, Usage
from apwa.vocabulary.events import ApprovalNeeded, Approved, PilotDone, PlanChanged, Trouble

Ask = Callable[["Course", Forecast | None], Awaitable[bool]]
"""Asks a person whether to run; None where nobody can be asked."""

PILOT_ROWS = 10


class ApprovedPlan(msgspec.Struct, frozen=True):
    version: int
    by: str


class Course:
    """Where a run stands.

    Attributes:
        steps: The manager's draft of the plan, as it sent it, problems and all.
        checked: The plan version in force, without problems; None before the first.
        finished: Tables of the steps closed so far, of the last walk.
    """

    def __init__(self, desk: Desk, request: RunRequest, ask: Ask | None) -> None:
        self.desk = desk
        self.request = request
        self.steps: dict[str, dict[str, Any]] = {}
        self.checked: CheckedPlan | None = None
        self.plan_version = 0
        self.plan_text = ""
        self.finished: dict[str, Closed] = {}
        self.piloted: dict[str, Closed] = {}
        self.forecast: Forecast | None = None
        self._ask = ask

    # ---- the plan

    async def hold_to_policy(self) -> None:
        """Hold the plan in force, and what a manager is shown, to the policy: the models may be
        others, or elsewhere, than before. Raises Misuse or PlanError."""
        plans = self.desk.reader.plans()
        if not self.request.plan or self.desk.reader.turns():
            await veil(self.desk)
        if plans and policy_of(self.desk) is not None:
            await self.check(*load_plan(plans[-1].text, "plan"), offline=True)

    async def restore(self) -> None:
        """Take up the last plan version, and its forecast if it was piloted."""
        plans = self.desk.reader.plans()
        if not plans:
            return
        last = plans[-1]
        plan, places = load_plan(last.text, "plan")
        self.checked = await self.check(plan, places)
        self.steps = {
            name: step.model_dump(exclude_defaults=True, by_alias=True)
            for name, step in plan.steps.items()
        }
        self.plan_version, self.plan_text = last.version, last.text
        self.forecast = self.desk.kept(self._forecast_name(), Forecast)

    async def check(
        self, plan: Plan, places: Places, *, offline: bool = False, by_manager: bool = False
    ) -> CheckedPlan:
        """Raises PlanError with all problems, each with its place.

        The policy is held against it first: before that, no endpoint is asked anything.

        Args:
            plan: The plan.
            places: Where its parts stand.
            offline: Without asking any endpoint for its context size.
            by_manager: Whether a manager wrote it.
        """
        if offline:
            return await self._checked(plan, places, None, by_manager=by_manager)
        if policy_of(self.desk) is not None:
            await self._checked(plan, places, None, by_manager=by_manager)
        return await self._checked(plan, places, await self._context(plan), by_manager=by_manager)

    async def _context(self, plan: Plan) -> int | None:
        """The smallest context of a plan's models; None where none is known."""
        steps = [step for step in plan.steps.values() if isinstance(step, TemplateStep)]
        contexts = [await self.desk.context_of(step) for step in steps]
        return min((context for context in contexts if context is not None), default=None)

    async def _checked(
        self, plan: Plan, places: Places, context: int | None, *, by_manager: bool
    ) -> CheckedPlan:
        inputs = {name: input_shape(table) for name, table in self.desk.tables.items()}
        checked = await check_plan(
            plan,
            places,
            inputs,
            query_shape=self.desk.sql.shape,
            check_problem=self.desk.checks.check_problem,
            grants=self.desk.grant_cards(),
            context=context,
            output_tokens=self.desk.settings.output_tokens,
            every_input=bool(self.request.plan) and not self.request.job,
        )
        policy = policy_of(self.desk)
        if policy is not None:
            problems = await policy_problems(
                self.desk, policy, checked, places, by_manager=by_manager
            )
            if problems:
                raise PlanError(problems)
        return checked

    async def adopt(self, checked: CheckedPlan, steps: dict[str, dict[str, Any]], why: str) -> None:
        """Make a checked plan the version in force."""
        text = dump_plan(checked.plan)
        if text == self.plan_text:
            return
        version = await self.desk.journal.add_plan(text, why)
        write_text(self.desk.directory.plan_path, text)
        self.checked, self.steps, self.plan_text = checked, steps, text
        self.plan_version, self.forecast = version.version, None
        self.desk.emit(PlanChanged(version.version, list(checked.plan.steps), why))

    # ---- pilot

    async def pilot(self) -> Forecast:
        """Flow a sample through the plan. Raises RunFailed, Paused."""
        assert self.checked is not None
        earlier = await self._look_back()
        answered: dict[str, BitMap] = {}
        for name, step in self._over_inputs():
            rows = earlier.get(name, BitMap())
            answered[step.over] = answered.get(step.over, rows) & rows
        walk = Walk(
            self.desk, self.checked, PILOT, self.selection(), sample=PILOT_ROWS, answered=answered
        )
        try:
            self.piloted = await execute(walk)
        except Stopped as stopped:
            raise Paused(str(stopped)) from stopped
        if self.desk.finishing:
            raise Paused("the pilot was not finished")  # a part of one is no basis for a forecast
        long = await self._long_rows(walk)
        samples = await asyncio.to_thread(self._samples, walk, earlier, long)
        f = self.forecast = forecast(samples, self.desk.settings.concurrency, long)
        await self.desk.keep(self._forecast_name(), f)
        failed = sum(c.end.quarantined for c in self.piloted.values())
        rows = sum(len(sample.usages) for sample in samples)
        self.desk.emit(
            PilotDone(
                self.plan_version, rows, failed, f.cost_nusd, f.seconds, f.tokens, f.reasoning
            )
        )
        return f

    def _forecast_name(self) -> str:
        """A forecast holds for a version of the plan and for the run's model."""
        return f"forecast:{self.plan_version}:{self.desk.settings.model}"

    async def _long_rows(self, walk: Walk) -> list[LongRows]:
        """What is known of rows that are too long, said where there are any.

        Of steps over inputs, and over queries of inputs, all rows are looked at; of others those
        of the pilot.
        """
        found: list[LongRows] = []
        for name in walk.checked.order:
            step = walk.checked.plan.steps[name]
            if not isinstance(step, TemplateStep) or not walk.has(step.over):
                continue
            spec = await self.desk.spec(name, step, walk.checked)
            fit = fit_of(spec, await self.desk.context_of(step))
            found.append(await asyncio.to_thread(look_for_long_rows, walk, step, spec, fit))
            if found[-1].too_long:
                self.desk.emit(Trouble("long_rows", found[-1].words(), step=name))
        return found

    def _samples(
        self, walk: Walk, earlier: Mapping[str, BitMap], long: Sequence[LongRows]
    ) -> list[StepSample]:
        """What the pilot saw of each template, and how many subtasks the full run has of it.

        A sampled table stands for the whole by its share of the rows. Joins and groups do not
        grow so evenly: there the share of the larger side is taken, which is rather too much.
        """
        refused = {look.step: look.too_long for look in long if not look.piloted}
        samples: list[StepSample] = []
        growth: dict[str, float] = {}
        for name in walk.checked.order:
            step = walk.checked.plan.steps[name]
            needs = walk.checked.needs[name]
            if not isinstance(step, TemplateStep):
                growth[name] = max((growth.get(need, 1.0) for need in needs), default=1.0)
                continue
            allowed, worked = walk.allowed(step.over), walk.sampled(step.over)
            factor = growth.get(step.over, 1.0) * len(allowed) / max(1, len(worked))
            one_row = step.reduce is not None and not step.reduce.by
            growth[name] = 1.0 if one_row else factor
            if step.reduce is not None:
                worked = BitMap(range(walk.closed[name].subtasks))
            results = [
                result
                for result in self.desk.reader.results(PILOT, name)
                if result.ordinal in worked
            ]
            tried = [result for result in results if result.attempts]
            usages = [_usage_of(result.attempts) for result in tried]
            seconds = [result.duration_s for result in tried]
            full = round(len(results) * factor)
            if name in earlier:  # those need no call
                full = round(full * len(allowed - earlier[name]) / max(1, len(allowed)))
            full -= refused.get(name, 0)  # those cost nothing
            samples.append(StepSample(name, usages, seconds, max(full, len(tried))))
        return samples

    # ---- what earlier runs have answered

    def _over_inputs(self) -> list[tuple[str, TemplateStep]]:
        assert self.checked is not None
        return [
            (name, step)
            for name, step in self.checked.plan.steps.items()
            if isinstance(step, TemplateStep) and step.reduce is None
            if step.over in self.desk.tables
        ]

    async def _look_back(self) -> dict[str, BitMap]:
        """Rows that earlier runs have answered, by step: known, and said, before any is paid."""
        assert self.checked is not None
        walk = Walk(self.desk, self.checked, RUN, self.selection())
        found: dict[str, BitMap] = {}
        for name, step in self._over_inputs():
            spec = await self.desk.spec(name, step, self.checked)
            table, rows = self.desk.tables[step.over], walk.allowed(step.over)
            earlier = await self.desk.earlier_answers(spec, table, rows)
            if earlier is not None:
                found[name] = earlier.rows
        return found

    # ---- approval and the full run

    async def approve_and_run(self) -> None:
        """Run the plan in force in full, once it is approved. Raises Paused, RunFailed."""
        await self.approve()
        assert self.checked is not None
        walk = Walk(self.desk, self.checked, RUN, self.selection())
        self.finished = walk.closed
        try:
            await execute(walk)
        except Stopped as stopped:
            raise Paused(str(stopped)) from stopped

    @property
    def approved(self) -> bool:
        """Whether the plan version in force may run in full."""
        kept = self.desk.kept("approved", ApprovedPlan)
        return kept is not None and kept.version == self.plan_version

    async def approve(self) -> None:
        """Raises Paused where the plan is not approved and nobody can be asked."""
        if self.approved:
            return
        if not self.desk.settings.pilot and self.checked is not None:
            await self._long_rows(Walk(self.desk, self.checked, RUN, self.selection()))
        await self._look_back()
        by = await self._approver()
        if not by:
            why = "the plan waits for approval"
            self.desk.emit(ApprovalNeeded(self.plan_version, why))
            raise Paused(
                why,
                "",
                "Read plan.yaml, then resume with --yes, or with a --max-cost above the forecast.",
            )
        await self.desk.keep("approved", ApprovedPlan(self.plan_version, by))
        self.desk.emit(Approved(self.plan_version, by))

    async def _approver(self) -> str:
        settings = self.desk.settings
        if settings.yes:
            return "--yes"
        upper = self.forecast.upper_cost() if self.forecast is not None else None
        cap = None if settings.caps is None else settings.caps.cost_nusd
        if cap is not None and upper is not None and upper <= cap:
            return "--max-cost"
        if self._ask is not None and await self._ask(self, self.forecast):
            return "person"
        return ""

    def selection(self) -> dict[str, BitMap]:
        """Rows of each input that take part: ``--rows``, else the first ``--limit``."""
        settings = self.desk.settings
        selection: dict[str, BitMap] = {}
        for name, table in self.desk.tables.items():
            if settings.rows:
                selection[name] = BitMap(table.find(settings.rows))
            elif settings.limit is not None:
                selection[name] = BitMap(range(min(settings.limit, table.rows)))
        return selection


def _usage_of(attempts: Sequence[Attempt]) -> Usage:
    total = Usage()
    for attempt in attempts:
        total += attempt.usage
    return total
