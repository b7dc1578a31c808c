"""A run that a cluster is to drive, until it drives: waited for, left, found again, stopped.

Ray's jobs are played, and time; keeper, records and drivers are the real ones.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ray.exceptions import RayTaskError

import apwa.runs.detached
from apwa.cli.detached import begin_detached
from apwa.cli.flags import Looks
from apwa.cli.looking import purge, runs, show, watch
from apwa.cli.running import resume
from apwa.cli.steering import cancel
from apwa.runs import RunRequest, RunSettings, TableSource, create_run, list_runs
from apwa.runs.detached import Cluster, DetachedRun, Lost, Order, client, detached_runs
from apwa.runs.detached.client import Unreachable
from apwa.runs.detached.driving import drive
from apwa.runs.detached.jobs import Jobs, JobState
from apwa.runs.detached.keeper import Keeper
from apwa.runs.detached.orders import Refused
from apwa.runs.directory import RunDirectory
from apwa.vocabulary import Misuse, RunFailed
from tests.runs.plan import PLAN

PENDING = JobState("PENDING", "Job has not started yet.")
RUNNING = JobState("RUNNING", "Job is currently running.")


class Played(Jobs):
    def __init__(self) -> None:
        self.states: dict[str, JobState] = {}
        self.refuses = ""

    def begin(self, job: str, env: Any) -> None:
        if self.refuses:
            raise RuntimeError(self.refuses)
        self.states[job] = PENDING

    def state(self, job: str) -> JobState:
        return self.states.get(job, JobState("", ""))

    def stop(self, job: str) -> None:
        if not self.state(job).over:
            self.states[job] = JobState("STOPPED", "Job was intentionally stopped.")


class Near(Cluster):
    """A cluster whose keeper is in this process."""

    broken = False

    def ask(self, method: str, *arguments: object) -> Any:
        if self.broken:
            raise Unreachable("the keeper is gone", self.address, "Try again.")
        try:
            return getattr(self._keeper, method)(*arguments)
        except RuntimeError as error:
            raise RayTaskError(method, f"Traceback\n{error!r}", error) from error


class World:
    """A head, a laptop, and a time that passes only while somebody waits."""

    def __init__(self, tmp_path: Path) -> None:
        self.head, self.home, self.notes = (tmp_path / n for n in ("head", "home", "notes.jsonl"))
        self.notes.write_text("".join(json.dumps({"text": f"{n}"}) + "\n" for n in range(3)))
        self.jobs = Played()
        self.cluster = Near("ray://far:10001", Keeper(self.jobs))
        self.now = 0.0
        self.plans: list[tuple[float, Callable[[], object]]] = []

    @property
    def keeper(self) -> Keeper:
        return self.cluster._keeper

    # ---- time

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 1e5
        for plan in [plan for plan in self.plans if plan[0] <= self.now]:
            self.plans.remove(plan)
            plan[1]()

    def at(self, when: float, do: Callable[[], object]) -> None:
        self.plans.append((when, do))

    # ---- what happens

    @property
    def run(self) -> DetachedRun:
        (run,) = detached_runs(self.home)
        return run

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.head / "runs" / self.run.name)

    def to(self, state: JobState) -> None:
        self.jobs.states[self.run.job] = state

    def takes(self) -> None:
        """The driver starts, and reads."""
        self.to(RUNNING)
        self.keeper.take(self.run.job)

    def reads(self) -> None:
        """The driver has got so far that it has a directory."""
        self.takes()
        create_run(self.head, self.run.name)

    def drives(self) -> None:
        """The driver does all that it has to do, and ends."""
        job = self.run.job
        order = msgspec.msgpack.decode(self.keeper.take(job)[0], type=Order)
        if order.settings is not None:
            local = msgspec.structs.replace(order.settings, executor="local")
            order = msgspec.structs.replace(order, settings=local)

        def refuse(why: Refused) -> None:
            self.keeper.refuse(job, msgspec.json.encode(why))

        asyncio.run(drive(job, order, self.head, refuse))
        self.to(JobState("SUCCEEDED", ""))

    # ---- what people do

    def begin(self, plan: str = PLAN, *, detach: bool = True) -> int:
        request = RunRequest("", plan, [TableSource("notes", str(self.notes))], "run", "plan.yaml")
        settings = RunSettings(model="practice", yes=True, pilot=False)
        address = self.cluster.address
        return begin_detached(address, request, settings, Looks(quiet=True), detach=detach)

    def begin_and_leave(self) -> None:
        """Begin a run, and press Ctrl-C while it has not begun."""

        def press() -> None:
            raise KeyboardInterrupt

        self.at(self.now + 20, press)
        with pytest.raises(KeyboardInterrupt):
            self.begin()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APWA_HOME", str(tmp_path / "head"))  # of the keeper
    made = World(tmp_path)
    monkeypatch.setenv("APWA_HOME", str(made.home))
    monkeypatch.setattr(client, "time", made)
    monkeypatch.setattr(apwa.runs.detached, "reach", lambda address: made.cluster)
    return made


Heard = pytest.CaptureFixture[str]


def test_a_driver_that_reads_for_hours_is_waited_for_and_the_run_is_known(
    world: World, capsys: Heard
) -> None:
    known: list[str] = []
    world.at(100, world.reads)
    world.at(9000, lambda: known.append(world.run.job))
    world.at(10_000, lambda: world.directory.keep_begun(world.run.job))
    assert world.begin() == 0
    out, err = capsys.readouterr()
    assert out.strip() == known[0] == world.run.name and not world.run.job
    assert "since 30 s: Job has not started yet. (the job is PENDING)" in err
    assert "since 9000 s: its driver reads the inputs (the job is RUNNING)" in err
    assert err.count("\n") < 10_000 / 30 + 5


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_a_job_that_ends_before_says_its_last_words_and_leaves_nothing(
    world: World, status: str
) -> None:
    names: list[str] = []
    world.at(10, world.reads)
    world.at(300, lambda: names.append(world.run.name))
    world.at(300, lambda: world.to(JobState(status, "Traceback …\nMemoryError: of no use")))
    with pytest.raises(RunFailed, match=f"{status}: Traceback …\nMemoryError: of no use") as error:
        world.begin()
    assert error.value.where == names[0]
    assert not detached_runs(world.home) and not list((world.head / "runs").iterdir())


def test_what_it_leaves_is_removed_only_once_it_is_gone(world: World) -> None:
    held: list[Any] = []

    def killed() -> None:
        world.reads()
        held.append((world.directory.path / "run.lock").open("w"))
        fcntl.flock(held[0], fcntl.LOCK_EX)
        world.to(JobState("FAILED", "killed"))

    world.at(10, killed)
    world.at(40, lambda: (world.directory.path.stat(), held[0].close()))
    with pytest.raises(RunFailed, match="killed"):
        world.begin()
    assert world.now >= 40 and not list((world.head / "runs").iterdir())


def test_a_mistake_is_said_here_and_leaves_nothing(world: World) -> None:
    world.at(10, world.drives)
    with pytest.raises(Misuse, match="txt"):
        world.begin(PLAN.replace("{{text}}", "{{txt}}"))
    assert not detached_runs(world.home) and not list((world.head / "runs").iterdir())


def test_ray_that_takes_no_jobs_is_said_and_leaves_nothing(world: World) -> None:
    world.jobs.refuses = "no agent"
    with pytest.raises(RunFailed, match=r"takes no jobs there: .*no agent"):
        world.begin()
    assert not detached_runs(world.home)


def test_who_leaves_while_it_has_not_begun_finds_it_again(world: World, capsys: Heard) -> None:
    world.begin_and_leave()
    name, words = world.run.name, capsys.readouterr().err
    assert f"apwa watch {name}" in words and f"apwa cancel {name}" in words
    with pytest.raises(Misuse, match="not begun yet") as error:
        show()
    assert f"apwa watch {name}" in error.value.todo
    with pytest.raises(Misuse, match="not begun yet"):
        purge(name)
    with pytest.raises(Misuse, match="not begun yet"):
        resume()
    assert runs() == 0 and "far:10001, not begun when last seen" in capsys.readouterr().out
    world.at(world.now + 400, world.drives)
    assert watch(looks=Looks(quiet=True)) == 0
    assert [run.name for run in list_runs(world.head)] == [name] and not world.run.job
    assert purge(name) == 0 and not detached_runs(world.home)


def test_a_connection_that_ends_says_how_to_go_on(world: World) -> None:
    def breaks() -> None:
        world.cluster.broken = True

    def is_back() -> None:
        world.cluster.broken = False

    world.at(10, breaks)
    world.at(50, is_back)  # a keeper that was killed is soon there again
    world.at(500, breaks)
    with pytest.raises(RunFailed, match="the keeper is gone") as error:
        world.begin()
    assert f"apwa watch {world.run.name}" in error.value.todo and world.now > 550
    is_back()
    world.drives()
    assert watch(looks=Looks(quiet=True)) == 0


@pytest.mark.parametrize("state", [PENDING, RUNNING])
def test_what_has_not_begun_is_cancelled(world: World, state: JobState, capsys: Heard) -> None:
    world.begin_and_leave()
    job = world.run.job
    if state is RUNNING:
        world.reads()
    assert cancel() == 0
    assert "was stopped before its driver had begun" in capsys.readouterr().err
    assert world.jobs.state(job).status == "STOPPED"
    assert not detached_runs(world.home) and not list((world.head / "runs").glob("*"))
    with pytest.raises(LookupError):  # should Ray start it after all
        world.keeper.take(job)


def test_what_ray_has_not_taken_yet_is_cancelled(world: World) -> None:
    world.begin_and_leave()
    job = world.run.job
    del world.jobs.states[job]
    with pytest.raises(Misuse, match="not begun yet: Ray is to take its job"):
        show()
    assert cancel() == 0 and not detached_runs(world.home)
    with pytest.raises(LookupError):
        world.keeper.take(job)


def test_what_has_begun_meanwhile_is_cancelled_as_other_runs_are(
    world: World, capsys: Heard
) -> None:
    world.begin_and_leave()
    world.drives()
    assert cancel() == 2  # it has ended
    assert "nobody drives this run now" in capsys.readouterr().err
    assert not world.run.job and world.directory.journal.exists


def test_a_keeper_that_began_anew_knows_what_has_begun(world: World) -> None:
    world.begin_and_leave()
    world.drives()
    world.jobs.states.clear()  # and so does the head
    world.cluster = Near(world.cluster.address, Keeper(world.jobs))
    world.cluster._keeper.home = world.head
    assert show() == 0 and not world.run.job


def test_a_run_that_the_cluster_does_not_know_is_kept_until_it_is_purged(world: World) -> None:
    world.begin_and_leave()
    name = world.run.name
    world.jobs.states.clear()
    world.keeper._orders.clear()
    for verb in (show, watch, cancel):
        with pytest.raises(Lost, match="knows of no job") as error:
            verb(name)
        assert f"apwa purge {name}" in error.value.todo
    assert purge(name) == 0 and not detached_runs(world.home)


def test_a_run_that_is_gone_on_with_outlives_a_driver_that_is_not(
    world: World, capsys: Heard
) -> None:
    world.at(1, world.drives)
    world.begin()
    world.at(world.now + 10, world.takes)
    world.at(world.now + 300, lambda: world.to(JobState("FAILED", "out of memory")))
    with pytest.raises(RunFailed, match="out of memory"):
        resume()
    assert not world.run.job and show() == 0
    world.at(world.now + 300, world.drives)
    assert resume() == 0 and not world.run.job
    first, second = (world.directory.path / "jobs").read_text().split()
    assert first == world.run.name and second.startswith(f"{first}-")


def test_a_run_that_was_begun_in_another_way_is_never_removed(world: World) -> None:
    world.begin_and_leave()
    world.drives()
    (world.directory.path / "jobs").unlink()
    world.to(JobState("FAILED", "killed while it read"))
    assert show() == 0 and world.directory.journal.exists


def test_a_run_in_the_foreground_is_waited_for_and_shown(world: World, capsys: Heard) -> None:
    world.at(400, world.drives)
    assert world.begin(detach=False) == 0
    assert f"Run {world.run.name}: done" in capsys.readouterr().err
