"""A journal in memory and a host whose endpoint is a function: what the executor is held to."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import pytest
from pyroaring import BitMap

from apwa.executor import Executor, StepJob, Work
from apwa.journal.seam import Block, StoredResult
from apwa.vocabulary import (
    Attempt,
    Caps,
    ContractSpec,
    ErrorKind,
    LeaseItem,
    Outcome,
    Usage,
    WorkLimits,
    WorkSpec,
)
from apwa.vocabulary.events import Event
from apwa.vocabulary.messages import (
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
    Shutdown,
    ToHost,
)

CALL = Usage(1, 10, 5, cost_nusd=100)  # what a call takes
BOUND = (1, 30, 300)  # the most that it may take


class MemoryJournal:
    """The seam's promises, in memory: first writer wins, open blocks count whole."""

    epoch = 1

    def __init__(self) -> None:
        self.results: dict[tuple[str, str, int, int], StoredResult] = {}
        self.second: list[StoredResult] = []
        self.books: dict[int, Block] = {}
        self.recorded: list[dict[str, Usage]] = []  # each a transaction
        self.batches: list[int] = []
        self.reader = self
        self.most_held = 0

    async def append(self, results: Sequence[StoredResult]) -> list[bool]:
        await asyncio.sleep(0)
        self.batches.append(len(results))
        first: list[bool] = []
        for result in results:
            key = (result.scope, result.step, result.ordinal, result.generation)
            first.append(key not in self.results)
            if first[-1]:
                self.results[key] = result
            else:
                self.second.append(result)
        return first

    async def open_block(self, holder: str, limit: Usage) -> int:
        await asyncio.sleep(0)
        number = len(self.books) + 1
        self.books[number] = Block(number, holder, limit)
        self.most_held = max(self.most_held, self.spent().calls)
        return number

    async def close_block(self, block: int, spent: Usage) -> None:
        assert self.books[block].spent is None, "closed once"
        self.books[block] = Block(block, self.books[block].holder, self.books[block].limit, spent)

    async def add_spent(self, spent: Mapping[str, Usage]) -> None:
        await asyncio.sleep(0)
        self.recorded.append(dict(spent))

    def spent(self) -> Usage:
        total = Usage()
        for spent in self.recorded:
            for usage in spent.values():
                total += usage
        for block in self.books.values():
            total += block.limit if block.spent is None else block.spent
        return total

    def kinds(self) -> Counter[str]:
        return Counter("done" if r.kind is None else r.kind.value for r in self.results.values())


Answer = Callable[[LeaseItem, int], ErrorKind | None]
"""How the endpoint answers a row, given how many calls it has had for it."""


