"""From a pilot to a forecast: tokens, money and time of the full run, each with a range.

Per step: the pilot's mean per subtask times the rows that the full run has, with an interval of
two standard errors, never narrower than a fifth either way (a sample of ten says no more).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from apwa.runs.long_rows import LongRows
from apwa.vocabulary import Usage

Range = tuple[int, int, int]  # low, likely, high
_LEAST_SPREAD = 0.2
_LIKELY_SLOTS = 32  # calls at once that a run finds, where no ceiling says less


@dataclass(frozen=True, slots=True)
class StepSample:
    """What a pilot saw of one step, and how many subtasks the full run has."""

    step: str
    usages: Sequence[Usage]
    seconds: Sequence[float]
    full_rows: int


class Forecast(msgspec.Struct, frozen=True):
    """What the full run will take. ``cost_nusd`` None: a price is unknown.

    ``reasoning``: how many of the likely tokens are a model's thoughts.
    """

    tokens: Range
    cost_nusd: Range | None
    seconds: tuple[float, float, float]
    calls: Range
    basis: str
    reasoning: int = 0
    long: list[LongRows] = []

    def upper_cost(self) -> int | None:
        return None if self.cost_nusd is None else self.cost_nusd[2]


def forecast(
    samples: Sequence[StepSample], ceiling: int | None, long: Sequence[LongRows] = ()
) -> Forecast:
    """Sum the steps' forecasts.

    Args:
        samples: What the pilot saw of each template step.
        ceiling: Calls at once, if the user set one.
        long: What is known of rows that are too long.
    """
    tokens = _total(samples, [[float(u.tokens) for u in s.usages] for s in samples])
    calls = _total(samples, [[float(u.calls) for u in s.usages] for s in samples])
    thoughts = [[float(u.reasoning_tokens) for u in s.usages] for s in samples]
    known = all(u.cost_nusd is not None for s in samples for u in s.usages)
    money = None
    if known:
        money = _total(samples, [[float(u.cost_nusd or 0) for u in s.usages] for s in samples])
    slots = min(ceiling or _LIKELY_SLOTS, _LIKELY_SLOTS)
    seconds = sum(_mean(s.seconds) * s.full_rows / max(1, min(slots, s.full_rows)) for s in samples)
    seen = sum(len(s.usages) for s in samples)
    full = sum(s.full_rows for s in samples)
    return Forecast(
        tokens=tokens,
        cost_nusd=money,
        seconds=(seconds / 3, seconds, seconds * 3),
        calls=calls,
        basis=f"{seen:,} piloted of {full:,} subtasks",
        reasoning=_total(samples, thoughts)[1],
        long=list(long),
    )


def _total(samples: Sequence[StepSample], values: Sequence[Sequence[float]]) -> Range:
    low = likely = high = 0.0
    for sample, seen in zip(samples, values, strict=True):
        mean = _mean(seen)
        spread = max(_LEAST_SPREAD * mean, 2 * _standard_error(seen))
        if len(seen) >= sample.full_rows:
            spread = 0.0  # the pilot was the whole step
        likely += mean * sample.full_rows
        low += max(0.0, mean - spread) * sample.full_rows
        high += (mean + spread) * sample.full_rows
    return round(low), round(likely), math.ceil(high)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _standard_error(values: Sequence[float]) -> float:
    if len(values) < 2:
        return _mean(values) / 2
    mean = _mean(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))
