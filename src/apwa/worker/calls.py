"""What one attempt at a subtask has called so far, and what its calls took."""

from __future__ import annotations

import itertools
import math
import secrets

from apwa.models import Tokens, cost
from apwa.vocabulary import Attempt, ErrorKind, Price, Usage

_process = secrets.token_hex(5)
_numbers = itertools.count(1)


class CallLog:
    """The calls of one lease. Whoever holds the lease may look at it meanwhile.

    Attributes:
        attempts: Calls that took something, or may have.
        calling: A call is under way.
        active_s: Time spent in calls and tools, waits for pace not counted.
        raw: The model's last words.
    """

    __slots__ = ("active_s", "attempts", "calling", "raw")

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.calling = False
        self.active_s = 0.0
        self.raw = ""

    @property
    def begun(self) -> bool:
        """Whether giving the lease back would lose something that was paid for."""
        return self.calling or bool(self.attempts)

    def add(
        self,
        call_id: str,
        model: str,
        kind: ErrorKind | None,
        usage: Usage,
        took_s: float,
        *,
        bound: bool = False,
    ) -> None:
        """Note a call. ``bound``: ``usage`` is the most that it may have taken."""
        self.attempts.append(Attempt(call_id, model, kind, usage, took_s, bound))


def new_call_id() -> str:
    return f"{_process}-{next(_numbers)}"


def usage_of(tokens: Tokens, price: Price | None) -> Usage:
    """What a call took, as reported. Its cost is unknown where price or tokens are."""
    return Usage(
        1, tokens.input, tokens.output, tokens.cached, tokens.reasoning, cost(tokens, price)
    )


def bound_of(size_bytes: int, output_tokens: int, price: Price | None) -> Usage:
    """The most that a call may take: no text has more tokens than bytes."""
    money = None
    if price is not None:
        tier = price.dearest(size_bytes)
        money = math.ceil(size_bytes * tier.input_nusd + output_tokens * tier.output_nusd)
    return Usage(1, size_bytes, output_tokens, cost_nusd=money)
