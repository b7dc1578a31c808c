"""What a model costs: the user's own prices first, then the offline price book, else unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING

from apwa.models.seam import Tokens
from apwa.vocabulary import NUSD_PER_USD, Misuse, Price, Tier

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

PRACTICE = "practice"
LOCAL = "this machine"
_LOCAL_PRICE = Price(0.0, 0.0, source="a model on this machine")
_PRACTICE_PRICE = Price(100.0, 400.0, source="practice test price")
_NUSD_PER_TOKEN = 1000  # one dollar per million tokens

PriceTable = Mapping[str, Mapping[str, float]]
"""``{"openai:gpt-5.4-mini": {"input": 0.25, "output": 2.0, "cached": 0.025}}``, US dollars per
million tokens."""


def price_of(endpoint: str, model: str, table: PriceTable | None = None) -> Price | None:
    """The price of a model at an endpoint; None if nobody knows it.

    Args:
        endpoint: The endpoint's name, or its address.
        model: The model's name as the endpoint has it.
        table: The user's prices, by ``endpoint:model`` or by the model alone.

    Raises:
        Misuse: The user's price is no price.
    """
    own = own_price(endpoint, model, table or {})
    if own is not None:
        return own
    if endpoint == PRACTICE:
        return _PRACTICE_PRICE
    if endpoint == LOCAL:
        return _LOCAL_PRICE
    known = _book_entry(endpoint, model)
    return None if known is None else _from_book(known)


def context_of(endpoint: str, model: str) -> int | None:
    """The context size by the price book; None if it does not know the model."""
    known = _book_entry(endpoint, model)
    return None if known is None else known.context_window


def cost(tokens: Tokens, price: Price | None) -> int | None:
    """Nano-dollars of one call, rounded up. The provider's own figure wins; None is unknown."""
    if tokens.cost_nusd is not None:
        return tokens.cost_nusd
    if price is None or not tokens.reported:
        return None
    tier = price.at(tokens.input)
    cached_nusd = tier.input_nusd if tier.cached_nusd is None else tier.cached_nusd
    exact = (
        (tokens.input - tokens.cached) * tier.input_nusd
        + tokens.cached * cached_nusd
        + tokens.output * tier.output_nusd
    )
    return math.ceil(round(exact, 6))  # a float's last digits are no nano-dollar


def own_price(endpoint: str, model: str, table: PriceTable) -> Price | None:
    """The price that the user's table gives; None if it gives none. Raises Misuse."""
    names = [f"{endpoint}{mark}{model}" for mark in ":/#"] + [model]
    # a server at OPENAI_BASE_URL goes by its address, though the user wrote openai:model
    names += [f"openai:{model}", f"openai/{model}"] if "://" in endpoint else []
    for name in names:
        row = table.get(name)
        if row is not None:
            return _from_table(name, row)
    return None


def _from_table(name: str, row: Mapping[str, float]) -> Price:
    unknown = sorted(set(row) - {"input", "output", "cached"})
    amounts = [row.get("input"), row.get("output"), row.get("cached", 0.0)]
    if unknown or any(not isinstance(a, int | float) or not 0 <= a < 1e6 for a in amounts):
        raise Misuse(
            f"the price of {name} is not to be understood: {dict(row)}",
            "prices",
            "Give input and output (and cached, if you like) in US dollars per million tokens.",
        )
    cached = row.get("cached")
    return Price(
        row["input"] * _NUSD_PER_TOKEN,
        row["output"] * _NUSD_PER_TOKEN,
        None if cached is None else cached * _NUSD_PER_TOKEN,
        "your prices",
    )


def _book_entry(endpoint: str, model: str) -> ModelInfo | None:
    from genai_prices import data_snapshot  # takes most of a second, and most runs ask once

    book = data_snapshot.get_snapshot()
    by_address = "://" in endpoint
    try:
        _, entry = book.find_provider_model(
            model,
            None,
            None if by_address else endpoint,
            endpoint if by_address else None,
        )
    except LookupError:
        return None
    return entry


def _from_book(entry: ModelInfo) -> Price | None:
    prices = entry.get_prices(datetime.now(tz=UTC))
    named = [getattr(prices, f"{name}_mtok", None) for name in ("input", "output", "cache_read")]
    put_in, put_out, cached = (_nusd_at(price, 0) for price in named)
    if put_in is None or put_out is None:
        return None
    tiers = [
        Tier(start, _nusd_at(named[0], start) or 0.0, _nusd_at(named[1], start) or 0.0,
             _nusd_at(named[2], start))
        for start in sorted({start for price in named for start in _starts(price)})
    ]  # fmt: skip
    return Price(put_in, put_out, cached, f"genai-prices {version('genai-prices')}", tiers)


def _starts(price: object) -> list[int]:
    """Sizes of prompts above which another price holds, for the whole call."""
    return [tier.start for tier in getattr(price, "tiers", [])]


def _nusd_at(price: object, start: int) -> float | None:
    """A price of the book for prompts above ``start`` tokens, in nano-dollars a token."""
    if price is None:
        return None
    amount = price if isinstance(price, Decimal) else getattr(price, "base", None)
    for tier in getattr(price, "tiers", []):
        if tier.start <= start:
            amount = tier.price
    return float(amount) * _NUSD_PER_TOKEN if isinstance(amount, Decimal) else None


def nusd_of(dollars: float | None) -> int | None:
    """A provider's own figure in nano-dollars, rounded up; None for what is no amount."""
    if dollars is None or not math.isfinite(dollars) or dollars < 0:
        return None
    return math.ceil(round(dollars * NUSD_PER_USD, 3))
