"""Which hosts are sick: they fail on work that others do well. Pure; time is an argument.

A host is judged only beside others at the same work, the steps or the endpoint it fails at: what
fails everywhere is the rows' fault or the endpoint's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from apwa.executor.scheduler import Scheduler
from apwa.vocabulary import ErrorKind, Outcome
from apwa.vocabulary.messages import PaceSample

_RECENT = 32  # outcomes of a host that count
_LEAST = 12  # failures among them, before a host is suspected
_ILL, _WELL = 0.75, 0.25  # shares of failures: of a sick host at least, of the others at most
_CUT_OFF_S = 5.0  # of calls that reach nobody, while those of others are answered

_MACHINE = {ErrorKind.INTERNAL, ErrorKind.TOOL, ErrorKind.SERVER_ERROR, ErrorKind.TIMEOUT}
"""Kinds of failures that a machine can be the reason of."""


Step = tuple[str, str]
"""A step's scope and name."""


@dataclass(slots=True)
class _Record:
    outcomes: deque[tuple[Step, bool]] = field(
        default_factory=lambda: deque[tuple[Step, bool]](maxlen=_RECENT)
    )
    cut_off: dict[str, float] = field(default_factory=dict[str, float])  # since when, by endpoint
    answered: dict[str, float] = field(default_factory=dict[str, float])  # when last, by endpoint
    words: str = ""

    def failures(self, steps: Collection[Step]) -> tuple[int, int]:
        """How many of the last outcomes were failures, and how many there were, at some steps."""
        found = [failed for step, failed in self.outcomes if step in steps]
        return sum(found), len(found)


class Health:
    """What lately came of the work on each host."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def saw(self, host: str, items: Sequence[Outcome], scheduler: Scheduler) -> None:
        """Take in outcomes of leases that are held: of many only the last, no more count."""
        record = self._of(host)
        for outcome in items[-_RECENT:]:
            row = scheduler.leases.get(outcome.lease_id)
            if row is None:
                continue
            failed = outcome.kind in _MACHINE
            record.outcomes.append((row.step.key, failed))
            if failed:
                record.words = outcome.message

    def calls(self, host: str, endpoint: str, samples: Sequence[PaceSample], now: float) -> None:
        record = self._of(host)
        for sample in samples:
            if sample.kind is not ErrorKind.UNREACHABLE:
                record.cut_off.pop(endpoint, None)
                record.answered[endpoint] = now
            else:
                record.cut_off.setdefault(endpoint, now)

    def forget(self, host: str) -> None:
        self._records.pop(host, None)

    def sick(self, hosts: Collection[str], now: float) -> tuple[str, str] | None:
        """A sick one of ``hosts`` and why, in words."""
        if len(hosts) < 2:
            return None
        for host in hosts:
            record = self._of(host)
            others = [self._of(other) for other in hosts if other != host]
            for endpoint, since in record.cut_off.items():
                answered = [other.answered.get(endpoint, float("-inf")) for other in others]
                if now - since >= _CUT_OFF_S and max(answered) > since + 1.0:
                    return host, f"it does not reach {endpoint}, and others do"
            steps = {step for step, failed in record.outcomes if failed}
            failed, tried = record.failures(steps)
            if failed >= _LEAST and failed >= _ILL * tried:
                counts = [other.failures(steps) for other in others]
                failed, tried = sum(f for f, _ in counts), sum(t for _, t in counts)
                if tried >= _LEAST and failed <= _WELL * tried:
                    return host, f"its work fails, and that of others does not: {record.words}"
        return None

    def _of(self, host: str) -> _Record:
        return self._records.setdefault(host, _Record())
