"""Which hosts are sick: they fail on work that others do well. Pure; time is an argument.

A host is judged only beside others: what fails everywhere is the rows' fault or the endpoint's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from apwa.vocabulary import ErrorKind, Outcome
from apwa.vocabulary.messages import PaceSample

_RECENT = 32  # outcomes that count
_LEAST = 12  # failures among them, before a host is suspected
_ILL, _WELL = 0.75, 0.25  # shares of failures: of a sick host at least, of the others at most
_CUT_OFF_S = 5.0  # of calls that reach nobody, while those of others are answered

_MACHINE = {ErrorKind.INTERNAL, ErrorKind.TOOL, ErrorKind.SERVER_ERROR, ErrorKind.TIMEOUT}
"""Kinds of failures that a machine can be the reason of."""


@dataclass(slots=True)
class _Record:
    failed: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=_RECENT))
    cut_off_since: float | None = None
    answered_at: float = float("-inf")
    words: str = ""

    def share(self) -> float:
        return sum(self.failed) / max(1, len(self.failed))


class Health:
    """What lately came of the work on each host."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def outcomes(self, host: str, items: Sequence[Outcome]) -> None:
        record = self._of(host)
        for outcome in items:
            failed = outcome.kind in _MACHINE
            record.failed.append(failed)
            if failed:
                record.words = outcome.message

    def calls(self, host: str, samples: Sequence[PaceSample], now: float) -> None:
        record = self._of(host)
        for sample in samples:
            if sample.kind is not ErrorKind.UNREACHABLE:
                record.cut_off_since, record.answered_at = None, now
            elif record.cut_off_since is None:
                record.cut_off_since = now

    def forget(self, host: str) -> None:
        self._records.pop(host, None)

    def sick(self, hosts: Collection[str], now: float) -> tuple[str, str] | None:
        """A sick one of ``hosts`` and why, in words."""
        if len(hosts) < 2:
            return None
        for host in hosts:
            record = self._of(host)
            others = [self._of(other) for other in hosts if other != host]
            since = record.cut_off_since
            if since is not None and now - since >= _CUT_OFF_S:
                if any(other.answered_at > since + 1.0 for other in others):
                    return host, "it reaches no endpoint, and others do"
            elif sum(record.failed) >= _LEAST and record.share() >= _ILL:
                tried = sum(len(other.failed) for other in others)
                failed = sum(sum(other.failed) for other in others)
                if tried >= _LEAST and failed <= _WELL * tried:
                    return host, f"its work fails, and that of others does not: {record.words}"
        return None

    def _of(self, host: str) -> _Record:
        return self._records.setdefault(host, _Record())
