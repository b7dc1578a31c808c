"""The gate: how many calls at once an endpoint is given. Pure; time is an argument.

It knows nothing of the endpoint but how calls went. Like TCP (Jacobson, "Congestion avoidance
and control", 1988) it starts small and doubles each round while all goes well and the slots are
what limits (slow start); the first rate limit, or a round that brought only latency and no
rate, ends that. From then on it adds a little each round, and takes three tenths away when the
endpoint says that it is too much, at most once in a call's latency, since the calls that were
under way together fail together. A round is as many replies as there are slots.

A ``Retry-After`` holds all calls only when the endpoint answers nothing else: one that refuses
some calls still works off the others. A user's number is a ceiling under which it still learns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from apwa.vocabulary import ErrorKind, Scope
from apwa.vocabulary.messages import PaceSample

START_SLOTS = 8
MOST_SLOTS = 4096
_SHRINK = 0.7
_LEAST_WINDOW_S = 0.25
_LONGEST_HOLD_S = 600.0
_UNREACHABLE_S = 10.0  # of nothing else, before the endpoint counts as down
_SILENT_S = 30.0  # of nothing but overload and no answer
_FULL = 0.8  # a round in which so much of the slots was used was limited by them

_TOO_MUCH = (ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED)


class Gate:
    """Pace of one endpoint.

    Attributes:
        slots: Calls at once, for all hosts together.
        hold_until: No call begins before.
        in_flight: Calls under way, as hosts last said.
        last_limit: The words of the last limit that the endpoint set.
    """

    def __init__(self, ceiling: int | None = None) -> None:
        self._ceiling = MOST_SLOTS if ceiling is None else max(1, ceiling)
        self._width = float(min(START_SLOTS, self._ceiling))
        self._slow_start = True
        self.hold_until = 0.0
        self.in_flight = 0
        self.last_limit = ""
        self._good = 0
        self._busy = False
        self._latency_sum = 0.0
        self._round_at: float | None = None
        self._best_s = float("inf")
        self._mean_s = 1.0
        self._last_rate = 0.0
        self._shrunk_at = float("-inf")
        self._refused_in_a_row = 0
        self._down_since: float | None = None
        self._down_kinds: set[ErrorKind] = set()
        self._down_count = 0
        self._recent: deque[float] = deque(maxlen=512)

    @property
    def slots(self) -> int:
        return max(1, int(self._width))

    @property
    def mean_s(self) -> float:
        """The mean latency of late, in seconds; a second before any is known."""
        return self._mean_s

    @property
    def at_ceiling(self) -> bool:
        return self.slots >= self._ceiling

    def set_ceiling(self, ceiling: int) -> None:
        """Change the user's number; the gate keeps what it has learned below it."""
        self._ceiling = max(1, min(ceiling, MOST_SLOTS))
        self._width = min(self._width, float(self._ceiling))

    def sampled(
        self, now: float, samples: Sequence[PaceSample], in_flight: int, *, more: bool
    ) -> None:
        """Take in how calls went. ``more``: whether work was waiting for slots."""
        if self._round_at is None:
            self._round_at = now
        self.in_flight = in_flight
        self._busy = self._busy or more or in_flight >= _FULL * self.slots
        refused: float | None = None
        for sample in samples:
            kind = sample.kind
            if kind is None or kind.scope is Scope.ROW:
                self._answered(sample)
            elif kind in _TOO_MUCH:
                self._refused_in_a_row += 1
                refused = max(refused or 0.0, sample.retry_after_s or 0.0)
                self.last_limit = "429" if kind is ErrorKind.RATE_LIMITED else "overloaded"
                if kind is ErrorKind.OVERLOADED:
                    self._nothing(now, kind)
                else:
                    self._down_since = None  # an endpoint that sets a pace is there
            elif kind is ErrorKind.UNREACHABLE:
                self._nothing(now, kind)
        if refused is not None:
            self._refused(now, refused)
        elif self._good >= max(4, self.slots):
            self._end_round(now)

    def down(self, now: float) -> str:
        """Why the endpoint counts as down, in words; empty if it does not."""
        # a few calls that fail while others are slow to answer do not make an endpoint down
        if self._down_since is None or self._down_count < max(3, min(self.slots, 64)):
            return ""
        silent = now - self._down_since
        only_unreachable = self._down_kinds == {ErrorKind.UNREACHABLE}
        if only_unreachable and silent >= _UNREACHABLE_S:
            return f"cannot be reached for {silent:.0f} s"
        if silent >= _SILENT_S:
            return f"has answered nothing for {silent:.0f} s but that it is overloaded"
        return ""

    def latency(self, share: float) -> float:
        """A quantile of recent latencies, in seconds; 0 if there are none."""
        if not self._recent:
            return 0.0
        ranked = sorted(self._recent)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]

    # ---- learning

    def _answered(self, sample: PaceSample) -> None:
        self._good += 1
        self._refused_in_a_row = 0
        self._down_since = None
        self._latency_sum += sample.latency_s
        self._recent.append(sample.latency_s)

    def _nothing(self, now: float, kind: ErrorKind) -> None:
        if self._down_since is None:
            self._down_since = now
            self._down_kinds = set()
            self._down_count = 0
        self._down_count += 1
        self._down_kinds.add(kind)

    def _refused(self, now: float, retry_after_s: float) -> None:
        self._slow_start = False
        if now - self._shrunk_at >= max(_LEAST_WINDOW_S, self._mean_s):
            self._width = max(1.0, self._width * _SHRINK)
            self._shrunk_at = now
        if retry_after_s > 0 and self._refused_in_a_row >= max(3, self.slots // 2):
            self.hold_until = max(self.hold_until, now + min(retry_after_s, _LONGEST_HOLD_S))
        self._begin_round(now)

    def _end_round(self, now: float) -> None:
        assert self._round_at is not None
        mean = self._latency_sum / self._good
        rate = self._good / max(1e-6, now - self._round_at)
        # forget the best slowly: an endpoint may become slower for good
        self._best_s = min(self._best_s * 1.02, mean)
        crowded = mean > 1.5 * self._best_s and rate < 1.1 * self._last_rate
        if crowded and self._slow_start:
            self._slow_start = False
            self._width *= 0.75
        elif crowded and mean > 2 * self._best_s:
            self._width *= 0.95
        elif self._busy:
            self._width *= 2 if self._slow_start else 1.02
            self._width += 0 if self._slow_start else 1
        self._width = min(max(1.0, self._width), float(self._ceiling))
        self._mean_s = mean
        self._last_rate = rate
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        self._round_at = now
        self._good = 0
        self._latency_sum = 0.0
        self._busy = False
