"""Stops over real hosts: on request, and because the endpoint is gone."""

from __future__ import annotations

import asyncio

import pytest

from apwa.capabilities import Registry
from apwa.executor import Host, LocalHost
from apwa.models import LeanChat
from apwa.vocabulary import ErrorKind

from .conftest import MemoryJournal
from .endpoint import FakeEndpoint, a_step, fails
from .test_executor_over_hosts import endpoint, executor, host, job  # noqa: F401


async def test_a_stop_does_not_wait_out_the_endpoints_pace(
    host: Host,  # noqa: F811
    endpoint: FakeEndpoint,  # noqa: F811
) -> None:
    endpoint.answer = lambda body: fails(429, "later", Retry_After="600")
    work = executor(host, MemoryJournal())
    await work.start()
    running = asyncio.create_task(work.run_step(job(a_step(), 40)))
    while not endpoint.seen:
        await asyncio.sleep(0.01)
    work.stop("paused on request")
    end = await asyncio.wait_for(running, 100)
    await work.close()
    assert (end.done, end.skipped, end.paused) == (0, 40, "paused on request")


async def test_an_endpoint_that_is_gone_pauses_the_run_and_charges_no_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("apwa.executor.gate._UNREACHABLE_S", 0.5)
    model = LeanChat("http://127.0.0.1:9/v1")
    journal = MemoryJournal()
    work = executor(
        LocalHost("h1", {"fake": model}, Registry.builtin(), None),  # pyright: ignore
        journal,
    )
    await work.start()
    end = await asyncio.wait_for(work.run_step(job(a_step(), 40)), 100)
    await work.close()
    await model.close()
    assert "cannot be reached" in end.paused and ErrorKind.UNREACHABLE.remedy in end.paused
    assert not journal.results
