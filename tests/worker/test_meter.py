from __future__ import annotations

import asyncio
import random

import pytest

from apwa.models import ChatFailure, ChatReply, Tokens
from apwa.vocabulary import ErrorKind, Price, Usage
from apwa.vocabulary.messages import FromHost, Grant, Hungry, Settled
from apwa.worker import CallLog, Meter
from apwa.worker.calls import bound_of

PRICE = Price(2.0, 3.0)
REPLY = ChatReply("ok", [], "end", Tokens(10, 4))
BOUND = bound_of(100, 20, PRICE)
FOREVER = float("inf")  # an allotment that does not lapse


class Bench:
    def __init__(self) -> None:
        self.said: list[FromHost] = []
        self.meter = Meter("e", self.said.append)
        self.order: list[int] = []

    async def send(self, _call_id: str, _left_s: float) -> ChatReply:
        await asyncio.sleep(0)
        return REPLY

    def call(self, number: int = 0, log: CallLog | None = None) -> asyncio.Task[ChatReply]:
        async def send(call_id: str, left_s: float) -> ChatReply:
            self.order.append(number)
            return await self.send(call_id, left_s)

        return asyncio.create_task(self.meter.call(send, BOUND, PRICE, log or CallLog(), 60.0))

    def of(self, kind: type[FromHost]) -> list[FromHost]:
        return [message for message in self.said if isinstance(message, kind)]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_calls_begin_in_the_order_in_which_they_came(bench: Bench) -> None:
    tasks = [bench.call(n) for n in range(5)]
    await settle()
    assert bench.order == []
    bench.meter.grant(Grant("e", 1), FOREVER)
    late = bench.call(5)
    await asyncio.gather(*tasks, late)
    assert bench.order == [0, 1, 2, 3, 4, 5]


async def test_a_call_draws_its_bound_and_settles_what_it_took(bench: Bench) -> None:
    bench.meter.grant(Grant("e", 4, 0.0, 1, BOUND.tokens, BOUND.cost_nusd), FOREVER)
    log = CallLog()
    await bench.call(log=log)
    assert log.attempts[0].usage == Usage(1, 10, 4, cost_nusd=32)
    waiting = bench.call()
    await settle()
    # what was drawn is told before more is asked for, so that the driver's books are right
    settled, hungry = bench.said[:2]
    assert settled == Settled("e", 1, 14, 32)
    assert hungry == Hungry("e", 1, BOUND.tokens, BOUND.cost_nusd or 0)
    bench.meter.grant(Grant("e", 4, 0.0, 1, 13, 32), FOREVER)
    await settle()
    assert not waiting.done()  # a token short
    bench.meter.grant(Grant("e", 4, 0.0, 0, 1, 0), FOREVER)
    await waiting
    assert len(bench.of(Hungry)) == 2  # once a grant


async def test_unreported_tokens_count_as_the_bound_and_their_cost_is_unknown(
    bench: Bench,
) -> None:
    async def silent(_call_id: str, _left_s: float) -> ChatReply:
        return ChatReply("ok", [], "end", Tokens(reported=False))

    bench.meter.grant(Grant("e", 1), FOREVER)
    log = CallLog()
    await bench.meter.call(silent, BOUND, PRICE, log, 60.0)
    assert log.attempts[0].usage == Usage(1, cost_nusd=None)
    assert bench.meter.settled() == Settled("e", 1, BOUND.tokens, BOUND.cost_nusd or 0)


async def test_waits_for_pace_do_not_use_up_the_attempts_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lefts: list[float] = []

    async def crowded(_call_id: str, left_s: float) -> ChatReply:
        lefts.append(left_s)
        if len(lefts) < 4:
            raise ChatFailure(ErrorKind.OVERLOADED, "busy", retry_after_s=0.0, status=503)
        return REPLY

    bench.meter.grant(Grant("e", 1), FOREVER)
    log = CallLog()
    await bench.meter.call(crowded, BOUND, PRICE, log, 60.0)
    assert lefts == [60.0] * 4 and len(log.attempts) == 1


async def test_a_row_that_breaks_the_connection_each_time_is_suspected_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apwa.worker.meter._LONGEST_BACKOFF_S", 0.0)

    async def breaks(_call_id: str, _left_s: float) -> ChatReply:
        raise ChatFailure(ErrorKind.UNREACHABLE, "the connection broke", sent=True)

    bench.meter.grant(Grant("e", 1), FOREVER)
    log = CallLog()
    with pytest.raises(ChatFailure, match="5 times in a row on this row") as failure:
        await bench.meter.call(breaks, BOUND, PRICE, log, 60.0)
    assert failure.value.kind is ErrorKind.SERVER_ERROR
    assert len(log.attempts) == 5  # each may have cost something


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_grants_are_kept_and_the_sums_add_up(seed: int) -> None:
    chance = random.Random(seed)
    bench = Bench()
    meter = bench.meter
    granted = [0, 0, 0]
    told = [0, 0, 0]
    most = 0

    async def send(_call_id: str, _left_s: float) -> ChatReply:
        assert meter.in_flight <= most
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        match chance.randrange(8):
            case 0:
                raise ChatFailure(ErrorKind.RATE_LIMITED, "", retry_after_s=0.0, sent=False)
            case 1:
                raise ChatFailure(ErrorKind.SERVER_ERROR, "", status=500)
            case 2:
                raise ChatFailure(ErrorKind.BAD_REQUEST, "", status=400, sent=False)
            case _:
                return REPLY

    bench.send = send  # pyright: ignore[reportAttributeAccessIssue]
    logs = [CallLog() for _ in range(40)]
    tasks = [bench.call(n, log) for n, log in enumerate(logs)]
    cancelled: set[int] = set()
    for _ in range(4000):
        if all(task.done() for task in tasks):
            break
        if chance.random() < 0.1:
            slots = chance.randrange(1, 6)
            most = max(slots, meter.in_flight)
            more = [chance.randrange(3) * n for n in (1, BOUND.tokens, BOUND.cost_nusd or 0)]
            granted = [a + b for a, b in zip(granted, more, strict=True)]
            meter.grant(Grant("e", slots, 0.0, *more), FOREVER)
            most = max(most, meter.in_flight)
        if chance.random() < 0.02:
            number = chance.randrange(len(tasks))
            cancelled.add(number)
            tasks[number].cancel()
        if settled := meter.settled():
            bench.said.append(settled)
        await asyncio.sleep(0)
        told = [
            sum(getattr(m, name) for m in bench.of(Settled))
            for name in ("calls", "tokens", "cost_nusd")
        ]
        assert all(t <= g for t, g in zip(told, granted, strict=True))
        await asyncio.sleep(0.0001)
    await asyncio.gather(*tasks, return_exceptions=True)
    meter.close()
    assert meter.in_flight == 0
    if settled := meter.settled():
        bench.said.append(settled)
    drawn = sum((a.usage for log in logs for a in log.attempts), Usage())
    total = sum(m.calls for m in bench.of(Settled))  # pyright: ignore[reportAttributeAccessIssue]
    lost = total - drawn.calls
    assert 0 <= lost <= len(cancelled)  # calls that were cancelled count as spent
    assert meter._held == [  # pyright: ignore[reportPrivateUsage]
        g - sum(getattr(m, name) for m in bench.of(Settled))
        for g, name in zip(granted, ("calls", "tokens", "cost_nusd"), strict=True)
    ]
