"""Forecasts: a range around what the pilot saw, unknown where a price is."""

from __future__ import annotations

from apwa.runs.forecast import StepSample, forecast
from apwa.vocabulary import Usage


def _sample(usages: list[Usage], rows: int) -> StepSample:
    return StepSample("redact", usages, [1.0] * len(usages), rows)


def test_the_range_holds_the_mean_and_widens_with_what_differs() -> None:
    even = forecast([_sample([Usage(1, 100, 50, cost_nusd=1000)] * 10, 1000)], None)
    uneven = forecast(
        [_sample([Usage(1, 20 * n, 50, cost_nusd=200 * n) for n in range(10)], 1000)], None
    )
    assert even.tokens[1] == 150_000
    assert even.tokens[0] < even.tokens[1] < even.tokens[2]
    spread = [f.tokens[2] / f.tokens[1] for f in (even, uneven)]
    assert spread[1] > spread[0]


def test_a_pilot_of_the_whole_table_leaves_no_doubt() -> None:
    seen = forecast([_sample([Usage(1, 100, 50, cost_nusd=1000)] * 10, 10)], None)
    assert seen.tokens == (1500, 1500, 1500)
    assert seen.cost_nusd == (10_000, 10_000, 10_000)


def test_an_unknown_price_makes_the_cost_unknown() -> None:
    assert forecast([_sample([Usage(1, 1, 1, cost_nusd=None)], 5)], None).cost_nusd is None
