"""What calls cost: known, the user's own, or unknown, and never 0 for unknown."""

from __future__ import annotations

import genai_prices
import pytest

from apwa.models import Tokens, cost, price_of
from apwa.vocabulary import Misuse, Price, Tier
from apwa.worker import bound_of

_TABLE = {"openai:mine": {"input": 1.0, "output": 2.0, "cached": 0.1}}


def test_an_unknown_price_is_none() -> None:
    price = price_of("http://127.0.0.1:1/v1", "nobody-knows-this-model")
    assert price is None
    assert cost(Tokens(100, 20), price) is None


def test_the_price_book_knows_a_well_known_model() -> None:
    price = price_of("openai", "gpt-4o-mini")
    assert price is not None and 0 < price.input_nusd < price.output_nusd


def test_the_users_own_price_wins_and_reaches_the_same_server_by_its_address() -> None:
    for endpoint in ("openai", "https://proxy.example/v1"):
        price = price_of(endpoint, "mine", _TABLE)
        assert price is not None
        assert (price.input_nusd, price.output_nusd, price.cached_nusd) == (1000, 2000, 100)


def test_cached_tokens_cost_their_own_price_or_else_the_full_one() -> None:
    tokens = Tokens(input=100, output=10, cached=60)
    assert cost(tokens, Price(1000, 2000, 100)) == 40 * 1000 + 60 * 100 + 10 * 2000
    assert cost(tokens, Price(1000, 2000)) == 100 * 1000 + 10 * 2000


def test_a_part_of_a_nano_dollar_is_rounded_up() -> None:
    assert cost(Tokens(input=3, output=0), Price(0.5, 1.0)) == 2


def test_the_providers_own_figure_wins_and_no_count_means_unknown() -> None:
    assert cost(Tokens(10, 10, cost_nusd=77), Price(1, 1)) == 77
    assert cost(Tokens(reported=False), Price(1, 1)) is None


def test_a_price_that_is_none_is_refused_in_words() -> None:
    for row in ({"input": 1.0}, {"input": -1.0, "output": 1.0}, {"in": 1.0, "output": 1.0}):
        with pytest.raises(Misuse, match="not to be understood"):
            price_of("openai", "mine", {"mine": row})


@pytest.mark.parametrize(
    ("endpoint", "model"),
    [
        ("google", "gemini-2.5-pro"),
        ("anthropic", "claude-sonnet-4-5"),
        ("openai", "gpt-5.4"),
        ("openai", "gpt-4o"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000, 199_999, 200_000, 200_001, 272_000, 272_001, 900_000])
def test_a_long_prompt_is_counted_by_its_own_tier_as_the_price_book_itself_counts_it(
    endpoint: str, model: str, size: int
) -> None:
    price = price_of(endpoint, model)
    tokens = Tokens(input=size, output=1234, cached=size // 3)
    used = genai_prices.Usage(
        input_tokens=size, output_tokens=1234, cache_read_tokens=tokens.cached
    )
    book = genai_prices.calc_price(used, model, provider_id=endpoint).total_price
    ours = cost(tokens, price)
    assert ours is not None and 0 <= ours - book * 10**9 <= 1, "to the nano-dollar, rounded up"
    bound = bound_of(size, 1234, price)
    assert bound.cost_nusd is not None and bound.cost_nusd >= ours, "no call costs more"


def test_the_bound_of_a_call_is_by_the_dearest_tier_that_it_may_reach() -> None:
    price = Price(1.0, 2.0, tiers=[Tier(100, 10.0, 20.0), Tier(1000, 100.0, 200.0)])
    assert bound_of(100, 10, price).cost_nusd == 100 * 1 + 10 * 2
    assert bound_of(101, 10, price).cost_nusd == 101 * 10 + 10 * 20
    assert bound_of(5000, 10, price).cost_nusd == 5000 * 100 + 10 * 200
