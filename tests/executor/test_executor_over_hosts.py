"""The executor over real hosts, a real client and a real socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pyroaring import BitMap

from apwa.capabilities import Registry
from apwa.executor import Executor, Host, LocalHost, LoopbackHost, StepEnd, StepJob, Work
from apwa.models import LeanChat
from apwa.vocabulary import Caps, ErrorKind, WorkLimits, WorkSpec
from apwa.vocabulary.control import ChangeLimits
from apwa.vocabulary.messages import ToHost

from .conftest import MemoryJournal
from .endpoint import GOOD, Body, FakeEndpoint, a_step, fails, says, serving, user_text


@pytest.fixture
async def endpoint() -> AsyncIterator[FakeEndpoint]:
    async with serving(FakeEndpoint()) as served:
        yield served


class GatheringHost(LoopbackHost):
    """Behind a wire that brings what is said within 50 ms in one go, as a cluster's does."""

    def __init__(self, inner: Host) -> None:
        super().__init__(inner)
        self._sent: list[ToHost] = []

    def send(self, message: ToHost) -> None:
        if not self._sent:
            asyncio.get_running_loop().call_later(0.05, self._bring)
        self._sent.append(message)

    def _bring(self) -> None:
        sent, self._sent = self._sent, []
        for message in sent:
            super().send(message)


_WIRES = {"local": lambda host: host, "loopback": LoopbackHost, "gathering": GatheringHost}


@pytest.fixture(params=list(_WIRES))
async def host(request: pytest.FixtureRequest, endpoint: FakeEndpoint) -> AsyncIterator[Host]:
    model = LeanChat(endpoint.url)
    local = LocalHost("h1", {"fake": model}, Registry.builtin(), None)  # pyright: ignore
    yield _WIRES[request.param](local)
    await model.close()


def job(spec: WorkSpec, rows: int) -> StepJob:
    def expand() -> Iterator[list[Work]]:
        for start in range(0, rows, 100):
            numbers = range(start, min(start + 100, rows))
            yield [Work(n, 0, n.to_bytes(16, "big"), [f"row {n}"], 20) for n in numbers]

    return StepJob("run", spec, rows, BitMap(range(rows)), expand())


def executor(
    host: Host, journal: MemoryJournal, caps: Caps | None = None, ceiling: int | None = None
) -> Executor:
    return Executor(
        [host],
        journal,
        caps=caps,
        ceilings=ceiling,
        max_failures=0.2,
        emit=lambda event: None,
        seed=1,
    )  # pyright: ignore[reportArgumentType]


async def eight_under_way(
    work: Executor, endpoint: FakeEndpoint, rows: int
) -> asyncio.Task[StepEnd]:
    """Begin a step whose calls are not answered before a release, and wait for the first ones."""
    endpoint.answer = lambda body: None
    running = asyncio.create_task(work.run_step(job(a_step(), rows)))
    async with asyncio.timeout(60):
        while len(endpoint.seen) < 8:
            await asyncio.sleep(0.01)
    return running


async def test_all_rows_are_done_though_the_endpoint_is_moody(
    host: Host, endpoint: FakeEndpoint
) -> None:
    moods = random.Random(7)

    def moody(body: Body) -> Any:
        mood = moods.random()
        if mood < 0.05:
            return fails(429, "slow down", Retry_After="0.05")
        if mood < 0.08:
            return fails(500, "oh")
        return says('{"tone": 3}' if mood < 0.15 else GOOD)

    endpoint.answer = moody
    journal = MemoryJournal()
    work = executor(host, journal)
    await work.start()
    end = await work.run_step(job(a_step(limits=WorkLimits(attempts=8)), 400))
    await work.close()
    assert (end.done, end.quarantined, end.skipped, end.paused) == (400, 0, 0, "")
    assert len(journal.results) == 400 and journal.spent() == end.usage


async def test_a_cap_is_never_passed_and_used_up_to_the_last_call(
    host: Host, endpoint: FakeEndpoint
) -> None:
    spec = a_step(limits=WorkLimits(output_tokens=20))
    journal = MemoryJournal()
    work = executor(host, journal, Caps(calls=150, tokens=10**6))
    await work.start()
    end = await work.run_step(job(spec, 400))
    await work.close()
    assert end.done == 150 and len(endpoint.seen) == 150
    assert end.skipped == 250 and "budget" in end.paused
    assert journal.spent().calls == 150


