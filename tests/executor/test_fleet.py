"""The fleet over a real core, with hosts that only say they are there: no Ray is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apwa.executor.cluster import fleet as module
from apwa.executor.cluster.fleet import Fleet
from apwa.executor.core import FROZEN_S, SILENCE_S
from apwa.vocabulary.messages import Gone, Settled

from .test_many_hosts import Many


class _Actor:
    def options(self, **options: Any) -> _Actor:
        return self

    def remote(self, *arguments: Any) -> _Actor:
        return self


class _Host:
    def __init__(self, name: str, *_: Any) -> None:
        self.name = name


class _Executor:
    """What the fleet asks of an executor, over a core that a test drives."""

    def __init__(self, many: Many) -> None:
        self.many = many
        self.hosts: list[str] = []
        self.ended: list[str] = []
        self.stopped: list[str] = []

    async def add(self, host: _Host) -> None:
        self.hosts.append(host.name)

    def host_names(self) -> dict[str, bool]:
        known = self.many.core.hosts
        self.hosts = [name for name in self.hosts if (name, "left") not in self.many.changes()]
        return {name: name in known and not known[name].gone for name in self.hosts}

    def node_of(self, host: str) -> str:
        state = self.many.core.hosts.get(host)
        return "" if state is None else state.node

    def retire(self, host: str) -> None:
        self.many.core.retire(host, self.many.now)
        self.many.take()

    async def end(self, host: str, words: str) -> None:
        self.ended.append(host)
        self.many.core.message(host, Gone(words), self.many.now)
        self.many.take()
        self.hosts.remove(host)

    def frozen(self) -> list[str]:
        return self.many.core.frozen(self.many.now)

    def sick_nodes(self) -> set[str]:
        return self.many.core.sick_nodes(self.many.now)

    def stop(self, reason: str) -> None:
        self.stopped.append(reason)


class Kept:
    """A fleet whose cluster is one node, or as many as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.many = Many()
        self.executor = _Executor(self.many)
        self.nodes = {"n1": 4.0}
        self.drained: set[str] = set()
        self.said: list[Any] = []
        self.fleet = Fleet(
            self.executor, None, lambda _: None, self.said.append, "run", set()  # pyright: ignore
        )  # fmt: skip
        self.fleet._actor_class = _Actor()  # pyright: ignore
        monkeypatch.setattr(module, "RayHost", _Host)
        monkeypatch.setattr(module, "draining_nodes", lambda: self.drained)
        monkeypatch.setattr(
            module,
            "alive_nodes",
            lambda: [{"NodeID": n, "Resources": {"CPU": c}} for n, c in self.nodes.items()],
        )
        monkeypatch.setattr(module.time, "monotonic", lambda: self.many.now)

        class _Ray:
            @staticmethod
            def available_resources() -> dict[str, float]:
                return {"CPU": 0.0}

        monkeypatch.setattr(module, "need_ray", lambda: _Ray)

    async def look(self, seconds: float = 0.5, *, beating: bool = True) -> None:
        if beating:
            self.many.beats(*(h for h, there in self.executor.host_names().items() if there))
        self.many.tick(seconds)
        if demands := self.many.core.demands():
            await self.fleet._look(demands)  # pyright: ignore

    def work(self, host: str) -> None:
        """A host answers all that it holds."""
        done = list(self.many.leased(host))
        self.many.outcome(host, done, None)
        self.many.core.message(host, Settled("e", len(done), len(done), 0), self.many.now)

    async def until(self, ready: Callable[[], bool], seconds: float, **how: bool) -> None:
        end = self.many.now + seconds
        while not ready():
            assert self.many.now < end
            await self.look(**how)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    return Kept(monkeypatch)


async def test_a_host_that_freezes_is_ended_and_another_takes_its_place(kept: Kept) -> None:
    kept.many.open(40)
    await kept.look()
    [frozen] = kept.executor.hosts
    kept.many.describe(frozen, "", "n1")
    await kept.look()
    assert kept.many.leased(frozen)
    await kept.until(lambda: not kept.many.leased(frozen), SILENCE_S + 1, beating=False)
    assert not kept.executor.ended
    await kept.until(lambda: bool(kept.executor.ended), FROZEN_S, beating=False)
    assert kept.executor.ended == [frozen] and not kept.executor.stopped
    [other] = kept.executor.hosts
    kept.many.describe(other, "", "n1")
    await kept.until(lambda: bool(kept.many.leased(other)), 20)


async def test_hosts_of_a_kind_that_no_step_wants_are_given_back(kept: Kept) -> None:
    step = kept.many.open(40, "scan", fast=1)
    kept.nodes = {"n1": 4.0}
    await kept.look()
    [scans] = kept.executor.hosts
    kept.many.describe(scans, "fast=1", "n1")
    await kept.look()
    while step.open:
        kept.work(scans)
        await kept.look()
    kept.many.core.close_step(step)
    for _ in range(100):  # the manager thinks: nothing is wanted, and nobody sent home
        await kept.look()
    assert (scans, "left") not in kept.many.changes()
    kept.many.open(40, "judge", cpu=2)
    await kept.until(lambda: (scans, "left") in kept.many.changes(), 15)
    assert not kept.executor.stopped


async def test_a_kind_without_room_does_not_stop_a_run_in_which_another_works(kept: Kept) -> None:
    step = kept.many.open(400, "scan", cpu=1)
    await kept.look()
    scans = kept.executor.hosts[0]
    kept.many.describe(scans, "cpu=1", "n1")
    kept.many.open(40, "judge", cpu=3)
    for _ in range(1000):  # 500 s
        await kept.look()
    assert not kept.executor.stopped
    assert any("has no room for it yet" in trouble.message for trouble in kept.said)
    while step.open:
        kept.work(scans)
        await kept.look()
    kept.many.core.close_step(step)
    await kept.until(lambda: bool(kept.executor.stopped), 30)  # nothing works any more


async def test_a_host_that_began_while_its_node_was_drained_is_sent_home(kept: Kept) -> None:
    kept.many.open(400)
    await kept.look()
    [late] = kept.executor.hosts
    kept.drained = {"n1"}
    await kept.look()
    kept.many.describe(late, "", "n1")
    await kept.look()
    assert kept.many.core.hosts[late].leaving


async def test_a_host_that_is_still_waiting_for_a_place_is_ended_when_nobody_wants_it(
    kept: Kept,
) -> None:
    step = kept.many.open(2, "scan", fast=1)
    await kept.look()
    [waiting] = kept.executor.hosts
    kept.many.describe("elsewhere", "fast=1", "n9")
    while step.open:
        kept.work("elsewhere")
        await kept.look()
    kept.many.core.close_step(step)
    kept.many.open(40, "judge")
    await kept.until(lambda: waiting in kept.executor.ended, 15)
