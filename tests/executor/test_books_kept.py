"""What the executor writes of spending: few rows, few transactions, and all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from apwa.executor import Executor
from apwa.journal import open_journal
from apwa.vocabulary import Caps, Usage
from apwa.vocabulary.messages import Settled

from .conftest import CALL, Bench, FakeHost, MemoryJournal, job, well

ROWS = 400


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tick is a second of the books: many seconds pass in one."""
    monkeypatch.setattr("apwa.executor.core._PROGRESS_S", 0.0)
    monkeypatch.setattr("apwa.executor.executor._TICK_S", 0.002)


def some_hosts() -> list[FakeHost]:
    return [FakeHost(well, 0.02, f"h{n}") for n in range(4)]


async def spend(executor: Executor, hosts: Sequence[FakeHost]) -> Usage:
    """Work a step, while all hosts settle calls; what came of it."""

    async def settle() -> None:
        nonlocal total
        for _ in range(100):
            for host in hosts:
                total += CALL
                host.say(Settled("e", 1, CALL.tokens, CALL.cost_nusd or 0))
            await asyncio.sleep(0.005)

    total = Usage()
    settling = asyncio.create_task(settle())
    end = await executor.run_step(job(ROWS))
    await settling
    await executor.close()
    assert end.done == ROWS
    return total + end.usage


@pytest.mark.parametrize("caps", [None, Caps(calls=100_000)])
async def test_rows_of_spending_do_not_grow_with_the_run(tmp_path: Path, caps: Caps | None) -> None:
    journal = open_journal(tmp_path / "run.db")
    hosts = some_hosts()
    executor = Executor(
        hosts, journal, caps=caps, ceilings=8, max_failures=1.0, emit=lambda event: None, seed=1
    )
    await executor.start()
    total = await spend(executor, hosts)
    assert len(journal.reader.blocks()) == len(hosts)
    spent = journal.reader.spent()
    assert (spent.calls, spent.tokens, spent.cost_nusd) == (
        total.calls, total.tokens, total.cost_nusd,
    )  # fmt: skip
    await journal.close()


async def test_what_waits_for_a_slow_disk_is_written_at_once(bench: Bench) -> None:
    class Slow(MemoryJournal):
        async def add_spent(self, spent: Mapping[str, Usage]) -> None:
            await asyncio.sleep(0.05)  # some seconds of the books
            await super().add_spent(spent)

    bench.journal = Slow()
    hosts = some_hosts()
    executor = await bench.executor(*hosts, ceiling=8)
    loop = asyncio.get_running_loop()
    began = loop.time()
    total = await spend(executor, hosts)
    written = bench.journal.recorded
    assert bench.journal.spent().calls == total.calls and not bench.journal.books
    assert max(map(len, written)) == len(hosts)
    assert 1 < len(written) <= (loop.time() - began) / 0.05
