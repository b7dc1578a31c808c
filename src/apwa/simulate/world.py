"""The world of a simulated run: virtual time, a journal, an endpoint."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence

from apwa.executor.budget import Amount
from apwa.journal.seam import StoredResult
from apwa.simulate.faults import FaultPlan
from apwa.vocabulary import ErrorKind, Usage

BOUND = Amount(1, 30, 300)  # the most that a call may take


class Clock:
    """Virtual time: things happen in order, and nothing happens in between."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (max(when, self.now), self._number, what))

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        self.at(self.now + delay_s, what)

    def step(self) -> None:
        self.now, _, what = heapq.heappop(self._heap)
        what()


class MemoryJournal:
    """Keeps what a real journal would have on disk: it outlives drivers."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, int, int], StoredResult] = {}
        self.doubles = 0  # results that were not the first of their key
        self.blocks: dict[int, tuple[Usage, Usage | None]] = {}

    def append(self, results: Sequence[StoredResult]) -> None:
        for result in results:
            key = (result.step, result.ordinal, result.generation)
            if key in self.results:
                self.doubles += 1
            else:
                self.results[key] = result

    def open_block(self, limit: Usage) -> int:
        number = len(self.blocks) + 1
        self.blocks[number] = (limit, None)
        return number

    def close_block(self, block: int, spent: Usage) -> None:
        limit, before = self.blocks[block]
        assert before is None, "a block is closed once"
        self.blocks[block] = (limit, spent)

    def spent(self) -> Usage:
        total = Usage()
        for limit, spent in self.blocks.values():
            total += limit if spent is None else spent
        return total


class Endpoint:
    """Answers calls, and counts what they really cost, whoever hears of it."""

    def __init__(self, plan: FaultPlan, seed: int, clock: Clock) -> None:
        self._plan = plan
        self._chance = random.Random(f"endpoint {seed}")
        self._clock = clock
        self.real = Amount()
        self.answered = 0  # calls that brought an outcome, good or bad
        self.failed = 0  # of those, bad ones
        self.begun: Counter[tuple[str, int]] = Counter()
        self.key_refused = False

    def latency_s(self) -> float:
        return self._chance.choice([0.02, 0.2, 0.2, 1.0])

    def call(self, step: str, ordinal: int, request: bytes) -> tuple[ErrorKind | None, Amount]:
        """What becomes of a call, and what it takes: at most its bound, from its begin on."""
        plan, chance, now = self._plan, self._chance, self._clock.now
        if self.key_refused:
            return ErrorKind.ACCOUNT, self._spend(Amount(1, 0, 0))
        if any(at <= now < at + for_s for at, for_s in plan.storms) and chance.random() < 0.9:
            return ErrorKind.RATE_LIMITED, self._spend(Amount(1, 0, 0))
        tokens = chance.randint(5, BOUND.tokens)
        amount = self._spend(Amount(1, tokens, tokens * 10))
        self.begun[step, ordinal] += 1
        self.answered += 1
        bad = random.Random(f"{step} {request.hex()}").random() < plan.bad_rows
        if bad or chance.random() < plan.flaky:
            self.failed += 1
            return ErrorKind.CONTRACT, amount
        return None, amount

    def _spend(self, amount: Amount) -> Amount:
        self.real = self.real.plus(amount)
        return amount
