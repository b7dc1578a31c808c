"""One suite for hosts: in this process, and behind the wire format."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apwa.capabilities import Registry
from apwa.executor import hosts
from apwa.executor.hosts import LocalHost
from apwa.executor.loopback import LoopbackHost
from apwa.models import LeanChat
from apwa.tables import CheckProcess
from apwa.vocabulary import Cell, ErrorKind, Granted, LeaseItem, Outcome, Usage, WorkLimits
from apwa.vocabulary.messages import (
    Ack,
    CloseStep,
    Described,
    Grant,
    Heartbeat,
    Hungry,
    Lease,
    OpenStep,
    Outcomes,
    Pace,
    Returned,
    Revoke,
    Settled,
    Shutdown,
)
from apwa.worker import read_transcript

from .endpoint import (
    GOOD,
    Body,
    Driver,
    FakeEndpoint,
    a_step,
    calls,
    fails,
    items,
    says,
    serving,
    user_text,
)


class CountedChecks(CheckProcess):
    """Counts its queries."""

    queries = 0

    async def evaluate(self, checks: Any, inputs: Any, outputs: Any) -> list[list[bool]]:
        self.queries += 1
        return await super().evaluate(checks, inputs, outputs)


@pytest.fixture
async def endpoint() -> AsyncIterator[FakeEndpoint]:
    async with serving(FakeEndpoint()) as served:
        yield served


@pytest.fixture
async def checks() -> AsyncIterator[CountedChecks]:
    process = CountedChecks()
    yield process
    await process.close()


@pytest.fixture(params=["local", "loopback"])
async def driver(
    request: pytest.FixtureRequest,
    endpoint: FakeEndpoint,
    checks: CountedChecks,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Driver]:
    monkeypatch.setattr(hosts, "_HEARTBEAT_S", 0.05)
    monkeypatch.setattr(hosts, "ALLOTMENT_S", 1000.0)  # this driver grants once and for all
    model = LeanChat(endpoint.url)
    local = LocalHost("h1", {"fake": model}, Registry.builtin(), checks)
    host = local if request.param == "local" else LoopbackHost(local)
    driver = Driver(host)
    await host.start()
    yield driver
    await host.stop()
    await driver.listening
    await model.close()


def settled(driver: Driver) -> tuple[int, int, int]:
    messages = driver.of(Settled)
    return (
        sum(m.calls for m in messages),
        sum(m.tokens for m in messages),
        sum(m.cost_nusd for m in messages),
    )


async def hold_the_first(driver: Driver, endpoint: FakeEndpoint, *ids: int) -> None:
    """Lease rows, of which the first is called for and not answered before a release."""
    endpoint.answer = lambda body: None
    driver.host.send(OpenStep("run", a_step()))
    driver.host.send(Grant("fake", 1))
    driver.host.send(Lease("run", "rate", items(*ids)))
    await driver.until(lambda: any(beat.in_flight for beat in driver.of(Heartbeat)))


async def beats(driver: Driver, count: int) -> None:
    """Let a host live on for a while."""
    enough = len(driver.of(Heartbeat)) + count
    await driver.until(lambda: len(driver.of(Heartbeat)) >= enough)


async def test_a_host_says_first_what_it_is_and_then_that_it_lives(driver: Driver) -> None:
    await driver.until(lambda: bool(driver.of(Heartbeat)))
    first = driver.heard[0]
    assert isinstance(first, Described)
    assert (first.host, first.capabilities) == ("h1", ["calculator", "lookup"])
    assert driver.of(Heartbeat)[0] == Heartbeat(0, 0, number=1)


async def test_rows_are_worked_and_told_with_what_they_took(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.answer = lambda body: says(
        f'{{"stars": 4, "tone": "{user_text(body).split()[2]}"}}', tokens=(50, 10)
    )
    outcomes = await driver.work(a_step(), *range(1, 301))
    assert len(outcomes) == 300
    one = outcomes[7]
    assert (one.ordinal, one.generation, one.reuse_key, one.kind) == (70, 0, b"key", None)
    assert one.answer == b'{"tone":"7","stars":4}'
    assert one.raw == '{"stars": 4, "tone": "7"}'
    assert one.usage == Usage(1, 50, 10, cost_nusd=700) and one.transcript == b""
    assert len({a.call_id for o in outcomes.values() for a in o.attempts}) == 300
    assert settled(driver) == (300, 300 * 60, 300 * 700)
    sent = endpoint.seen[0]
    assert sent["messages"][0] == {"role": "system", "content": "Rate <body>."}
    assert re.fullmatch(r"<body-n0nce>\nrow \d+\n</body-n0nce>", user_text(sent))
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["tone", "stars"]


async def test_no_more_calls_are_under_way_than_slots(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.answer = lambda body: None
    driver.host.send(OpenStep("run", a_step()))
    driver.host.send(Lease("run", "rate", items(*range(1, 41))))
    await driver.until(lambda: bool(driver.of(Heartbeat)))
    assert endpoint.seen == []
    driver.host.send(Grant("fake", 3))
    await driver.until(lambda: len(endpoint.seen) == 3)
    await beats(driver, 3)
    beat = driver.of(Heartbeat)[-1]
    assert (beat.leases, beat.in_flight, beat.oldest_ordinal) == (40, 3, 10)
    driver.host.send(Grant("fake", 5))
    await driver.until(lambda: len(endpoint.seen) == 5)
    await beats(driver, 3)
    assert len(endpoint.seen) == 5
    endpoint.release.set()
    await driver.until(lambda: len(driver.outcomes) == 40)


async def test_a_broken_answer_is_repaired_in_the_same_attempt(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.one_after_the_other(
        lambda: says('{"tone": "good"}'),
        lambda: says('{"tone": "good", "stars": 0}'),
        lambda: says(GOOD),
    )
    outcome = (await driver.work(a_step(), 1))[1]
    assert (outcome.kind, outcome.answer) == (None, b'{"tone":"good","stars":5}')
    assert outcome.usage.calls == 3 and len(outcome.attempts) == 3
    talk = read_transcript(outcome.transcript)
    roles = [message.role for message in talk]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]
    assert talk[3].text.startswith("Your answer was not accepted: the field 'stars' is missing")
    assert "stars" in talk[5].text and talk[-1].text == GOOD


async def test_an_answer_that_stays_broken_fails_with_its_last_words(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.answer = lambda body: says("I would rather not say.")
    outcome = (await driver.work(a_step(limits=WorkLimits(repairs=1)), 1))[1]
    assert outcome.kind is ErrorKind.CONTRACT
    assert "one JSON object" in outcome.message
    assert outcome.raw == "I would rather not say." and outcome.usage.calls == 2


async def test_checks_are_tried_over_many_answers_at_once(
    driver: Driver, endpoint: FakeEndpoint, checks: CountedChecks
) -> None:
    def answer(body: Body) -> Any:
        told = len(body["messages"]) > 2
        return says(f'{{"tone": "mild", "stars": {5 if told else 9}}}')

    endpoint.answer = answer
    spec = a_step(contract={"checks": ["output.stars <= 5"]})
    outcomes = await driver.work(spec, *range(1, 101), slots=100)
    assert all(o.answer == b'{"tone":"mild","stars":5}' for o in outcomes.values())
    talk = read_transcript(outcomes[1].transcript)
    assert "the check `output.stars <= 5` is not true" in talk[3].text
    assert 0 < checks.queries < 150  # for 300 answers looked at


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (lambda: says("{", finish="length"), ErrorKind.CUT_OFF, "after 10 tokens"),
        (lambda: says("", finish="content_filter"), ErrorKind.FILTERED, "filter"),
        (lambda: says("I cannot.", finish="refusal"), ErrorKind.REFUSED, "I cannot."),
        (lambda: says(""), ErrorKind.EMPTY, "answered nothing"),
        (lambda: fails(500, "boom"), ErrorKind.SERVER_ERROR, "boom"),
        (lambda: fails(400, "bad thing"), ErrorKind.BAD_REQUEST, "bad thing"),
        (
            lambda: fails(400, "maximum context length exceeded"),
            ErrorKind.CONTEXT_TOO_LONG,
            "context length",
        ),
        (lambda: fails(404, "no such model"), ErrorKind.MODEL_MISSING, "no such model"),
    ],
)
async def test_a_failure_says_its_kind_in_the_endpoints_words(
    driver: Driver, endpoint: FakeEndpoint, answer: Any, kind: ErrorKind, words: str
) -> None:
    endpoint.answer = lambda body: answer()
    outcome = (await driver.work(a_step(), 1))[1]
    assert outcome.kind is kind
    assert words in outcome.message
    assert len(endpoint.seen) == 1


async def test_a_rate_limit_is_waited_for_in_place_and_is_no_attempt(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.one_after_the_other(
        lambda: fails(429, "slow down", Retry_After="0.2"),
        lambda: fails(503, "overloaded", Retry_After="0.1"),
        lambda: says(GOOD),
    )
    outcome = (await driver.work(a_step(), 1))[1]
    assert outcome.kind is None and len(outcome.attempts) == 1
    await driver.until(lambda: sum(len(pace.samples) for pace in driver.of(Pace)) == 3)
    samples = [sample for pace in driver.of(Pace) for sample in pace.samples]
    assert [s.kind for s in samples] == [ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED, None]
    assert [s.retry_after_s for s in samples] == [0.2, 0.1, None]
    assert settled(driver)[0] == 1


async def test_a_refused_key_is_told_and_no_more_calls_are_made(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.answer = lambda body: fails(401, "no such key")
    driver.host.send(OpenStep("run", a_step()))
    driver.host.send(Grant("fake", 2))
    driver.host.send(Lease("run", "rate", items(*range(1, 101))))
    await driver.until(lambda: bool(driver.outcomes))
    driver.host.send(Revoke(list(range(1, 101))))
    await driver.until(lambda: sum(len(r.lease_ids) for r in driver.of(Returned)) >= 98)
    assert {o.kind for o in driver.outcomes.values()} == {ErrorKind.ACCOUNT}
    assert len(endpoint.seen) <= 2 and settled(driver) == (0, 0, 0)


async def test_tools_are_called_and_their_mistakes_fed_back(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.one_after_the_other(
        lambda: calls(("calculate", '{"expression": "6 * 7"}'), ("look_up", '{"key": "A"}')),
        lambda: calls(("calculate", "{broken"), ("shell", "{}")),
        lambda: says(GOOD),
    )
    rows = [{"sku": "A", "price": 3}]
    spec = a_step(grants=[Granted("calculator"), Granted("lookup", {"rows": rows, "key": "sku"})])
    outcome = (await driver.work(spec, 1))[1]
    assert outcome.kind is None and outcome.usage.calls == 3
    said = [m.text for m in read_transcript(outcome.transcript) if m.role == "tool"]
    assert said[:2] == ["42", '{"sku":"A","price":3}']
    assert said[2].startswith("Failed: the arguments are no JSON object")
    assert said[3] == "Failed: there is no tool 'shell'; there are: calculate, look_up"
    assert [t["function"]["name"] for t in endpoint.seen[0]["tools"]] == ["calculate", "look_up"]
    assert [m["role"] for m in endpoint.seen[1]["messages"]] == [
        "system", "user", "assistant", "tool", "tool",
    ]  # fmt: skip


async def test_a_tool_that_was_never_offered_is_refused_in_words(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.one_after_the_other(
        lambda: says("not yet"), lambda: calls(("shell", "{}")), lambda: says(GOOD)
    )
    outcome = (await driver.work(a_step(), 1))[1]
    assert outcome.kind is None
    assert "there is no tool 'shell'" in endpoint.seen[2]["messages"][-1]["content"]


async def test_a_worker_that_only_calls_tools_runs_out_of_turns(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.answer = lambda body: calls(("calculate", '{"expression": "1"}'))
    spec = a_step(grants=[Granted("calculator")], limits=WorkLimits(turns=4))
    outcome = (await driver.work(spec, 1))[1]
    assert outcome.kind is ErrorKind.TURNS and len(endpoint.seen) == 4


async def test_a_capability_that_does_not_open_is_the_tools_failure(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    spec = a_step(grants=[Granted("lookup", {"path": "/etc/passwd", "key": "x"})])
    outcome = (await driver.work(spec, 1))[1]
    assert outcome.kind is ErrorKind.TOOL
    assert "does not open: /etc/passwd: a lookup reads only files under" in outcome.message
    assert endpoint.seen == []


async def test_an_attempt_ends_at_its_time_limit(driver: Driver, endpoint: FakeEndpoint) -> None:
    endpoint.answer = lambda body: None
    outcome = (await driver.work(a_step(limits=WorkLimits(timeout_s=0.3)), 1))[1]
    assert outcome.kind is ErrorKind.TIMEOUT
    bound = outcome.usage
    assert bound.calls == 1 and bound.output_tokens == 2048  # unknown outcome: spent whole
    assert settled(driver) == (1, bound.tokens, bound.cost_nusd)


async def test_leases_that_have_not_begun_are_given_back(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    await hold_the_first(driver, endpoint, 1, 2, 3)
    driver.host.send(Revoke([1, 2]))
    driver.host.send(Revoke([2, 77]))
    await driver.until(lambda: len(driver.of(Returned)) == 2)
    assert [r.lease_ids for r in driver.of(Returned)] == [[2], [2, 77]]
    endpoint.release.set()
    await driver.until(lambda: driver.outcomes.keys() == {1, 3})
    assert len(endpoint.seen) == 2


async def test_a_lease_that_was_given_back_is_not_worked_when_it_comes_again(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    """As it does when the driver takes a lease for lost that the host has just given back."""
    await hold_the_first(driver, endpoint, 1, 2)
    driver.host.send(Revoke([1, 2]))
    driver.host.send(Lease("run", "rate", items(2, 3)))
    endpoint.release.set()
    await driver.until(lambda: driver.outcomes.keys() == {1, 3})
    assert [r.lease_ids for r in driver.of(Returned)] == [[2], [2]]
    assert len(endpoint.seen) == 2


async def test_a_lease_whose_cell_cannot_be_read_fails_and_harms_nothing(
    driver: Driver, endpoint: FakeEndpoint, tmp_path: Path
) -> None:
    """Its file may have been written anew since: fewer rows, another column, other text."""
    texts = pa.table({"body": ["x" * 700, "y" * 700]})
    pq.write_table(texts, tmp_path / "t.parquet")
    file = str(tmp_path / "t.parquet")
    cells = [
        Cell(0, file, 0, 0, "body", 700),
        Cell(0, file, 0, 5, "body", 700),
        Cell(0, file, 0, 1, "gone", 700),
        Cell(0, file, 0, 1, "body", 699),
        Cell(0, file, 3, 1, "body", 700),
    ]
    leases = [LeaseItem(n, n, 0, b"key", [None], [cell]) for n, cell in enumerate(cells, 1)]
    driver.host.send(OpenStep("run", a_step()))
    driver.host.send(Grant("fake", 4))
    driver.host.send(Lease("run", "rate", leases))
    await driver.until(lambda: len(driver.outcomes) == 5)
    kinds = [driver.outcomes[n].kind for n in range(1, 6)]
    assert kinds == [None, *[ErrorKind.INTERNAL] * 4]
    assert len(endpoint.seen) == 1


async def test_a_begun_lease_is_given_back_when_asked_and_its_call_counts_as_spent(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    await hold_the_first(driver, endpoint, 1, 2)
    driver.host.send(Revoke([1], begun=True))
    await driver.until(lambda: bool(driver.of(Returned)) and bool(driver.of(Settled)))
    calls_made, tokens, _ = settled(driver)
    assert calls_made == 1 and tokens > 2048
    endpoint.release.set()
    await driver.until(lambda: 2 in driver.outcomes)  # the slot is free again
    assert 1 not in driver.outcomes


async def test_a_lease_that_waits_for_an_unreachable_endpoint_can_be_given_back(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.answer = lambda body: fails(429, "later", Retry_After="600")
    driver.host.send(OpenStep("run", a_step()))
    driver.host.send(Grant("fake", 1))
    driver.host.send(Lease("run", "rate", items(1)))
    await driver.until(lambda: bool(driver.of(Pace)))
    driver.host.send(Revoke([1]))
    await driver.until(lambda: bool(driver.of(Returned)))


async def test_a_lease_that_comes_twice_is_worked_once(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    driver.acks = False
    endpoint.answer = lambda body: None
    spec = a_step()
    for _ in range(2):
        driver.host.send(OpenStep("run", spec))
        driver.host.send(Grant("fake", 4))
        driver.host.send(Lease("run", "rate", items(1, 2)))
    endpoint.release.set()
    await driver.until(lambda: driver.outcomes.keys() == {1, 2})
    driver.host.send(Lease("run", "rate", items(1)))  # finished: told again
    told = lambda n: sum(o.lease_id == n for m in driver.of(Outcomes) for o in m.items)  # noqa: E731
    await driver.until(lambda: told(1) == 2)
    driver.host.send(Ack([1, 2, 99]))
    driver.host.send(Ack([1]))
    driver.host.send(Lease("run", "rate", items(1, 3)))  # acknowledged: known as done
    await driver.until(lambda: 3 in driver.outcomes)
    assert len(endpoint.seen) == 3 and told(1) == 2


async def test_outcomes_are_told_again_until_they_are_acknowledged(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "_AGAIN_S", 0.1)
    driver.acks = False
    await driver.work(a_step(), 1)
    await driver.until(lambda: len(driver.of(Outcomes)) >= 2)
    first, again = driver.of(Outcomes)[:2]
    assert first == again
    driver.host.send(Ack([1]))
    await beats(driver, 2)
    assert driver.of(Heartbeat)[-1].leases == 0
    assert len(driver.of(Outcomes)) <= 3


async def test_no_call_begins_that_the_grant_cannot_pay(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    spec = a_step(limits=WorkLimits(output_tokens=100))
    driver.host.send(OpenStep("run", spec))
    driver.host.send(Grant("fake", 8, calls=0, tokens=0, cost_nusd=0))
    driver.host.send(Lease("run", "rate", items(*range(1, 41))))
    granted = [0, 0, 0]
    asked = 0
    while len(driver.outcomes) < 40:
        known = asked
        await driver.until(lambda n=known: len(driver.of(Hungry)) > n or len(driver.outcomes) == 40)
        for hungry in driver.of(Hungry)[asked:]:
            asked += 1
            assert hungry.calls == 1 and hungry.tokens > 100
            more = [hungry.calls * 3, hungry.tokens * 3, hungry.cost_nusd * 3]
            granted = [a + b for a, b in zip(granted, more, strict=True)]
            driver.host.send(Grant("fake", 8, 0.0, *more))
        drawn = settled(driver)
        assert all(d <= g for d, g in zip(drawn, granted, strict=True))
    assert settled(driver) == (40, 40 * 60, 40 * 700)
    spent = sum((o.usage for o in driver.outcomes.values()), Usage())
    assert (spent.calls, spent.tokens, spent.cost_nusd) == settled(driver)


async def test_a_failed_call_of_unknown_outcome_counts_as_its_bound(
    driver: Driver, endpoint: FakeEndpoint
) -> None:
    endpoint.answer = lambda body: fails(500, "half done")
    driver.host.send(Grant("fake", 1, calls=10, tokens=10**6, cost_nusd=None))
    outcome = (await driver.work(a_step(), 1))[1]
    assert outcome.usage.output_tokens == 2048
    assert settled(driver) == (1, outcome.usage.tokens, outcome.usage.cost_nusd)


async def test_a_hold_is_kept(driver: Driver, endpoint: FakeEndpoint) -> None:
    called_at: list[float] = []

    def answer(body: Body) -> Any:
        called_at.append(time.monotonic())
        return says(GOOD)

    endpoint.answer = answer
    driver.host.send(OpenStep("run", a_step()))
    granted_at = time.monotonic()
    driver.host.send(Grant("fake", 4, hold_s=0.6))
    driver.host.send(Lease("run", "rate", items(1)))
    await driver.until(lambda: 1 in driver.outcomes)
    assert len(called_at) == 1 and called_at[0] >= granted_at + 0.6


async def test_leases_of_a_step_that_is_not_open_are_given_back(driver: Driver) -> None:
    driver.host.send(OpenStep("run", a_step()))
    driver.host.send(CloseStep("run", "rate"))
    driver.host.send(Lease("run", "rate", items(1, 2)))
    await driver.until(lambda: bool(driver.of(Returned)))
    assert driver.of(Returned) == [Returned([1, 2])]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"endpoint": "nowhere"}, ErrorKind.MODEL_MISSING),
        ({"contract": {"schema": {"type": "nonsense"}}}, ErrorKind.INTERNAL),
        ({"grants": [Granted("shell")]}, ErrorKind.INTERNAL),
        ({"contract": {"quotes": {"tone": "absent"}}}, ErrorKind.INTERNAL),
    ],
)
async def test_a_step_that_cannot_be_worked_fails_row_by_row_and_harms_nothing(
    driver: Driver, changes: dict[str, Any], kind: ErrorKind
) -> None:
    outcomes = await driver.work(a_step(step="bad", **changes), 1, 2)
    assert [outcomes[n].kind for n in (1, 2)] == [kind, kind] and outcomes[1].message
    assert (await driver.work(a_step(), 3))[3].kind is None


async def test_after_a_shutdown_the_messages_end(driver: Driver, endpoint: FakeEndpoint) -> None:
    await hold_the_first(driver, endpoint, 1, 2)
    driver.host.send(Shutdown())
    await asyncio.wait_for(driver.listening, 60)
    assert driver.outcomes == {}


async def test_a_dead_connection_is_waited_out(driver: Driver, endpoint: FakeEndpoint) -> None:
    def breaks_once(body: Body) -> Any:
        if len(endpoint.seen) == 1:
            raise asyncio.CancelledError  # the server drops the connection without a word
        return says(GOOD)

    endpoint.answer = breaks_once
    outcome: Outcome = (await driver.work(a_step(), 1))[1]
    assert outcome.kind is None and len(endpoint.seen) == 2
