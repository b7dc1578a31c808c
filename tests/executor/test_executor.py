from __future__ import annotations

import asyncio

import pytest

from apwa.journal.seam import StoredResult
from apwa.vocabulary import Caps, ErrorKind, LeaseItem, Paused, Usage, WorkLimits
from apwa.vocabulary.control import ChangeLimits
from apwa.vocabulary.events import StepProgress

from .conftest import CALL, Bench, FakeHost, job, well, work


async def test_every_row_has_one_result_and_the_counts_add_up(bench: Bench) -> None:
    host = FakeHost(well)
    executor = await bench.executor(host)
    end = await executor.run_step(job(5000))
    assert (end.done, end.quarantined, end.skipped, end.paused) == (5000, 0, 0, "")
    assert len(bench.journal.results) == 5000
    assert not bench.journal.second
    assert set(host.calls.values()) == {1}
    assert end.usage == bench.journal.spent()
    assert end.usage.calls == 5000
    assert end.usage.output_tokens == 5000 * CALL.output_tokens


async def test_results_are_committed_in_batches(bench: Bench) -> None:
    executor = await bench.executor(FakeHost(well))
    await executor.run_step(job(2000))
    assert len(bench.journal.batches) < 500


async def test_steps_run_side_by_side(bench: Bench) -> None:
    executor = await bench.executor(FakeHost(well))
    ends = await asyncio.gather(*(executor.run_step(job(300, f"s{n}")) for n in range(3)))
    assert [end.done for end in ends] == [300, 300, 300]
    assert not executor.working


async def test_a_failed_row_is_tried_again_and_its_calls_all_stand_on_it(bench: Bench) -> None:
    def twice(item: LeaseItem, call: int) -> ErrorKind | None:
        return ErrorKind.CONTRACT if call < 2 else None

    executor = await bench.executor(FakeHost(twice))
    end = await executor.run_step(job(20))
    assert (end.done, end.quarantined) == (20, 0)
    assert {len(r.attempts) for r in bench.journal.results.values()} == {2}
    assert end.usage.calls == 40


async def test_a_row_that_fails_each_time_is_quarantined_with_its_words(bench: Bench) -> None:
    def one_bad(item: LeaseItem, call: int) -> ErrorKind | None:
        return ErrorKind.CONTRACT if item.ordinal == 7 else None

    executor = await bench.executor(FakeHost(one_bad))
    end = await executor.run_step(job(20, limits=WorkLimits(attempts=2)))
    assert (end.done, end.quarantined, end.skipped) == (19, 1, 0)
    bad = bench.journal.results["run", "s", 7, 0]
    assert bad.kind is ErrorKind.CONTRACT
    assert bad.message == "it was contract"
    assert len(bad.attempts) == 2


async def test_a_row_that_cannot_be_worked_costs_no_call(bench: Bench) -> None:
    rows = [work(0), work(1, refused=("bad_input", "cannot be read")), work(2)]
    host = FakeHost(well)
    executor = await bench.executor(host)
    end = await executor.run_step(job(rows))
    assert (end.done, end.quarantined) == (2, 1)
    assert host.calls[1] == 0
    assert bench.journal.results["run", "s", 1, 0].message == "cannot be read"


async def test_equal_requests_share_one_call_and_each_has_its_own_result(bench: Bench) -> None:
    host = FakeHost(well, latency_s=0.05)
    executor = await bench.executor(host)
    end = await executor.run_step(job([work(n, b"same") for n in range(50)]))
    assert end.done == 50
    assert sum(host.calls.values()) == 1
    sources = [r.source for r in bench.journal.results.values()]
    assert sorted(sources) == ["model", *["reuse"] * 49]
    assert end.usage.calls == 1


async def test_followers_of_a_failed_row_are_worked_themselves(bench: Bench) -> None:
    def first_fails(item: LeaseItem, call: int) -> ErrorKind | None:
        return ErrorKind.REFUSED if item.ordinal == 0 else None

    host = FakeHost(first_fails)
    executor = await bench.executor(host)
    end = await executor.run_step(job([work(n, b"same") for n in range(5)]))
    assert (end.done, end.quarantined) == (4, 1)
    assert host.calls[1] == 1
    assert sum(host.calls.values()) == 2


async def test_a_known_answer_is_taken_without_a_call(bench: Bench) -> None:
    known = StoredResult(
        "pilot", "s", 3, 0, b"k" * 16, "model", None, b'{"a":9}', "", "", [], 1.0, "h"
    )
    host = FakeHost(well)
    executor = await bench.executor(host)
    rows = [work(0), work(1, b"k" * 16)]
    end = await executor.run_step(job(rows, known={b"k" * 16: known}))
    assert end.done == 2
    assert host.calls[1] == 0
    assert bench.journal.results["run", "s", 1, 0].answer == b'{"a":9}'
    assert bench.journal.results["run", "s", 1, 0].source == "reuse"


async def test_a_wrong_key_pauses_at_once_and_charges_nobody(bench: Bench) -> None:
    def dead(item: LeaseItem, call: int) -> ErrorKind | None:
        return ErrorKind.ACCOUNT

    executor = await bench.executor(FakeHost(dead))
    ends = await asyncio.gather(executor.run_step(job(100)), executor.run_step(job(100, "t")))
    assert [(e.done, e.quarantined, e.skipped) for e in ends] == [(0, 0, 100)] * 2
    assert all(ErrorKind.ACCOUNT.remedy in end.paused for end in ends)
    assert not bench.journal.results
    again = await executor.run_step(job(5))
    assert again.skipped == 5 and again.paused


