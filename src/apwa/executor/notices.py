"""What the core tells people: troubles said once, progress once a second. Pure."""

from __future__ import annotations

import time

from apwa.executor.alike import without_ids
from apwa.executor.gate import Gate
from apwa.executor.rows import StepState
from apwa.vocabulary import ErrorKind
from apwa.vocabulary.events import StepProgress, Trouble

_KEPT = 50  # different troubles; an endpoint that says something new each time is cut off here
_CLIP = 300


class Troubles:
    """Equal troubles are said once, with a count."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}
        self._words: dict[tuple[str, str, str], str] = {}
        self._said: dict[tuple[str, str, str], int] = {}

    def met(self, kind: ErrorKind, message: str, where: str) -> None:
        key = (kind.value, without_ids(message[:_CLIP]), where)
        if key in self._counts:
            self._counts[key] += 1
        elif len(self._counts) < _KEPT:
            self._counts[key] = 1
            self._words[key] = message[:_CLIP]

    def news(self, *, last: bool = False) -> list[Trouble]:
        """Those not said yet; with ``last`` also those whose count has grown since."""
        found: list[Trouble] = []
        for key, count in self._counts.items():
            said = self._said.get(key, 0)
            if not said or (last and count > said):
                self._said[key] = count
                found.append(Trouble(key[0], self._words[key], count, key[2]))
        return found


def progress(
    step: StepState, gate: Gate, now: float, wall: float, elapsed: float, limit: str, slowest: str
) -> StepProgress:
    """A step's aggregates; keeps its rate up to date."""
    counted = step.done + step.quarantined
    lately = (counted - step.counted) / max(0.001, elapsed)
    # the first figure is taken as it is, later ones move it by a quarter
    step.rate = lately if step.counted == 0 else step.rate + 0.25 * (lately - step.rate)
    step.counted = counted
    job = step.job
    left = len(job.todo) - counted
    return StepProgress(
        job.scope,
        job.spec.step,
        job.rows,
        job.done + step.done,
        job.quarantined + step.quarantined,
        step.retries,
        min(step.leased, gate.in_flight) if gate.in_flight else min(step.leased, gate.slots),
        step.usage,
        round(step.rate, 2),
        gate.latency(0.5),
        gate.latency(0.95),
        left / step.rate if step.rate > 0.01 else None,
        limit or limit_words(step, gate, now, wall),
        slowest,
    )


def limit_words(step: StepState, gate: Gate, now: float, wall: float) -> str:
    """What bounds the pace now."""
    if gate.hold_until > now:
        until = time.strftime("%H:%M", time.localtime(wall + gate.hold_until - now))
        return f"waiting until {until} ({gate.last_limit or '429'})"
    if not step.ready and step.leased < gate.slots:
        return "rows"
    return "ceiling" if gate.at_ceiling else "endpoint"
