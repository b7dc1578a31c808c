"""The shell: drives the core for real, with hosts, a journal and a clock.

It decides nothing. Messages, expanded rows, commits and ticks go into the core; its
instructions are carried out in order: sends at once, budget blocks by one task, results by
another, which commits whatever has arrived since its last transaction. There is no task and no
timer per row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

from apwa.executor.core import Core, Demand
from apwa.executor.instructions import CloseBlock, OpenBlock, Say, Send
from apwa.executor.rows import StepState
from apwa.executor.seam import Host, StepEnd, StepJob, Work
from apwa.journal.seam import Journal
from apwa.vocabulary import Caps, ErrorKind, Paused, Usage
from apwa.vocabulary.control import ChangeLimits
from apwa.vocabulary.events import Event
from apwa.vocabulary.messages import Gone, Shutdown, ToHost

_TICK_S = 0.1
_COMMIT_MOST = 2048  # results in one transaction
_SUPPLY_PIECE = 512  # rows taken in at once, so that a large batch does not stop the loop
_SETTLE_S = 5.0  # how long a step's end waits for its last calls to be settled
_SETTLE_LOOKS = 100
_SHUTDOWN_S = 3.0


class Executor:
    """Works steps on hosts, and keeps pace, budget and counts. One for each run.

    Args:
        hosts: Where workers run.
        journal: Where results and budget blocks are committed.
        caps: Hard limits of all spending; None for none.
        ceilings: Most calls at once to one endpoint; None leaves it to the gate.
        max_failures: Share of quarantined rows (after 50 results) that pauses the run.
        emit: Takes events; must not block.
        seed: Of all that is left to chance.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        journal: Journal,
        *,
        caps: Caps | None,
        ceilings: int | None,
        max_failures: float,
        emit: Callable[[Event], None],
        seed: int,
    ) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._journal = journal
        self._emit = emit
        self._core = Core(
            caps=caps,
            spent=journal.reader.spent(),
            ceiling=ceilings,
            max_failures=max_failures,
            seed=seed,
            epoch=journal.epoch,
        )
        self._ends: dict[StepState, asyncio.Future[None]] = {}
        self._room: dict[StepState, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._books: asyncio.Queue[OpenBlock | CloseBlock] = asyncio.Queue()
        self._bookkeeper: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._trouble: BaseException | None = None

    async def start(self) -> None:
        """Start the hosts and what listens to them."""
        for host in list(self._hosts.values()):
            await self.add(host)
        self._tasks.append(self.task(self._commit(), "commits"))
        self._bookkeeper = self.task(self._keep_books(), "budget blocks")
        self._tasks.append(self._bookkeeper)
        self._tasks.append(self.task(self._tick(), "executor ticks"))

    async def add(self, host: Host) -> None:
        """Start a host and give it work once it has said what it is."""
        self._hosts[host.name] = host
        await host.start()
        self._pumps[host.name] = self.task(self._pump(host), f"host {host.name}")

    def retire(self, name: str) -> None:
        """Let a host finish what it has begun, and end it."""
        self._core.retire(name, _now())
        self._drive()

    def host_names(self) -> dict[str, bool]:
        """All hosts that have not ended, and whether each has said what it is."""
        known = self._core.hosts
        return {name: name in known and not known[name].gone for name in self._hosts}

    def node_of(self, host: str) -> str:
        """The node of a host, as it has said itself; empty if nobody knows."""
        state = self._core.hosts.get(host)
        return "" if state is None else state.node

    def sick_nodes(self) -> set[str]:
        """The nodes on which hosts have lately failed, or could not begin."""
        return self._core.sick_nodes(_now())

    def frozen(self) -> list[str]:
        """Hosts that have been silent for long: they hold places in which others could work."""
        return self._core.frozen(_now())

    async def end(self, name: str, words: str) -> None:
        """End a host at once, whatever it holds, for the reason in ``words``."""
        self._core.message(name, Gone(words), _now())
        self._drive()
        if (host := self._hosts.pop(name, None)) is not None:
            await host.stop()

    def demands(self) -> dict[str, Demand]:
        """What open steps could use of hosts, by profile."""
        return self._core.demands()

    @property
    def working(self) -> bool:
        """Whether any step is open."""
        return self._core.working

    async def run_step(self, job: StepJob) -> StepEnd:
        """Work one step to its end, or to the run's pause. Steps may run side by side.

        Raises what the expansion or the journal raises.
        """
        core = self._core
        if self._trouble is not None:
            raise self._trouble
        if core.paused or not job.todo:
            return StepEnd(job.done, job.quarantined, len(job.todo), Usage(), core.paused)
        step = core.open_step(job, _now())
        self._ends[step] = asyncio.get_running_loop().create_future()
        self._room[step] = asyncio.Event()
        self._drive()
        supply = asyncio.create_task(self._supply(step), name=f"expand {job.spec.step}")
        try:
            await self._ends[step]
            if not core.paused:
                await supply  # it has ended; raises what the expansion raised
        finally:
            supply.cancel()
            core.close_step(step)
            self._drive()
            del self._ends[step], self._room[step]
        await self._settle(step.endpoint)
        skipped = len(job.todo) - step.done - step.quarantined
        return StepEnd(
            job.done + step.done,
            job.quarantined + step.quarantined,
            skipped,
            step.usage,
            core.paused if skipped else "",
        )

    def stop(self, reason: str, now: bool = False) -> None:
        """Pause: finish what is in flight and commit it; with ``now`` call it back instead."""
        self._core.stop(reason, _now(), at_once=now)
        self._drive()

    def change_limits(self, limits: ChangeLimits) -> None:
        """New caps, ceilings or failure limit from now on."""
        self._core.change_limits(limits, _now())
        self._drive()

    @asynccontextmanager
    async def reserve(self, holder: str, bound: Usage) -> AsyncGenerator[Callable[[Usage], None]]:
        """Reserve what one call outside of any step may take at most, and settle it.

        Gives a function to be called with what the call took; if it is not called, all of the
        bound counts as spent. Raises Paused if a cap cannot pay the call.
        """
        core = self._core
        if core.paused:
            raise Paused(core.paused)
        claimed = core.books.budget.claim(bound)
        if claimed is None:
            core.allotment.reclaim(trusting=True)
            self._drive()
            claimed = core.books.budget.claim(bound)
        if claimed is None:
            raise Paused(
                "budget: what is left of the cap does not pay another call",
                holder,
                ErrorKind.BUDGET.remedy,
            )
        spent = bound

        def settle(usage: Usage) -> None:
            nonlocal spent
            spent = usage

        try:
            block = await self._journal.open_block(holder, bound)
            try:
                yield settle
            finally:
                await self._journal.close_block(block, spent)
        finally:
            core.books.budget.release(claimed, spent)

    async def close(self) -> None:
        """Stop the hosts, close the books. Safe to call twice and after a failure."""
        if self._tasks:
            self.stop("the run has ended")
            for name in self._hosts:
                self._send(name, Shutdown())
            # those that have said nothing yet are not waited for
            begun = [self._pumps[name] for name, there in self.host_names().items() if there]
            if begun:
                await asyncio.wait(begun, timeout=_SHUTDOWN_S)
            ended = {name for name, pump in self._pumps.items() if pump.done()}
            await asyncio.gather(*(host.stop() for host in self._hosts.values()))
            for pump in self._pumps.values():
                pump.cancel()
            self._core.allotment.end_books(ended)
            self._drive()
            await self._books_kept()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._pumps.values(), return_exceptions=True)
        self._tasks.clear()
        self._pumps.clear()

    # ---- carrying out

    def _drive(self) -> None:
        core = self._core
        for instruction in core.take():
            match instruction:
                case Send(host=name, message=message):
                    self._send(name, message)
                case OpenBlock() | CloseBlock():
                    self._books.put_nowait(instruction)
                case Say(event=event):
                    self._emit(event)
        if core.scheduler.finished:
            self._arrived.set()
        for step, end in self._ends.items():
            if not end.done() and core.ended(step):
                end.set_result(None)
            if core.scheduler.has_room(step) or core.paused:
                self._room[step].set()

    def _send(self, name: str, message: ToHost) -> None:
        host = self._hosts.get(name)
        if host is not None:
            host.send(message)

    async def _pump(self, host: Host) -> None:
        async for message in host.messages():
            self._core.message(host.name, message, _now())
            self._drive()
        if self._tasks and self._hosts.pop(host.name, None) is not None:
            await host.stop()  # it has ended by itself

    async def _tick(self) -> None:
        while True:
            self._core.tick(_now(), time.time())
            self._drive()
            await asyncio.sleep(_TICK_S)

    async def _commit(self) -> None:
        scheduler = self._core.scheduler
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            finished = scheduler.take_finished()
            for start in range(0, len(finished), _COMMIT_MOST):
                batch = finished[start : start + _COMMIT_MOST]
                await self._journal.append([f.result for f in batch])
                self._core.committed(batch, _now())
                self._drive()

    async def _keep_books(self) -> None:
        """Write the books in order: what is opened may have become free by what was closed."""
        while True:
            waiting = [await self._books.get()]
            while not self._books.empty():
                waiting.append(self._books.get_nowait())
            for has_block, some in groupby(waiting, _has_block):
                if has_block:
                    for instruction in some:
                        await self._keep_block(instruction)
                else:
                    await self._record(some)
            for _ in waiting:
                self._books.task_done()

    async def _keep_block(self, instruction: OpenBlock | CloseBlock) -> None:
        if isinstance(instruction, CloseBlock):
            block, spent = instruction.closing.block, instruction.closing.spent
            assert block is not None
            await self._journal.close_block(block, spent)
            return
        calls, tokens, cost = instruction.limit
        limit = Usage(calls, tokens, cost_nusd=cost)
        block = await self._journal.open_block(instruction.holder, limit)
        self._core.block_opened(instruction.holder, block, instruction.limit)
        self._drive()

    async def _record(self, some: Iterable[OpenBlock | CloseBlock]) -> None:
        """Write spending without blocks, of all holders at once: it comes every second."""
        spent: dict[str, Usage] = {}
        for instruction in some:
            if isinstance(instruction, CloseBlock):
                holder = instruction.closing.holder
                spent[holder] = spent.get(holder, Usage()) + instruction.closing.spent
        await self._journal.add_spent(spent)

    async def _supply(self, step: StepState) -> None:
        """Expand in a thread, as long as there is room for rows."""
        expansion = step.job.expand
        room = self._room[step]
        try:
            while not self._core.paused:
                batch = await asyncio.to_thread(_next, expansion)
                if batch is None:
                    break
                for start in range(0, len(batch), _SUPPLY_PIECE):
                    if not self._core.scheduler.has_room(step):
                        room.clear()
                        await room.wait()
                    if self._core.paused:
                        return
                    piece = batch[start : start + _SUPPLY_PIECE]
                    self._core.supply(step, piece, _now())
                    self._drive()
        finally:
            step.expanded = True
            self._drive()

    async def _settle(self, endpoint: str) -> None:
        """Wait for the last settlements of an endpoint nobody uses, then close its blocks."""
        core = self._core
        for _ in range(_SETTLE_LOOKS):
            if not core.idle(endpoint) or core.books.all_settled(endpoint):
                break
            await asyncio.sleep(_SETTLE_S / _SETTLE_LOOKS)
        core.allotment.reclaim(trusting=True)
        core.books.record()
        self._drive()
        await self._books_kept()
        if self._trouble is not None:
            raise self._trouble

    async def _books_kept(self) -> None:
        """Until the books are written, or never will be because the journal cannot be."""
        if self._bookkeeper is None:
            return
        kept = asyncio.ensure_future(self._books.join())
        await asyncio.wait([kept, self._bookkeeper], return_when=asyncio.FIRST_COMPLETED)
        kept.cancel()

    # ---- trouble

    def task(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Begin a task of which a failure is the executor's own: every step ends with it."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._trouble = self._trouble or error
        for end in self._ends.values():
            if not end.done():
                end.set_exception(error)


def _has_block(instruction: OpenBlock | CloseBlock) -> bool:
    return isinstance(instruction, OpenBlock) or instruction.closing.block is not None


def _next(expansion: Iterator[list[Work]]) -> list[Work] | None:
    return next(expansion, None)


def _now() -> float:
    return time.monotonic()