async def test_a_cap_of_tokens_holds_what_the_endpoint_counted(
    host: Host, endpoint: FakeEndpoint
) -> None:
    spec = a_step(limits=WorkLimits(output_tokens=20))
    journal = MemoryJournal()
    work = executor(host, journal, Caps(tokens=9000))
    await work.start()
    end = await work.run_step(job(spec, 400))
    await work.close()
    counted = 60 * len(endpoint.seen)
    assert counted <= 9000 and 9000 - counted < 600  # less than the bound of one more call
    assert end.done == len(endpoint.seen) and "budget" in end.paused
    assert journal.spent().tokens == counted


@pytest.mark.parametrize("before", [None, Caps(calls=1000, tokens=10**7)])
async def test_a_cap_that_is_set_or_lowered_while_calls_are_under_way_is_not_passed(
    host: Host, endpoint: FakeEndpoint, before: Caps | None
) -> None:
    journal = MemoryJournal()
    work = executor(host, journal, before)
    await work.start()
    running = await eight_under_way(work, endpoint, 400)
    work.change_limits(ChangeLimits(caps=Caps(calls=30, tokens=10**7)))
    await asyncio.sleep(0.3)
    endpoint.release.set()
    end = await asyncio.wait_for(running, 60)
    await work.close()
    assert len(endpoint.seen) == 30 and "budget" in end.paused
    assert end.done == 30 and journal.spent().calls == 30


async def test_calls_that_are_called_back_count_as_spent(
    host: Host, endpoint: FakeEndpoint
) -> None:
    journal = MemoryJournal()
    work = executor(host, journal, Caps(calls=1000, tokens=10**7))
    await work.start()
    running = await eight_under_way(work, endpoint, 50)
    work.stop("enough", now=True)
    running.cancel()  # as a run does that ends at once
    await asyncio.gather(running, return_exceptions=True)
    await work.close()
    assert journal.spent().calls == len(endpoint.seen) == 8


async def test_a_wrong_key_pauses_the_run_and_charges_no_row(
    host: Host, endpoint: FakeEndpoint
) -> None:
    endpoint.answer = lambda body: fails(401, "no such key")
    journal = MemoryJournal()
    work = executor(host, journal)
    await work.start()
    end = await work.run_step(job(a_step(), 400))
    await work.close()
    assert (end.done, end.quarantined, end.skipped) == (0, 0, 400)
    assert "no such key" in end.paused and not journal.results
    assert len(endpoint.seen) <= 8


async def test_a_bad_row_stops_nobody(host: Host, endpoint: FakeEndpoint) -> None:
    endpoint.answer = lambda body: says("no" if "row 13\n" in user_text(body) else GOOD)
    journal = MemoryJournal()
    work = executor(host, journal)
    await work.start()
    end = await work.run_step(job(a_step(limits=WorkLimits(attempts=1, repairs=0)), 60))
    await work.close()
    assert (end.done, end.quarantined) == (59, 1)
    bad = journal.results["run", "rate", 13, 0]
    assert bad.kind is ErrorKind.CONTRACT and bad.raw == "no"


async def test_a_refused_row_that_waits_holds_up_no_other(
    host: Host, endpoint: FakeEndpoint
) -> None:
    waits = {"row 3\n", "row 7\n"}

    def refuses_some(body: Body) -> Any:
        if any(row in user_text(body) for row in waits):
            return fails(429, "not this one now", Retry_After="600")
        return says(GOOD)

    endpoint.answer = refuses_some
    journal = MemoryJournal()
    work = executor(host, journal, ceiling=1)
    await work.start()
    working = asyncio.create_task(work.run_step(job(a_step(), 60)))
    async with asyncio.timeout(60):
        while len(journal.results) < 58:
            await asyncio.sleep(0.01)
    work.stop("enough", now=True)
    end = await working
    await work.close()
    assert (end.done, end.quarantined, end.skipped) == (58, 0, 2)
