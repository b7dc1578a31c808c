"""What calls cost: known, the user's own, or unknown, and never 0 for unknown."""

from __future__ import annotations

import pytest

from apwa.models import Tokens, cost, price_of
from apwa.vocabulary import Misuse, Price

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
