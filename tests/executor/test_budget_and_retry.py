from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apwa.executor.budget import Amount, Budget
from apwa.executor.retry import LONGEST_BACKOFF_S, backoff_s, verdict
from apwa.vocabulary import Caps, ErrorKind, Follow, Usage, WorkLimits

CHANCE = random.Random(1)
LIMITS = WorkLimits(attempts=3)


def test_an_open_block_counts_whole_and_a_closed_one_what_was_drawn() -> None:
    budget = Budget(Caps(calls=100), Usage())
    limit = budget.ask("h", Amount(1, 10, 10), 20)
    assert limit == Amount(20, 0, 0)
    budget.opened("h", 1, limit)
    assert budget.left() == Amount(80, 0, 0)
    assert budget.settle("h", Amount(5, 50, 7)) == []
    (closing,) = budget.take_back("h")
    assert (closing.block, closing.spent.calls, closing.spent.cost_nusd) == (1, 5, 7)
    assert budget.left() == Amount(95, 0, 0)


def test_a_block_is_closed_once_it_is_drawn() -> None:
    budget = Budget(Caps(calls=100), Usage())
    limit = budget.ask("h", Amount(1, 0, 0), 10)
    assert limit is not None
    budget.opened("h", 7, limit)
    (closing,) = budget.settle("h", Amount(10, 30, 0))
    assert (closing.block, closing.spent.calls, closing.spent.tokens) == (7, 10, 30)


def test_what_was_spent_before_counts() -> None:
    budget = Budget(Caps(calls=10), Usage(calls=10))
    assert budget.ask("h", Amount(1, 0, 0), 5) is None
    assert budget.claim(Usage(calls=1)) is None


def test_unknown_money_spent_before_is_never_taken_for_nothing() -> None:
    budget = Budget(Caps(cost_nusd=1000), Usage(calls=1, cost_nusd=None))
    assert budget.ask("h", Amount(1, 0, 1), 1) is None


def test_a_call_without_a_price_cannot_be_paid_from_a_money_cap() -> None:
    budget = Budget(Caps(cost_nusd=1000), Usage())
    assert budget.claim(Usage(calls=1, cost_nusd=None)) is None


def test_spending_without_a_cap_is_recorded_with_its_details() -> None:
    budget = Budget(None, Usage())
    assert not budget.capped
    budget.saw("h", 8, 3, 2, priced=False)
    budget.settle("h", Amount(2, 20, 0))
    (closing,) = budget.record()
    assert closing.block is None
    assert closing.spent == Usage(2, 12, 8, 3, 2, None)
    assert budget.record() == []


@given(
    cap=st.integers(0, 200),
    draws=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=60),
    calls=st.integers(1, 30),
)
def test_spent_and_open_blocks_never_pass_the_cap(
    cap: int, draws: list[tuple[str, int]], calls: int
) -> None:
    budget = Budget(Caps(tokens=cap), Usage())
    blocks: dict[int, int] = {}
    spent = real = 0
    for name, tokens in draws:
        if budget.outstanding(name).tokens < 9:
            limit = budget.ask(name, Amount(1, 9, 0), calls)
            if limit is None:
                continue
            number = len(blocks) + 1000 * len(draws) + real
            while number in blocks:
                number += 1
            blocks[number] = limit.tokens
            budget.opened(name, number, limit)
        assert spent + sum(blocks.values()) <= cap
        if budget.outstanding(name).tokens < tokens:
            continue
        real += tokens
        for closing in budget.settle(name, Amount(1, tokens, 0)):
            assert closing.block is not None
            assert closing.spent.tokens <= blocks.pop(closing.block)
            spent += closing.spent.tokens
        assert real <= spent + sum(blocks.values())


def test_a_failure_is_retried_until_the_attempts_are_used_up() -> None:
    follows = [
        verdict(ErrorKind.CONTRACT, charged, 0, LIMITS, CHANCE).follow for charged in range(3)
    ]
    assert follows == [Follow.RETRY, Follow.RETRY, Follow.QUARANTINE]


@pytest.mark.parametrize(
    "kind", [ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED, ErrorKind.UNREACHABLE]
)
def test_pace_is_never_an_attempt(kind: ErrorKind) -> None:
    judged = verdict(kind, 2, 0, LIMITS, CHANCE)
    assert (judged.follow, judged.charged) == (Follow.RETRY, False)


def test_a_row_is_lost_with_its_host_a_few_times_and_not_for_ever() -> None:
    assert verdict(ErrorKind.HOST_LOST, 2, 7, LIMITS, CHANCE).follow is Follow.RETRY
    assert verdict(ErrorKind.HOST_LOST, 0, 8, LIMITS, CHANCE).follow is Follow.QUARANTINE


@pytest.mark.parametrize("kind", [k for k in ErrorKind if k.follow is Follow.PAUSE])
def test_what_is_nobodys_row_pauses(kind: ErrorKind) -> None:
    assert verdict(kind, 0, 0, LIMITS, CHANCE).follow is Follow.PAUSE


def test_backoff_grows_and_is_bounded() -> None:
    assert all(backoff_s(n, CHANCE) <= LONGEST_BACKOFF_S for n in range(60))
    assert backoff_s(0, CHANCE) <= 0.5 < backoff_s(3, CHANCE)
