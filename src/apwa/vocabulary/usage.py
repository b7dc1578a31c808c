"""What calls cost: tokens as whole numbers, money in whole nano-dollars.

Nano and not micro, because one call of a small model costs less than a micro-dollar, and
rounding each of a million calls up would be seen on the total.
"""

from __future__ import annotations

import msgspec

NUSD_PER_USD = 1_000_000_000


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Tokens and money of one call, or of several added up.

    ``cost_nusd`` is None where a price is unknown: unknown is never 0.
    ``cached_tokens`` are part of ``input_tokens``, ``reasoning_tokens`` of ``output_tokens``.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int | None = 0

    def __add__(self, other: Usage) -> Usage:
        unknown = self.cost_nusd is None or other.cost_nusd is None
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            None if unknown else (self.cost_nusd or 0) + (other.cost_nusd or 0),
        )

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Tier(msgspec.Struct, frozen=True, array_like=True):
    """Prices of a whole call whose prompt has more tokens than ``above``."""

    above: int
    input_nusd: float
    output_nusd: float
    cached_nusd: float | None = None


class Price(msgspec.Struct, frozen=True):
    """Prices in nano-dollars a token (which is dollars per thousand million tokens).

    A price of None is unknown. Floats, because a token of a small model costs parts of one;
    the cost of a call is rounded up to a whole nano-dollar. ``tiers``: of long prompts, rising.
    """

    input_nusd: float
    output_nusd: float
    cached_nusd: float | None = None
    source: str = ""
    tiers: list[Tier] = []

    def at(self, input_tokens: int) -> Tier:
        """The prices of a call with so many tokens in its prompt."""
        reached = [tier for tier in self.tiers if input_tokens > tier.above]
        return reached[-1] if reached else self._base

    def dearest(self, input_tokens: int) -> Tier:
        """The most that a token can cost in a call with at most so many in its prompt."""
        within = [self._base, *(tier for tier in self.tiers if input_tokens > tier.above)]
        return Tier(
            0,
            max(max(tier.input_nusd, tier.cached_nusd or 0.0) for tier in within),
            max(tier.output_nusd for tier in within),
        )

    @property
    def _base(self) -> Tier:
        return Tier(0, self.input_nusd, self.output_nusd, self.cached_nusd)


class Caps(msgspec.Struct, frozen=True):
    """Hard limits of a run. None is no limit."""

    cost_nusd: int | None = None
    tokens: int | None = None
    calls: int | None = None