class FakeHost:
    """Works leases a batch at a time, ``slots`` at once, paying from its grants."""

    def __init__(self, answer: Answer, latency_s: float = 0.001, name: str = "fake") -> None:
        self.name = name
        self.answer = answer
        self.latency_s = latency_s
        self.sent: list[ToHost] = []
        self.calls: Counter[int] = Counter()
        self.most_at_once = 0
        self.real = Usage()
        self.begun = False
        self._out: asyncio.Queue[FromHost | None] = asyncio.Queue()
        self._waiting: deque[LeaseItem] = deque()
        self._seen: set[int] = set()
        self._unacked: dict[int, Outcome] = {}
        self._slots = 0
        self._held: list[int | None] = [0, 0, 0]
        self._hungry = False
        self._endpoint = ""
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        self._out.put_nowait(Described(self.name, 4096, [], {}))
        self._task = asyncio.create_task(self._work())

    def send(self, message: ToHost) -> None:
        self.sent.append(message)
        match message:
            case Lease(items=items):
                # a lease may be sent again to a host that seems not to know it
                self._waiting.extend(i for i in items if i.lease_id not in self._seen)
                self._seen.update(item.lease_id for item in items)
            case Grant(endpoint=endpoint, slots=slots):
                self._slots, self._endpoint, self._hungry = slots, endpoint, False
                for n, more in enumerate((message.calls, message.tokens, message.cost_nusd)):
                    held = self._held[n]
                    self._held[n] = None if more is None else (held or 0) + more
            case Revoke(lease_ids=ids):
                gone = set(ids)
                back = [item.lease_id for item in self._waiting if item.lease_id in gone]
                self._waiting = deque(i for i in self._waiting if i.lease_id not in gone)
                self._out.put_nowait(Returned(back))
            case Ack(lease_ids=ids):
                for lease_id in ids:
                    self._unacked.pop(lease_id, None)
            case Shutdown():
                self._out.put_nowait(None)
            case _:
                pass
        self._wake.set()

    async def messages(self) -> AsyncIterator[FromHost]:
        while (message := await self._out.get()) is not None:
            yield message

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def say(self, message: FromHost) -> None:
        self._out.put_nowait(message)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and (batch := self._take()):
                await self._call(batch)

    def _take(self) -> list[LeaseItem]:
        batch: list[LeaseItem] = []
        while self._waiting and len(batch) < self._slots:
            poor = [n for n, held in enumerate(self._held) if held is not None and held < BOUND[n]]
            if poor:
                if not self._hungry and not batch:
                    self._hungry = True
                    self.say(Hungry(self._endpoint, *BOUND))
                break
            self._held = [h if h is None else h - BOUND[n] for n, h in enumerate(self._held)]
            batch.append(self._waiting.popleft())
        return batch

    async def _call(self, batch: list[LeaseItem]) -> None:
        self.begun = True
        self.most_at_once = max(self.most_at_once, len(batch))
        await asyncio.sleep(self.latency_s)
        outcomes: list[Outcome] = []
        samples: list[PaceSample] = []
        for item in batch:
            self.calls[item.ordinal] += 1
            kind = self.answer(item, self.calls[item.ordinal])
            attempt = Attempt("c", "m", kind, CALL, self.latency_s)
            message = "" if kind is None else f"it was {kind.value}"
            outcome = Outcome(
                item.lease_id, item.ordinal, item.generation, item.reuse_key, kind,
                b'{"a":1}' if kind is None else b"", "", message, [attempt], self.latency_s,
            )  # fmt: skip
            self._unacked[item.lease_id] = outcome
            outcomes.append(outcome)
            samples.append(PaceSample(kind, self.latency_s))
            self.real += CALL
        spent = (1, CALL.tokens, CALL.cost_nusd or 0)
        self._held = [
            h if h is None else h + len(batch) * (BOUND[n] - spent[n])
            for n, h in enumerate(self._held)
        ]
        self.say(Outcomes(outcomes))
        self.say(Settled(self._endpoint, *(len(batch) * n for n in spent)))
        self.say(Pace(self._endpoint, samples, 0))
        self.say(Heartbeat(len(self._waiting), 0))


def spec(step: str = "s", endpoint: str = "e", limits: WorkLimits | None = None) -> WorkSpec:
    return WorkSpec(
        step, "Do it.", [], "n", ["a"], ContractSpec({"type": "object"}), endpoint, "m", b"p" * 16,
        limits=limits or WorkLimits(),
    )  # fmt: skip


def work(ordinal: int, key: bytes | None = None, refused: tuple[str, str] | None = None) -> Work:
    return Work(ordinal, 0, key or ordinal.to_bytes(16, "big"), [ordinal], 20, refused)


def job(rows: int | Sequence[Work], step: str = "s", size: int = 100, **changes: object) -> StepJob:
    works = [work(n) for n in range(rows)] if isinstance(rows, int) else list(rows)

    def expand() -> Iterator[list[Work]]:
        for start in range(0, len(works), size):
            yield works[start : start + size]

    limits = changes.pop("limits", None)
    endpoint = str(changes.pop("endpoint", "e"))
    return StepJob(
        scope="run",
        spec=spec(step, endpoint, limits),  # pyright: ignore[reportArgumentType]
        rows=len(works),
        todo=BitMap(w.ordinal for w in works),
        expand=expand(),
        **changes,  # pyright: ignore[reportArgumentType]
    )


class Bench:
    """An executor with a fake host and a journal in memory."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.events: list[Event] = []
        self.executors: list[Executor] = []

    async def executor(
        self,
        *hosts: FakeHost,
        caps: Caps | None = None,
        ceiling: int | None = None,
        max_failures: float = 0.2,
    ) -> Executor:
        executor = Executor(
            hosts, self.journal, caps=caps, ceilings=ceiling, max_failures=max_failures,
            emit=self.events.append, seed=1,
        )  # fmt: skip  # pyright: ignore[reportArgumentType]
        await executor.start()
        self.executors.append(executor)
        return executor


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    for executor in made.executors:
        await executor.close()


def well(item: LeaseItem, call: int) -> ErrorKind | None:
    """An endpoint that answers every row."""
    return None
