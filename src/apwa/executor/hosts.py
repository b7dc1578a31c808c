"""The local host: workers in the driver's own event loop.

A lease that waits costs its item and a place in a queue. There are as many runners as an
endpoint has slots, and a few for those that wait out a refusal; each takes one lease after the
other. What is finished is told in batches, and again every few seconds until it is
acknowledged. Every message can come twice.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

import msgspec

from apwa.capabilities import Registry
from apwa.models import ChatModel
from apwa.tables import CellReader
from apwa.vocabulary import ErrorKind, LeaseItem, Outcome
from apwa.vocabulary.messages import (
    ALLOTMENT_S,
    ANY,
    Ack,
    CloseStep,
    Described,
    FromHost,
    Grant,
    Heartbeat,
    Lease,
    OpenStep,
    Outcomes,
    Returned,
    Revoke,
    Shutdown,
    ToHost,
)
from apwa.worker import CallLog, Evaluator, Meter, OpenedStep, Toolbox, solve

CAPACITY = 16_384
_FLUSH_S = 0.005
_MOST_OUTCOMES = 256
_HEARTBEAT_S = 1.0
_AGAIN_S = 5.0
_END_S = 2.0  # for calls and tools that are broken off
_REMEMBERED = 16_384  # leases that are over, and known as that when they come again


@dataclass(slots=True, eq=False)
class _Held:
    """A lease on this host: queued, then running, then finished until it is acknowledged."""

    item: LeaseItem
    lane: _Lane
    opened: OpenedStep | None  # None: the step could not be opened, and ``trouble`` says why
    trouble: tuple[ErrorKind, str] | None = None
    leased_at: float = 0.0
    log: CallLog | None = None  # set once it runs
    task: asyncio.Task[None] | None = None
    revoked: bool = False
    outcome: Outcome | None = None
    told_at: float = 0.0


class _Remembered:
    """The last lease ids of a kind."""

    def __init__(self) -> None:
        self._ids: dict[int, None] = {}

    def add(self, lease_ids: Iterable[int]) -> None:
        self._ids.update(dict.fromkeys(lease_ids))
        while len(self._ids) > _REMEMBERED:
            del self._ids[next(iter(self._ids))]

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in self._ids


@dataclass(slots=True, eq=False)
class _Lane:
    """One endpoint: its meter, what waits for it, and its runners."""

    meter: Meter
    waiting: deque[_Held] = field(default_factory=deque["_Held"])
    runners: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])


_Step = tuple[str, str]
_Opening = tuple[str, OpenedStep | None, tuple[ErrorKind, str] | None]


class LocalHost:
    """A Host in this process.

    Args:
        name: The host's name in messages.
        models: Clients by ``WorkSpec.endpoint``; looked at when a step opens, so it may grow.
        registry: The capabilities that steps may be granted.
        checks: Evaluates the checks of contracts.
        profile: The resources it was given.
        node: Where it runs, as the cluster names it.
        place: The same in words.
    """

    def __init__(
        self,
        name: str,
        models: Mapping[str, ChatModel],
        registry: Registry,
        checks: Evaluator,
        *,
        profile: str = ANY,
        node: str = "",
        place: str = "",
    ) -> None:
        self._name = name
        self._profile = profile
        self._node = node
        self._place = place
        self._models = models
        self._registry = registry
        self._checks = checks
        self._toolbox = Toolbox(registry)
        self._cells = CellReader()
        self._reading = asyncio.Lock()  # of cells
        self._steps: dict[_Step, _Opening] = {}
        self._lanes: dict[str, _Lane] = {}
        self._held: dict[int, _Held] = {}
        self._running: dict[int, _Held] = {}  # in the order in which they began
        self._finished: list[_Held] = []
        self._acknowledged = _Remembered()
        self._given_back = _Remembered()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._said: deque[FromHost] = deque()
        self._news = asyncio.Event()
        self._beat: asyncio.Task[None] | None = None
        self._beats: dict[int, float] = {}  # when the last heartbeats were sent
        self._ending: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def name(self) -> str:
        return self._name

    async def start(self) -> None:
        versions = {"apwa": version("apwa"), "python": platform.python_version()}
        names = self._registry.names
        self._beats[0] = time.monotonic()
        where = (self._profile, self._node, self._place)
        self._say(Described(self._name, CAPACITY, names, versions, *where))
        self._beat = asyncio.create_task(self._beating())

    def send(self, message: ToHost) -> None:
        if self._ending is not None:
            return
        match message:
            case Lease():
                self._lease(message)
            case Ack():
                self._forget(message.lease_ids)
            case Grant():
                lane = self._lane(message.endpoint)
                # of a heartbeat that is forgotten: what it allotted has lapsed
                lane.meter.grant(message, self._beats.get(message.beat, 0.0) + ALLOTMENT_S)
                self._run(lane)
            case Revoke():
                self._revoke(message)
            case OpenStep():
                self._open(message)
            case CloseStep():
                self._steps.pop((message.scope, message.step), None)
            case Shutdown():
                self._end()

    async def messages(self) -> AsyncIterator[FromHost]:
        while True:
            while self._said:
                yield self._said.popleft()
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    async def stop(self) -> None:
        await self._end()
        await self._toolbox.stop()

    # ---- steps and leases

    def _open(self, message: OpenStep) -> None:
        spec = message.spec
        opened: OpenedStep | None = None
        trouble: tuple[ErrorKind, str] | None = None
        model = self._models.get(spec.endpoint)
        if model is None:
            trouble = ErrorKind.MODEL_MISSING, f"this host knows no endpoint {spec.endpoint}"
        else:
            try:
                opened = OpenedStep(spec, model, self._toolbox, self._checks)
            except Exception as error:  # every lease of the step will hear of it
                trouble = ErrorKind.INTERNAL, f"step {spec.step} does not open: {error}"
        self._steps[message.scope, spec.step] = (spec.endpoint, opened, trouble)

    def _lease(self, message: Lease) -> None:
        opening = self._steps.get((message.scope, message.step))
        if opening is None:
            self._say(Returned([item.lease_id for item in message.items]))
            return
        endpoint, opened, trouble = opening
        lane = self._lane(endpoint)
        now = time.monotonic()
        given_back: list[int] = []
        for item in message.items:
            if item.lease_id in self._given_back:  # sent again before the driver heard of that
                given_back.append(item.lease_id)
                continue
            if item.lease_id in self._held or item.lease_id in self._acknowledged:
                self._tell_again(item.lease_id)
                continue
            held = _Held(item, lane, opened, trouble, now)
            self._held[item.lease_id] = held
            if trouble is None:
                lane.waiting.append(held)
            else:
                kind, words = trouble
                self._finish(held, _failed(item, kind, words))
        if given_back:
            self._say(Returned(given_back))
        self._run(lane)

    def _tell_again(self, lease_id: int) -> None:
        held = self._held.get(lease_id)
        if held is not None and held.outcome is not None:
            self._finished.append(held)
            self._flush_soon()

    def _revoke(self, message: Revoke) -> None:
        given_back: list[int] = []
        for lease_id in message.lease_ids:
            held = self._held.get(lease_id)
            if held is None:
                given_back.append(lease_id)
                continue
            begun = held.log is not None and held.log.begun
            if held.outcome is not None or (begun and not message.begun):
                continue  # its outcome is on its way
            del self._held[lease_id]
            held.revoked = True
            if held.task is not None:
                held.task.cancel()
            given_back.append(lease_id)
        if given_back:
            self._given_back.add(given_back)
            self._say(Returned(given_back))

    def _forget(self, lease_ids: list[int]) -> None:
        self._acknowledged.add(i for i in lease_ids if self._held.pop(i, None) is not None)

    # ---- runners

    def _lane(self, endpoint: str) -> _Lane:
        lane = self._lanes.get(endpoint)
        if lane is None:
            meter = Meter(endpoint, self._say, lambda: self._run(self._lanes[endpoint]))
            lane = self._lanes[endpoint] = _Lane(meter)
        return lane

    def _run(self, lane: _Lane) -> None:
        """Have enough runners to use all slots, as far as there is work for them."""
        if self._ending is not None:
            return
        missing = min(lane.meter.workers - len(lane.runners), len(lane.waiting))
        for _ in range(missing):
            runner = asyncio.create_task(self._runner(lane))
            lane.runners.add(runner)
            runner.add_done_callback(lane.runners.discard)
            runner.add_done_callback(lambda _: self._run(lane))

    async def _runner(self, lane: _Lane) -> None:
        """Work one lease after the other until there is none, or one runner too many."""
        me = asyncio.current_task()
        assert me is not None
        while lane.waiting and len(lane.runners) <= lane.meter.workers:
            held = lane.waiting.popleft()
            if held.revoked:
                continue
            held.task = me
            held.log = CallLog()
            self._running[held.item.lease_id] = held
            try:
                self._finish(held, await self._work(held))
            except asyncio.CancelledError:
                if not held.revoked:
                    raise
                me.uncancel()
            except Exception as error:  # a lease that nobody answers would be open for ever
                self._finish(held, _failed(held.item, ErrorKind.INTERNAL, repr(error)))
            finally:
                held.task = None
                del self._running[held.item.lease_id]

    async def _work(self, held: _Held) -> Outcome:
        assert held.opened is not None and held.log is not None
        item = held.item
        if item.cells:
            try:
                async with self._reading:
                    values = await asyncio.to_thread(self._cells.filled, item.values, item.cells)
            except Exception as error:  # whatever pyarrow makes of a file that is another by now
                return _failed(item, ErrorKind.INTERNAL, f"a cell cannot be read here: {error}")
            item = msgspec.structs.replace(item, values=values, cells=[])
        return await solve(item, held.opened, held.lane.meter, held.log)

    def _finish(self, held: _Held, outcome: Outcome) -> None:
        if held.revoked:
            return
        held.outcome = outcome
        self._finished.append(held)
        if len(self._finished) >= _MOST_OUTCOMES:
            self._flush()
        else:
            self._flush_soon()

    # ---- what the driver hears

    def _say(self, message: FromHost) -> None:
        self._said.append(message)
        self._news.set()

    def _flush_soon(self) -> None:
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        """Tell what calls drew, then what came of them."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        for lane in self._lanes.values():
            settled = lane.meter.settled()
            if settled is not None:
                self._say(settled)
        if self._finished:
            now = time.monotonic()
            outcomes: list[Outcome] = []
            for held in self._finished:
                if held.outcome is not None:
                    held.told_at = now
                    outcomes.append(held.outcome)
            self._finished.clear()
            self._say(Outcomes(outcomes))

    async def _beating(self) -> None:
        reminded = time.monotonic()
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            now = time.monotonic()
            self._flush()
            if now - reminded >= _AGAIN_S:
                reminded = now
                self._remind(now)
            self._say(self._heartbeat(now))

    def _heartbeat(self, now: float) -> Heartbeat:
        number = max(self._beats) + 1
        self._beats[number] = now
        self._beats = {n: at for n, at in self._beats.items() if at > now - ALLOTMENT_S}
        meters = {name: lane.meter for name, lane in self._lanes.items()}
        oldest = next(iter(self._running.values()), None)
        return Heartbeat(
            len(self._held),
            sum(meter.in_flight for meter in meters.values()),
            0.0 if oldest is None else now - oldest.leased_at,
            -1 if oldest is None else oldest.item.ordinal,
            number,
            {name: (meter.taken, meter.in_flight) for name, meter in meters.items()},
        )

    def _remind(self, now: float) -> None:
        """Tell again what the driver has not acknowledged, or not answered."""
        for held in self._held.values():
            if held.outcome is not None and 0 < held.told_at <= now - _AGAIN_S:
                self._finished.append(held)
        if self._finished:
            self._flush()
        for lane in self._lanes.values():
            lane.meter.remind()

    def _end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = asyncio.create_task(self._wind_up(), name=f"end of {self._name}")
        return self._ending

    async def _wind_up(self) -> None:
        """Break calls off, and tell what they have drawn before the last word is said."""
        runners: list[asyncio.Task[None]] = []
        for lane in self._lanes.values():
            lane.waiting.clear()
            runners += lane.runners
        tasks = [*runners, *([self._beat] if self._beat is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_S)
        self._flush()
        for lane in self._lanes.values():
            lane.meter.close()
        self._ended = True
        self._news.set()


def _failed(item: LeaseItem, kind: ErrorKind, message: str) -> Outcome:
    return Outcome(
        item.lease_id, item.ordinal, item.generation, item.reuse_key, kind, message=message
    )
