"""What the scheduler holds while a row is open, and what it remembers of a step: bits and sums."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from apwa.executor.alike import without_ids
from apwa.executor.seam import StepJob, Work
from apwa.journal.seam import StoredResult
from apwa.vocabulary import Attempt, ErrorKind, Usage


class Row:
    """An open row. An object only from its expansion to its commit."""

    __slots__ = (
        "avoid",
        "blamed",
        "charged",
        "expired",
        "followers",
        "host",
        "lease_id",
        "lost",
        "past",
        "settled",
        "step",
        "suspect",
        "work",
    )

    def __init__(self, step: StepState, work: Work) -> None:
        self.step = step
        self.work = work
        self.lease_id = 0  # 0: not leased
        self.host = ""
        self.charged = 0  # attempts that count against the row
        self.blamed: tuple[str, ...] = ()  # the hosts of these attempts
        self.avoid = ""  # the host where it failed last: another tries it, where there is one
        self.lost = 0  # times it was lost with its host
        self.expired: tuple[int, ...] = ()  # leases of it that such hosts may still hold
        self.suspect = False  # a host's process ended while it was there
        self.past: tuple[Attempt, ...] = ()  # calls of attempts that failed
        self.settled = False  # has a result, committed or about to be
        self.followers: list[Row] | None = None  # rows that wait for this one's answer


@dataclass(slots=True)
class Finished:
    """A result on its way to the journal."""

    row: Row
    result: StoredResult
    host: str = ""  # whom to acknowledge
    lease_id: int = 0


@dataclass(eq=False, slots=True)
class StepState:
    """One open step. ``open`` counts rows expanded and without a committed result,
    ``open_bytes`` what their values hold."""

    job: StepJob
    opened_at: float
    open: int = 0
    finishing: int = 0  # rows whose result is on its way to the journal
    done: int = 0  # of this job
    quarantined: int = 0
    retries: int = 0
    leased: int = 0
    leased_on: Counter[str] = field(default_factory=Counter[str])  # by host
    waiting: int = 0  # rows expanded and not leased, followers too
    waiting_bytes: int = 0
    open_bytes: int = 0
    expanded: bool = False
    ended: bool = False
    ready: deque[Row] = field(default_factory=deque[Row])
    leaders: dict[bytes, Row] = field(default_factory=dict[bytes, Row])
    kinds: Counter[ErrorKind] = field(default_factory=Counter[ErrorKind])
    first_failure: tuple[ErrorKind, str] | None = None
    failure_words: str = ""  # of the first failure, as they came
    alike: int = 0  # quarantined rows whose failure is the first one over again
    sums: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0, 0])
    unpriced: bool = False
    rate: float = 0.0
    counted: int = 0  # results at the last progress

    @property
    def key(self) -> tuple[str, str]:
        return self.job.scope, self.job.spec.step

    @property
    def endpoint(self) -> str:
        return self.job.spec.endpoint

    @property
    def usage(self) -> Usage:
        calls, tokens_in, tokens_out, cached, reasoning, cost = self.sums
        money = None if self.unpriced else cost
        return Usage(calls, tokens_in, tokens_out, cached, reasoning, money)

    def set_aside(self, kind: ErrorKind, message: str) -> None:
        """A row is quarantined, for the reason in ``message``."""
        self.quarantined += 1
        self.kinds[kind] += 1
        if self.alike < self.quarantined - 1:
            return  # they are not all alike any more: no need to compare
        words = without_ids(message)
        if self.first_failure is None:
            self.first_failure, self.failure_words = (kind, words), message
        self.alike += self.first_failure == (kind, words)

    def spend(self, attempts: list[Attempt]) -> None:
        sums = self.sums
        for attempt in attempts:
            usage = attempt.usage
            sums[0] += usage.calls
            sums[1] += usage.input_tokens
            sums[2] += usage.output_tokens
            sums[3] += usage.cached_tokens
            sums[4] += usage.reasoning_tokens
            if usage.cost_nusd is None:
                self.unpriced = True
            else:
                sums[5] += usage.cost_nusd
