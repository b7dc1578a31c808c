"""A simulated host: slots, grants, outcomes repeated until acknowledged; it can crash."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from apwa.executor.budget import Amount
from apwa.simulate.world import BOUND, Clock, Endpoint
from apwa.vocabulary import Attempt, ErrorKind, LeaseItem, Outcome, Usage
from apwa.vocabulary.messages import (
    ALLOTMENT_S,
    Ack,
    Described,
    FromHost,
    Grant,
    Heartbeat,
    Hungry,
    Lease,
    Outcomes,
    Pace,
    PaceSample,
    Returned,
    Revoke,
    Settled,
    ToHost,
)

_AGAIN_S = 5.0
_BEAT_S = 1.0
ENDPOINT = "played"


class SimHost:
    """One incarnation of a host. After a crash there is a new one of the same name."""

    def __init__(
        self, name: str, clock: Clock, endpoint: Endpoint, say: Callable[[SimHost, FromHost], None],
        seed: str,
    ) -> None:  # fmt: skip
        self.name = name
        self.dead = False
        self._clock = clock
        self._endpoint = endpoint
        self._say = say
        self._chance = random.Random(f"host {name} {seed}")
        self._waiting: deque[tuple[str, LeaseItem]] = deque()
        self.running: dict[int, tuple[str, LeaseItem]] = {}
        self._calls = 0  # under way
        self._unacked: dict[int, Outcome] = {}
        self._known: set[int] = set()
        self._slots = 0
        self._granted_last = 0
        self._lapses_at = 0.0
        self._beats: list[float] = []
        self._hold_until = 0.0
        self._held: list[int | None] = [None, None, None]
        self._hungry = False

    def start(self) -> None:
        self._beats.append(self._clock.now)
        self._say(self, Described(self.name, 64, [], {}))
        self._clock.after(_BEAT_S, self._beat)

    @property
    def slots(self) -> int:
        """Calls that it would have at once now."""
        return 0 if self.dead or self._clock.now >= self._lapses_at else self._slots

    @property
    def leases(self) -> int:
        return len(self._waiting) + len(self.running) + len(self._unacked)

    def receive(self, message: ToHost) -> None:
        match message:
            case Lease(step=step, items=items):
                for item in items:
                    if item.lease_id in self._unacked:
                        self._say(self, Outcomes([self._unacked[item.lease_id]]))
                    elif item.lease_id not in self._known:
                        self._known.add(item.lease_id)
                        self._waiting.append((step, item))
            case Grant():
                self._granted(message)
            case Revoke(lease_ids=ids, begun=begun):
                self._revoked(set(ids), begun)
            case Ack(lease_ids=ids):
                for lease_id in ids:
                    self._unacked.pop(lease_id, None)
            case _:
                pass
        self._work()

    def _granted(self, grant: Grant) -> None:
        self._slots, self._hungry = grant.slots, False
        self._granted_last = grant.number
        self._lapses_at = self._beats[grant.beat] + ALLOTMENT_S
        if grant.hold_s > 0:
            self._hold_until = self._clock.now + grant.hold_s
            self._clock.after(grant.hold_s, self._work)
        more = (grant.calls, grant.tokens, grant.cost_nusd)
        self._held = [
            None if m is None else (h or 0) + m for h, m in zip(self._held, more, strict=True)
        ]

    def _revoked(self, ids: set[int], begun: bool) -> None:
        back = [item.lease_id for _, item in self._waiting if item.lease_id in ids]
        self._waiting = deque(w for w in self._waiting if w[1].lease_id not in ids)
        if begun:
            back += [lease_id for lease_id in self.running if lease_id in ids]
            for lease_id in back:
                self.running.pop(lease_id, None)
        # leases that it has never heard of are given back too: their message was lost
        self._known.difference_update(back)
        self._say(self, Returned(back))

    def _work(self) -> None:
        if self.dead or self._clock.now < self._hold_until:
            return
        while self._waiting and max(len(self.running), self._calls) < self.slots:
            if not self._reserve():
                return
            step, item = self._waiting.popleft()
            self.running[item.lease_id] = (step, item)
            self._begin(step, item)

    def _reserve(self) -> bool:
        if any(h is not None and h < b for h, b in zip(self._held, BOUND, strict=True)):
            if not self._hungry:
                self._hungry = True
                self._say(self, Hungry(ENDPOINT, *BOUND))
            return False
        self._held = [h if h is None else h - b for h, b in zip(self._held, BOUND, strict=True)]
        return True

    def _begin(self, step: str, item: LeaseItem) -> None:
        self._calls += 1
        kind, amount = self._endpoint.call(step, item.ordinal, item.reuse_key)
        latency = self._endpoint.latency_s()
        self._clock.after(latency, lambda: self._end(step, item, kind, amount, latency))

    def _end(
        self, step: str, item: LeaseItem, kind: ErrorKind | None, amount: Amount, latency: float
    ) -> None:
        if self.dead:
            return
        self._calls -= 1
        self._held = [
            h if h is None else h + b - a for h, b, a in zip(self._held, BOUND, amount, strict=True)
        ]
        self._say(self, Settled(ENDPOINT, *amount))
        retry_after = 2.0 if kind is ErrorKind.RATE_LIMITED else None
        sample = PaceSample(kind, latency, retry_after)
        self._say(self, Pace(ENDPOINT, [sample], self._calls))
        if item.lease_id in self.running:
            if kind is ErrorKind.RATE_LIMITED:
                self._clock.after(2.0, lambda: self._retry(step, item))
                return
            del self.running[item.lease_id]
            usage = Usage(1, amount.tokens, 0, cost_nusd=amount.cost_nusd)
            outcome = Outcome(
                item.lease_id, item.ordinal, item.generation, item.reuse_key, kind,
                item.reuse_key if kind is None else b"", "", "",
                [Attempt("c", "m", kind, usage, latency)],
            )  # fmt: skip
            self._unacked[item.lease_id] = outcome
            self._say(self, Outcomes([outcome]))
            self._clock.after(_AGAIN_S, lambda: self._repeat(item.lease_id))
        self._work()

    def _retry(self, step: str, item: LeaseItem) -> None:
        """A rate-limited call waits in place, and for budget too."""
        if self.dead or item.lease_id not in self.running:
            return
        if self._calls < self.slots and self._reserve():
            self._begin(step, item)
        else:
            self._clock.after(0.5, lambda: self._retry(step, item))

    def _repeat(self, lease_id: int) -> None:
        if not self.dead and lease_id in self._unacked:
            self._say(self, Outcomes([self._unacked[lease_id]]))
            self._clock.after(_AGAIN_S, lambda: self._repeat(lease_id))

    def _beat(self) -> None:
        if not self.dead:
            self._beats.append(self._clock.now)
            granted = {ENDPOINT: (self._granted_last, self._calls)}
            number = len(self._beats) - 1
            self._say(self, Heartbeat(self.leases, self._calls, number=number, granted=granted))
            self._clock.after(_BEAT_S, self._beat)
