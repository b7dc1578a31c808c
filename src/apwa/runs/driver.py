"""Drives a run from where it stands to its end. ``starting`` makes drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from apwa.journal import Journal
from apwa.manager import Manager, ManagerTurnView
from apwa.models import EndpointSettings
from apwa.plan import dump_plan, load_plan
from apwa.runs.closing import status_counts
from apwa.runs.contents import read_for_cards
from apwa.runs.control_files import take_commands
from apwa.runs.course import Ask, Course
from apwa.runs.delivery import deliver
from apwa.runs.desk import Desk
from apwa.runs.ending import Ended, Ending, done_ending, ending_of
from apwa.runs.metered import MeteredModel
from apwa.runs.reporting import write_report
from apwa.runs.settings import RunRequest
from apwa.runs.so_far import so_far
from apwa.runs.variables import VariablesIn
from apwa.runs.workbench import RunWorkbench
from apwa.vocabulary import (
    Approve,
    ApwaError,
    Cancel,
    ChangeLimits,
    Command,
    Finish,
    Misuse,
    Pause,
    Paused,
    ReopenEndpoints,
    Usage,
)
from apwa.vocabulary.events import (
    CommandTaken,
    ManagerSaid,
    RunEnded,
    RunStarted,
    Trouble,
)

FINISHED = "finished on request, with what there was"
_CONTROL_EVERY_S = 0.5


AtPlan = Callable[[Course], Awaitable[None]]


class Driver:
    """Drives one run from where it stands to its end. Make one with ``begin`` or ``take_up``."""

    def __init__(self, desk: Desk, request: RunRequest, ask: Ask | None) -> None:
        self.desk = desk
        self.course = Course(desk, request, ask)
        self.request = request
        self._cancelled = ""
        self._interrupted = ""
        self._exit_code = 130
        self._task: asyncio.Task[Ending] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0  # when the work of this driver began, by the loop's clock

    # ---- stopping

    def stop(self, reason: str, *, now: bool = False, exit_code: int = 130) -> None:
        """Stop before the end: finish what is in flight (or not, with ``now``), and commit."""
        if not self._interrupted:
            self._interrupted, self._exit_code = reason, exit_code
        self.desk.executor.stop(reason, now=now)
        if self._task is not None and (now or not self.desk.executor.working):
            self._task.cancel()

    def finish(self) -> None:
        """End well with what there is: finish what is in flight, make no more calls."""
        self.desk.finishing = True
        self.desk.executor.stop(FINISHED)

    # ---- driving

    async def drive(self, *, resumed: bool, at_plan: AtPlan | None = None) -> Ended:
        """Go on to the end. Never raises an ApwaError: it becomes the ending.

        ``at_plan`` is given the course when a plan is all that was asked for. If the caller is
        cancelled, the run is paused and closed first.
        """
        desk = self.desk
        try:
            self._say_start(resumed)
            return await self._end(await self._work(at_plan))
        except asyncio.CancelledError:
            await self._end(Ending("paused", "the program that ran it was stopped", exit_code=130))
            raise
        finally:
            await desk.close_anyway()

    def _say_start(self, resumed: bool) -> None:
        desk = self.desk
        practice = desk.settings.model.partition(":")[0] == "practice"
        job = self.request.job or "a plan"
        desk.emit(
            RunStarted(desk.directory.path.name, job, [desk.settings.model], practice, resumed)
        )

    async def _work(self, at_plan: AtPlan | None) -> Ending:
        desk = self.desk
        control = asyncio.create_task(self._watch_control(), name="control")
        self._began = asyncio.get_running_loop().time()
        self._start_timer(self.desk.settings.timeout_s)
        self._task = asyncio.create_task(self._to_the_end(), name="run")
        try:
            if desk.kept("ending", Ending) is not None:
                await desk.keep("ending", Ending("stopped"))  # until it ends again
            ending = await self._task
            if ending.state == "planned" and at_plan is not None:
                await at_plan(self.course)
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            ending = Ending("paused", self._interrupted, exit_code=self._exit_code)
        except (ApwaError, OSError) as error:
            ending = ending_of(error)
            if self._interrupted and ending.state == "paused":
                ending = msgspec.structs.replace(ending, exit_code=self._exit_code)
        finally:
            control.cancel()
            if self._timer is not None:
                self._timer.cancel()
        if self._cancelled and ending.state == "paused":
            ending = msgspec.structs.replace(ending, state="cancelled", reason=self._cancelled)
        return ending

    async def _to_the_end(self) -> Ending:
        plans = self.desk.reader.plans()
        # all at once, so that the nodes of a cluster are asked for what each of them needs
        await self.desk.open_models(plans[-1].text if plans else self.request.plan)
        await self.desk.start()
        await self.course.restore()
        try:
            if self.desk.finishing:
                return await self._finish()
            return await (self._work_plan() if self.request.plan else self._work_job())
        except Paused:
            if not self.desk.finishing:
                raise
            return await self._finish()  # the manager was at work, and may make no more calls

    async def _finish(self) -> Ending:
        """Close all steps with what they have, and write the answer."""
        course = self.course
        if course.checked is None or not course.approved:
            raise Paused("there is nothing to finish: the full run has not begun")
        if not course.finished:
            await course.approve_and_run()
        return await self._deliver(course.checked.plan.answer, "")

    async def _work_plan(self) -> Ending:
        course = self.course
        plan, places = load_plan(self.request.plan, self.request.plan_source or "plan")
        if dump_plan(plan) != course.plan_text:
            checked = await course.check(plan, places)
            steps = {n: s.model_dump(exclude_defaults=True) for n, s in plan.steps.items()}
            mended = "the user's mended plan" if course.checked else "the user's plan"
            await course.adopt(checked, steps, mended)
        if self.request.upto != "plan" and self.desk.settings.pilot and course.forecast is None:
            await course.pilot()
        if self.request.upto != "run":
            return Ending("planned")
        await course.approve_and_run()
        assert course.checked is not None
        return await self._deliver(course.checked.plan.answer, "")

    async def _work_job(self) -> Ending:
        course, desk = self.course, self.desk
        name = desk.settings.manager_model or desk.settings.model
        endpoint = await desk.endpoint(name)
        await read_for_cards(desk)
        model = MeteredModel(endpoint.opened.model, desk.executor, "manager", endpoint.price)
        manager = Manager(
            model,
            endpoint.opened.model_name,
            RunWorkbench(course),
            JournaledTurns(desk.journal, model),
            on_said=lambda words, tool: desk.emit(ManagerSaid(words, tool)),
        )
        end = await manager.plan_and_run(self.request.job, self.request.upto)
        if self.request.upto != "run":
            return Ending("planned", words=end.words)
        if not course.finished:  # resumed after the run, before the end was kept
            await course.approve_and_run()
        return await self._deliver(end.answer, end.words)

    async def _deliver(self, answer: str, words: str) -> Ending:
        closed = self.course.finished[answer]
        finished = self.course.finished
        outputs: list[Path] = []
        if output := self.desk.settings.output:
            outputs = await asyncio.to_thread(
                deliver,
                {name: some.table for name, some in finished.items()},
                answer,
                Path(output),
                self.desk.reader,
                stats=self.desk.settings.with_stats,
            )
        counts = await asyncio.to_thread(status_counts, closed.table)
        # also parts of a reduce, which are no rows of the answer
        before = sum(c.end.quarantined for c in finished.values()) - counts.quarantined
        ending = done_ending(answer, counts, words, max(before, 0), [str(path) for path in outputs])
        if self.desk.finishing and any(c.end.skipped for c in finished.values()):
            ending = msgspec.structs.replace(ending, reason=FINISHED, exit_code=3)
        return ending

    async def _end(self, ending: Ending) -> Ended:
        desk = self.desk
        usage = desk.reader.spent()
        try:
            await desk.executor.close()  # settles what is in flight: now the spending is known
            usage = desk.reader.spent()
            if ending.state != "done":
                ending = await asyncio.to_thread(so_far, self.course, ending)
            await asyncio.to_thread(write_report, self.course, ending)
        except (ApwaError, OSError) as error:
            ending = _said(ending, error)
        try:
            desk.emit(
                RunEnded(
                    ending.state, ending.reason, ending.rows, ending.done, ending.quarantined,
                    ending.skipped, usage, ending.answer,
                )
            )  # fmt: skip
            await desk.keep("ending", ending)
        except (ApwaError, OSError) as error:
            ending = _said(ending, error)
        await desk.close_anyway()
        return Ended(desk.directory, ending, usage)

    # ---- what comes from outside

    def _start_timer(self, limit: float | None) -> None:
        """Stop when so many seconds have passed since the run was begun or taken up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if limit is not None:
            words = f"the time limit of {limit:g} s is reached"
            self._timer = asyncio.get_running_loop().call_at(
                self._began + limit, lambda: self.stop(words, exit_code=4)
            )

    async def _watch_control(self) -> None:
        handed = VariablesIn(self.desk.directory)
        try:
            await self._take_control(handed)
        finally:
            handed.close()

    async def _take_control(self, handed: VariablesIn) -> None:
        while True:
            for path, command in take_commands(self.desk.directory):
                path.unlink(missing_ok=True)
                if command is None:
                    self.desk.emit(Trouble("control", f"{path.name} is no command; it is ignored"))
                    continue
                await self.desk.journal.take_command(command)
                await self._obey(command, handed)
                self.desk.emit(CommandTaken(type(command).__name__))
            await asyncio.sleep(_CONTROL_EVERY_S)

    async def _obey(self, command: Command, handed: VariablesIn) -> None:
        match command:
            case Pause():
                self.stop("paused on request", exit_code=4)
            case Cancel(now=now):
                self._cancelled = "cancelled on request"
                self.stop("cancelled on request", now=now, exit_code=4)
            case Finish():
                self.finish()
            case ChangeLimits():
                await self._change(command)
            case ReopenEndpoints(endpoints=endpoints):
                await self._reopen(endpoints, handed.read())
            case Approve():
                pass  # a driver that waits for approval has ended; resume takes --yes

    async def _change(self, limits: ChangeLimits) -> None:
        """New limits from now on, also after a resume."""
        desk = self.desk
        caps = limits.caps
        if caps is not None and caps.cost_nusd is not None and (name := desk.endpoints.unpriced()):
            words = f"no cap in money is set: the price of {name} is unknown"
            desk.emit(Trouble("control", words))
            limits = msgspec.structs.replace(limits, caps=None)
        desk.settings = desk.settings.under(limits)
        await desk.keep("settings", desk.settings)
        desk.executor.change_limits(limits)
        if limits.timeout_s is not None:
            self._start_timer(limits.timeout_s)

    async def _reopen(
        self, endpoints: dict[str, dict[str, Any]] | None, variables: dict[str, str]
    ) -> None:
        """Reach the models by the keys and addresses of now; as before, if these are no good."""
        desk = self.desk
        try:
            settings = desk.settings.changed({"endpoints": _endpoints(endpoints)})
            await desk.reopen(settings, variables, self.course.hold_to_policy)
        except ApwaError as error:
            words = f"keys and addresses stay as they were: {error.what}"
            desk.emit(Trouble("control", f"{words} {error.todo}".strip()))
            return
        await desk.keep("settings", desk.settings)


def _endpoints(given: dict[str, dict[str, Any]] | None) -> dict[str, EndpointSettings] | None:
    try:
        return msgspec.convert(given, dict[str, EndpointSettings] | None)
    except msgspec.ValidationError as error:
        raise Misuse(f"a setting of an endpoint is wrong: {error}", "endpoints") from error


def _said(ending: Ending, error: ApwaError | OSError) -> Ending:
    """The ending where the end itself cannot be written down."""
    # the answer is there, and nothing would say so; of other ends the first trouble is told
    return ending_of(error) if ending.state == "done" else ending


class JournaledTurns:
    """The manager's turns in the journal: a ``manager.TurnLog``."""

    def __init__(self, journal: Journal, model: MeteredModel) -> None:
        self._journal = journal
        self._model = model

    async def append(self, message: bytes, usage: Usage, plan_version: int) -> None:
        await self._journal.add_turn(message, usage, plan_version)

    def load(self) -> Sequence[ManagerTurnView]:
        return self._journal.reader.turns()