async def test_a_step_that_mostly_fails_pauses_and_says_of_what(bench: Bench) -> None:
    def refuse(item: LeaseItem, call: int) -> ErrorKind | None:
        return ErrorKind.REFUSED if item.ordinal % 2 else None

    executor = await bench.executor(FakeHost(refuse), max_failures=0.3)
    end = await executor.run_step(job(5000))
    assert "refused" in end.paused and "30%" in end.paused
    assert 50 <= end.done + end.quarantined < 2000
    assert end.done + end.quarantined + end.skipped == 5000


async def test_a_cap_is_never_passed_and_ends_the_run_with_words(bench: Bench) -> None:
    host = FakeHost(well)
    executor = await bench.executor(host, caps=Caps(calls=100))
    end = await executor.run_step(job(500))
    assert "budget" in end.paused
    assert host.real.calls == 100
    assert bench.journal.most_held <= 100
    assert (end.done, end.skipped) == (100, 400)
    assert bench.journal.spent().calls == 100


async def test_several_caps_hold_together(bench: Bench) -> None:
    host = FakeHost(well)
    executor = await bench.executor(host, caps=Caps(cost_nusd=20_000, tokens=100_000, calls=1000))
    end = await executor.run_step(job(500))
    spent = bench.journal.spent()
    assert "budget" in end.paused
    assert spent.cost_nusd is not None and spent.cost_nusd <= 20_000
    # all but what the bound of a last call needs is used
    assert host.real.calls >= (20_000 - 300) // 100


async def test_a_cap_that_suffices_is_not_noticed(bench: Bench) -> None:
    executor = await bench.executor(FakeHost(well), caps=Caps(calls=1000, cost_nusd=1_000_000))
    end = await executor.run_step(job(900))
    assert (end.done, end.paused) == (900, "")
    assert bench.journal.spent() == end.usage


async def test_what_a_step_leaves_over_pays_for_the_next(bench: Bench) -> None:
    executor = await bench.executor(FakeHost(well), caps=Caps(calls=101))
    for step in ("a", "b"):
        end = await executor.run_step(job(50, step, endpoint=step))
        assert end.done == 50
    async with executor.reserve("manager", Usage(1, 10, 10)) as settle:
        settle(Usage(1, 5, 5))
    with pytest.raises(Paused):
        async with executor.reserve("manager", Usage(1, 10, 10)):
            pass
    assert bench.journal.spent().calls == 101


async def test_an_unsettled_reservation_counts_whole(bench: Bench) -> None:
    executor = await bench.executor(FakeHost(well), caps=Caps(tokens=100))
    with pytest.raises(RuntimeError):
        async with executor.reserve("manager", Usage(1, 40, 10)):
            raise RuntimeError("lost")
    assert bench.journal.spent().tokens == 50


async def test_stop_finishes_what_is_in_flight(bench: Bench) -> None:
    host = FakeHost(well, latency_s=0.05)
    executor = await bench.executor(host)
    running = asyncio.create_task(executor.run_step(job(5000)))
    while not host.begun:
        await asyncio.sleep(0.005)
    executor.stop("paused on request")
    end = await running
    assert end.paused == "paused on request"
    assert end.done == host.real.calls == len(bench.journal.results)
    assert end.done + end.skipped == 5000


async def test_stop_now_does_not_wait(bench: Bench) -> None:
    host = FakeHost(well, latency_s=300.0)
    executor = await bench.executor(host)
    running = asyncio.create_task(executor.run_step(job(50)))
    while not host.begun:
        await asyncio.sleep(0.005)
    executor.stop("now", now=True)
    end = await asyncio.wait_for(running, 60.0)
    assert (end.done, end.skipped) == (0, 50)


async def test_a_ceiling_holds_and_can_be_raised_while_it_runs(bench: Bench) -> None:
    host = FakeHost(well, latency_s=0.002)
    executor = await bench.executor(host, ceiling=3)
    await executor.run_step(job(100))
    assert host.most_at_once == 3
    executor.change_limits(ChangeLimits(concurrency=50))
    await executor.run_step(job(3000, "t"))
    assert host.most_at_once > 8


async def test_progress_is_told_while_a_step_is_open(bench: Bench) -> None:
    executor = await bench.executor(FakeHost(well, latency_s=0.4), ceiling=20)
    end = await executor.run_step(job(60))
    assert end.done == 60
    told = [event for event in bench.events if isinstance(event, StepProgress)]
    assert told and told[-1].rows == 60
    assert told[-1].done <= 60


async def test_an_expansion_that_fails_ends_its_step_with_the_error(bench: Bench) -> None:
    def broken():
        yield [work(0)]
        raise OSError("the table is gone")

    from dataclasses import replace

    executor = await bench.executor(FakeHost(well))
    with pytest.raises(OSError, match="gone"):
        await executor.run_step(replace(job(10), expand=broken()))
    assert len(bench.journal.results) == 1


async def test_a_journal_that_fails_ends_the_step_with_its_error(bench: Bench) -> None:
    async def full(results: object) -> list[bool]:
        raise Paused("the disk is full")

    executor = await bench.executor(FakeHost(well))
    bench.journal.append = full  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(Paused, match="disk"):
        await executor.run_step(job(10))
