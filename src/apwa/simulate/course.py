"""One simulated run: drivers come and go, the journal stays, invariants hold at every moment."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pyroaring import BitMap

from apwa.executor import CloseBlock, Core, Finished, OpenBlock, Say, Send, StepJob, StepState, Work
from apwa.simulate.faults import FaultPlan, fault_plan
from apwa.simulate.hosts import ENDPOINT, SimHost
from apwa.simulate.world import Clock, Endpoint, MemoryJournal
from apwa.vocabulary import ContractSpec, ErrorKind, Usage, WorkSpec
from apwa.vocabulary.events import HostChanged
from apwa.vocabulary.messages import (
    Ack,
    Described,
    FromHost,
    Gone,
    Heartbeat,
    Lease,
    Outcomes,
    Returned,
    Revoke,
    ToHost,
)

_TICK_S = 0.25
_LIMIT_S = 3000.0  # of virtual time: a course that takes longer hangs
# What may be lost or doubled. The rest goes over a connection that delivers in order or breaks.
_LOSSY = (Ack, Heartbeat, Lease, Outcomes, Returned, Revoke)


class Broken(AssertionError):
    """An invariant does not hold; the words name it, the seed and the moment."""


@dataclass(slots=True)
class Report:
    """What came of a course."""

    seed: int
    ended: str  # "done" or why it stayed paused
    results: int
    rows: int
    virtual_s: float
    drivers: int
    kinds: Counter[str] = field(default_factory=Counter[str])


class Course:
    """Plays one seed to its end."""

    def __init__(self, seed: int, plan: FaultPlan | None = None) -> None:
        self.seed = seed
        self.plan = plan or fault_plan(seed)
        self.clock = Clock()
        self.journal = MemoryJournal()
        self.endpoint = Endpoint(self.plan, seed, self.clock)
        self.excused = 0  # calls that crashes may have made for nothing
        self._chance = random.Random(f"course {seed}")
        self._hosts: dict[str, SimHost] = {}
        self._met: dict[str, SimHost] = {}  # those of which the driver has heard
        self._given_up: list[SimHost] = []
        self._most_slots = 0
        self._cut_off: dict[str, float] = {}
        self._fifo: dict[tuple[str, str], float] = {}
        self._core: Core | None = None
        self._epoch = 0
        self._work: dict[StepState, list[Work]] = {}
        self._committing = False
        self._stories = 0

    # ---- the course

    def play(self) -> Report:
        """Raises Broken."""
        plan, at = self.plan, self.clock.at
        for when in plan.host_crashes:
            at(when, self._crash_host)
        for when in plan.ends:
            at(when, lambda: self._end_host(alone=True))
        for when in plan.given_up:
            at(when, lambda: self._end_host(alone=False))
        for when, for_s in plan.silences:
            at(when, lambda for_s=for_s: self._cut_off_host(for_s))
        for when in plan.driver_crashes:
            at(when, self._crash_driver)
        if plan.account_at is not None:
            at(plan.account_at, lambda: setattr(self.endpoint, "key_refused", True))
        self._start_driver()
        events = 0
        while (ended := self._ended()) is None:
            self.clock.step()
            events += 1
            self._check(thorough=events % 16 == 0)
            if self.clock.now > _LIMIT_S:
                self._broken("it hangs")
        self._check(thorough=True)
        self._check_end(ended)
        kinds = Counter(
            "done" if r.kind is None else r.kind.value for r in self.journal.results.values()
        )
        rows = plan.steps * plan.rows
        return Report(
            self.seed, ended, len(self.journal.results), rows, self.clock.now, self._epoch, kinds
        )

    def _ended(self) -> str | None:
        core = self._core
        if core is None or core.working or self._work:
            return None
        if core.paused:
            if "account" in core.paused:  # a person mends it and resumes
                self.endpoint.key_refused = False
                self._crash_driver()
                return None
            return core.paused
        return "done"

    # ---- the driver

    def _start_driver(self) -> None:
        self._epoch += 1
        core = self._core = Core(
            caps=self.plan.caps,
            spent=self.journal.spent(),
            ceiling=None,
            max_failures=1.0,
            seed=self.seed,
            epoch=self._epoch,
        )
        self._committing = False
        self._most_slots = 0
        self._fifo.clear()
        for n in range(self.plan.hosts):
            self._start_host(f"h{n}")
        self._work = {}
        for n in range(self.plan.steps):
            name = f"s{n}"
            have = {o for (step, o, _) in self.journal.results if step == name}
            todo = BitMap(o for o in range(self.plan.rows) if o not in have)
            if todo:
                job = StepJob("run", _spec(name), self.plan.rows, todo, iter(()), share=n == 0)
                self._work[core.open_step(job, self.clock.now)] = [_work(o, name) for o in todo]
        self._drive(core)
        self._tick(core)

    def _crash_driver(self) -> None:
        core = self._core
        if core is None:
            return
        finishing = sum(s.finishing for s in core.scheduler.steps.values())
        self.excused += len(core.scheduler.leases) + finishing
        self.excused += sum(len(host.running) for host in self._hosts.values())
        for host in [*self._hosts.values(), *self._given_up]:
            host.dead = True
        self._given_up.clear()
        self._core, self._work = None, {}
        self.clock.after(1.0, self._start_driver)

    def _tick(self, core: Core) -> None:
        if core is not self._core:
            return
        for step, work in list(self._work.items()):
            if work and core.scheduler.has_room(step):
                core.supply(step, work[:20], self.clock.now)
                del work[:20]
            step.expanded = not work
        core.tick(self.clock.now, self.clock.now)
        self._drive(core)
        self.clock.after(_TICK_S, lambda: self._tick(core))

    def _drive(self, core: Core) -> None:
        for instruction in core.take():
            match instruction:
                case Send(host=name, message=message):
                    self._to_host(name, message)
                case OpenBlock(holder=holder, limit=limit):
                    self._later(core, lambda h=holder, n=limit: self._open_block(core, h, n))
                case CloseBlock(closing=closing):
                    block = closing.block
                    if block is None:
                        block = self.journal.open_block(closing.spent)
                    self.journal.close_block(block, closing.spent)
                case Say(event=HostChanged(change="lost", detail=detail)):
                    self.excused += int(detail.split()[0])
                case Say():
                    pass
        if core.scheduler.finished and not self._committing:
            self._committing = True
            finished = core.scheduler.take_finished()
            delay = self._chance.uniform(0.001, 0.05)
            self.clock.after(delay, lambda: self._commit(core, finished))
        for step in list(core.scheduler.steps.values()):
            if step in self._work and core.ended(step):
                del self._work[step]
                core.close_step(step)
                self._drive(core)

    def _commit(self, core: Core, finished: list[Finished]) -> None:
        # a crash in between may have come before the transaction or after it
        alive = core is self._core
        if alive or self._chance.random() < 0.5:
            self.journal.append([f.result for f in finished])
        if alive:
            self._committing = False
            core.committed(finished, self.clock.now)
            self._drive(core)

    def _open_block(self, core: Core, holder: str, limit: tuple[int, int, int]) -> None:
        block = self.journal.open_block(Usage(limit[0], limit[1], cost_nusd=limit[2]))
        core.block_opened(holder, block, limit)
        self._drive(core)

    def _later(self, core: Core, what: Callable[[], None]) -> None:
        delay = self._chance.uniform(0.001, 0.03)
        self.clock.after(delay, lambda: what() if core is self._core else None)

    # ---- hosts and the way to them

    def _start_host(self, name: str) -> None:
        self._stories += 1
        seed = f"{self.seed} {self._stories}"
        host = SimHost(name, self.clock, self.endpoint, self._from_host, seed)
        self._hosts[name] = host
        host.start()

    def _crash_host(self) -> None:
        host = self._hosts[self._chance.choice(sorted(self._hosts))]
        if host.dead:
            return
        host.dead = True
        self.excused += host.leases
        core = self._core

        def begin_anew() -> None:
            if core is self._core and self._hosts.get(host.name) is host:
                self._start_host(host.name)

        self.clock.after(self._chance.uniform(0.5, 30.0), begin_anew)

    def _end_host(self, *, alone: bool) -> None:
        """A host ends, or only seems to; another takes its place."""
        core = self._core
        host = self._hosts[self._chance.choice(sorted(self._hosts))]
        if core is None or host.dead:
            return
        if alone:
            host.dead = True
            self.excused += host.leases
        else:
            self._given_up.append(host)
        del self._hosts[host.name]

        def told() -> None:
            if core is self._core:
                core.message(host.name, Gone("it ended", alone=alone), self.clock.now)
                self._drive(core)

        self.clock.after(self._chance.uniform(0.01, 3.0), told)
        self._start_host(f"{host.name}'")

    def _cut_off_host(self, for_s: float) -> None:
        name = self._chance.choice(sorted(self._hosts))
        self._cut_off[name] = self.clock.now + for_s

    def _to_host(self, name: str, message: ToHost) -> None:
        host = self._hosts.get(name)
        if host is None or self._met.get(name) is not host:
            return  # what the driver means has ended or is cut off for good
        self._carry(name, "to", message, lambda: None if host.dead else host.receive(message))

    def _from_host(self, host: SimHost, message: FromHost) -> None:
        core = self._core

        def arrive() -> None:
            if core is self._core and core is not None and self._hosts.get(host.name) is host:
                if isinstance(message, Described):
                    self._met[host.name] = host
                core.message(host.name, message, self.clock.now)
                self._drive(core)

        self._carry(host.name, "from", message, arrive)

    def _carry(
        self, name: str, way: str, message: ToHost | FromHost, arrive: Callable[[], None]
    ) -> None:
        chance, plan, now = self._chance, self.plan, self.clock.now
        begin = max(now, self._cut_off.get(name, 0.0))
        if not isinstance(message, _LOSSY):
            when = max(self._fifo.get((name, way), 0.0), begin + chance.uniform(0.0005, 0.01))
            self._fifo[name, way] = when
            self.clock.at(when, arrive)
            return
        if chance.random() < plan.lost:
            return
        for _ in range(2 if chance.random() < plan.doubled else 1):
            late = chance.uniform(0.5, 12.0) if chance.random() < plan.late else 0.0
            self.clock.at(begin + chance.uniform(0.0005, 0.01) + late, arrive)

    # ---- invariants

    def _check(self, *, thorough: bool) -> None:
        if self.journal.doubles:
            self._broken("a row has two first results")
        if (caps := self.plan.caps) is not None:
            spent = self.journal.spent()
            limits = (caps.calls, caps.tokens, caps.cost_nusd)
            counted = (spent.calls, spent.tokens, spent.cost_nusd or 0)
            for cap, real, said in zip(limits, self.endpoint.real, counted, strict=True):
                if cap is not None and real > said:
                    self._broken(f"calls cost {real}, and the journal knows of {said}")
                if cap is not None and said > cap:
                    self._broken(f"a cap of {cap} is passed by {said}")
        if self._core is not None:
            self._check_slots(self._core)
            if thorough:
                self._check_rows(self._core)

    def _check_slots(self, core: Core) -> None:
        """No host has more slots than the driver knows of, and all together none too many."""
        now, books = self.clock.now, core.books
        hosts = [*self._hosts.values(), *self._given_up]
        for host in hosts:
            if host.slots > books.held(host.name, ENDPOINT, now):
                self._broken(f"{host.name} has {host.slots} slots, and the driver knows of fewer")
        held = sum(books.held(host.name, ENDPOINT, now) for host in hosts)
        if held > max(core.allotment.gate(ENDPOINT).slots, self._most_slots):
            self._broken(f"{held} slots are held by hosts, more than the gate allows")
        self._most_slots = held

    def _check_rows(self, core: Core) -> None:
        leased: Counter[StepState] = Counter()
        for lease_id, row in core.scheduler.leases.items():
            leased[row.step] += 1
            if row.lease_id != lease_id or row.settled:
                self._broken(f"lease {lease_id} is not its row's")
        for step, work in self._work.items():
            counted = step.done + step.quarantined
            if counted + step.open + len(work) != len(step.job.todo):
                self._broken(f"{step.key}: rows do not add up")
            if step.leased != leased[step] or step.leased != sum(step.leased_on.values()):
                self._broken(f"{step.key}: leases do not add up")
            if step.waiting < 0 or step.finishing < 0:
                self._broken(f"{step.key}: a count is below 0")

    def _check_end(self, ended: str) -> None:
        rows = self.plan.steps * self.plan.rows
        if ended == "done" and len(self.journal.results) != rows:
            self._broken(f"{len(self.journal.results)} of {rows} rows have a result")
        if ended != "done" and (self.plan.caps is None or ErrorKind.BUDGET.value not in ended):
            self._broken(f"it stopped for no reason: {ended}")
        for result in self.journal.results.values():
            if result.kind is None and result.answer != _key(result.ordinal, result.step):
                self._broken(f"row {result.ordinal} of {result.step} has another row's answer")
        calls = self.endpoint.answered - self.endpoint.failed
        if calls > rows + self.excused:
            self._broken(f"{calls} good calls for {rows} rows, of which {self.excused} excused")

    def _broken(self, what: str) -> None:
        raise Broken(f"seed {self.seed}, {self.clock.now:.3f} s: {what}")


def _spec(step: str) -> WorkSpec:
    contract = ContractSpec({"type": "object"})
    return WorkSpec(step, "", [], "", [], contract, ENDPOINT, "m", b"")


def _work(ordinal: int, step: str) -> Work:
    refused = ("bad_input", "cannot be read") if ordinal % 41 == 40 else None
    return Work(ordinal, 0, _key(ordinal, step), [], 10, refused)


def _key(ordinal: int, step: str) -> bytes:
    """The row's reuse key, which a host gives as its answer; in the first step some are equal."""
    return (ordinal % 50 if step == "s0" else ordinal).to_bytes(16, "big")


def simulate(seed: int) -> Report:
    """Play one seed. Raises Broken if an invariant does not hold."""
    return Course(seed).play()
