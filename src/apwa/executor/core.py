"""The core: scheduler, gates, budget and hosts together. Pure.

The shell drives it for real, the simulator in virtual time.

What comes in are a host's messages, expanded rows, commits, journaled blocks and the time. What
goes out is a list of instructions (``take``), and results to be committed
(``scheduler.take_finished``).

A pause is for good: from then on nothing is leased, leases not begun are called back, what is
in flight is finished and committed, and every open step ends. A resumed run has a new core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from apwa.executor.books import Books
from apwa.executor.gate import Gate
from apwa.executor.instructions import Instruction, Say, Send
from apwa.executor.notices import Troubles, progress
from apwa.executor.rows import Finished, StepState
from apwa.executor.scheduler import MOST_FINISHING, Scheduler
from apwa.executor.seam import StepJob, Work
from apwa.vocabulary import Caps, ErrorKind, Follow, Usage
from apwa.vocabulary.control import ChangeLimits
from apwa.vocabulary.events import HostChanged, PaceChanged
from apwa.vocabulary.messages import (
    Ack,
    CloseStep,
    Described,
    FromHost,
    Heartbeat,
    Hungry,
    Lease,
    OpenStep,
    Outcomes,
    Pace,
    Returned,
    Revoke,
    Settled,
    ToHost,
)

BATCH = 256  # leases in one message
SILENCE_S = 10.0  # of a host, before it is given up
_SPARE = 16  # leases beyond the slots, so that a host never waits for the next
_MISSING = 3  # heartbeats in a row that know fewer leases than were sent
_LEAST_RESULTS = 50  # before the share of failures can pause a step
_PROGRESS_S = 1.0
_GIVE_UP_S = 10.0  # after a stop, for leases of which nothing is heard


@dataclass(slots=True)
class HostState:
    """A host as the core sees it."""

    name: str
    capacity: int
    heard_at: float
    alive: bool = True
    in_flight: int = 0
    heartbeat_at: float = 0.0
    says_idle: bool = False  # its last heartbeat knew of no lease
    oldest: tuple[float, int] = (0.0, -1)  # seconds, ordinal
    missing: int = 0  # heartbeats in a row that lack leases
    missing_below: int = 0  # lease ids that may be missing
    pace: dict[str, int] = field(default_factory=dict[str, int])  # in flight by endpoint


class Core:
    """Decides everything about the work of a run. See the module."""

    def __init__(
        self,
        *,
        caps: Caps | None,
        spent: Usage,
        ceiling: int | None,
        max_failures: float,
        seed: int,
        epoch: int,
    ) -> None:
        self.scheduler = Scheduler(seed, epoch)
        self.hosts: dict[str, HostState] = {}
        self.gates: dict[str, Gate] = {}
        self.paused = ""
        self._out: list[Instruction] = []
        self.books = Books(caps, spent, self._out)
        self._ceiling = ceiling
        self._max_failures = max_failures
        self._troubles = Troubles()
        self._stopped_at: float | None = None
        self._revoked_at: float | None = None
        self._progress_at = 0.0
        self._ticked_at: float | None = None
        self._said_slots: dict[str, tuple[int, float]] = {}

    # ---- what the shell asks

    def take(self) -> list[Instruction]:
        taken = self._out.copy()
        self._out.clear()
        return taken

    @property
    def working(self) -> bool:
        return bool(self.scheduler.steps)

    def ended(self, step: StepState) -> bool:
        """Whether nothing of a step is open any more, or nothing can be done about it."""
        if step.finishing:
            return False
        if self.paused:
            return not step.leased
        return step.expanded and not step.open

    # ---- steps

    def open_step(self, job: StepJob, now: float) -> StepState:
        step = self.scheduler.open(job, now)
        self._gate(job.spec.endpoint)
        self._to_all(OpenStep(job.scope, job.spec))
        self._grant(job.spec.endpoint, now)
        return step

    def supply(self, step: StepState, batch: Sequence[Work], now: float) -> None:
        self.scheduler.supply(step, batch)
        self._fill(now)

    def close_step(self, step: StepState) -> None:
        scope, name = step.key
        for host, ids in self.scheduler.drop(step).items():
            self._out.append(Send(host, Revoke(ids, begun=True)))
        self.scheduler.close(step)
        self._to_all(CloseStep(scope, name))
        self._out += [Say(trouble) for trouble in self._troubles.news(last=True)]

    def idle(self, endpoint: str) -> bool:
        """Whether no open step uses an endpoint."""
        return not any(s.endpoint == endpoint for s in self.scheduler.steps.values())

    def reclaim(self, *, trusting: bool = False) -> bool:
        """Take back what hosts hold and have no use for, and close its blocks; whether any.

        Messages may have been lost, so that a host works on what was taken from it; its own
        word is waited for, unless ``trusting`` (a step has come to its end in good order).
        """
        freed = False
        for host in self.hosts.values():
            for endpoint in self.gates:
                if self._unused(host, endpoint) and (trusting or host.says_idle):
                    share = self._share(host, endpoint)
                    freed = self.books.reclaim(host.name, endpoint, share) or freed
        return freed

    def settled(self, endpoint: str) -> bool:
        """Whether all that hosts have spent on an endpoint is known."""
        return self.books.all_settled(endpoint) and not any(
            host.pace.get(endpoint) for host in self.hosts.values()
        )

    def end_books(self) -> None:
        """The hosts have ended: close all blocks, those of lost hosts as spent whole."""
        for host in self.hosts.values():
            if not host.alive:
                self.books.lost(host.name)
            for endpoint in self.gates:
                self.books.reclaim(host.name, endpoint, 0)

    # ---- messages of hosts

    def message(self, host: str, message: FromHost, now: float) -> None:
        if isinstance(message, Described):
            self._described(message, now)
            return
        state = self.hosts.get(host)
        if state is None:
            return  # its first word was lost; it will be asked to describe itself by a restart
        state.heard_at = now
        if not state.alive:
            self._back(state, now)
        match message:
            case Outcomes(items=items):
                self.books.saw(host, items, self.scheduler)
                self.scheduler.outcomes(host, items, now)
                self._after_outcomes(now)
                self._fill(now)
            case Returned(lease_ids=ids):
                self.scheduler.returned(ids)
                self._fill(now)
            case Pace():
                self._pace(state, message, now)
            case Hungry():
                self._hungry(state, message)
            case Settled():
                self.books.settled(host, message)
                self._feed()
            case Heartbeat():
                self._heartbeat(state, message, now)

    def committed(self, batch: Sequence[Finished], now: float) -> None:
        """The journal has these results: they count, and their hosts may forget them."""
        self.scheduler.committed(batch)
        acks: dict[str, list[int]] = {}
        for finished in batch:
            if finished.lease_id:
                acks.setdefault(finished.host, []).append(finished.lease_id)
        for host, ids in acks.items():
            self._out.append(Send(host, Ack(ids)))
        for step in {id(f.row.step): f.row.step for f in batch}.values():
            self._judge_failures(step, now)
        self._fill(now)

    def block_opened(self, holder: str, block: int, limit: tuple[int, int, int]) -> None:
        host, endpoint = self.books.opened(holder, block, limit)
        state = self.hosts.get(host)
        if state is not None:
            self.books.pay(host, endpoint, self._share(state, endpoint), limit)

    # ---- limits and stops

    def stop(self, reason: str, now: float, *, at_once: bool = False) -> None:
        """Pause: finish what is in flight, or with ``at_once`` call it back too."""
        if not self.paused:
            self.paused = reason
            self._stopped_at = now
            self._revoke(begun=False)
        if at_once:
            self._drop_all()

    def change_limits(self, limits: ChangeLimits, now: float) -> None:
        if limits.caps is not None:
            self.books.budget.set_caps(limits.caps)
        if limits.max_failures is not None:
            self._max_failures = limits.max_failures
        if limits.concurrency is not None:
            self._ceiling = limits.concurrency
            for gate in self.gates.values():
                gate.set_ceiling(limits.concurrency)
        for endpoint in self.gates:
            self._grant(endpoint, now, again=True)
        self._feed()

    # ---- time

    def tick(self, now: float, wall: float) -> None:
        """Let time pass: retries, silent hosts, dead endpoints, progress."""
        late = 0.0 if self._ticked_at is None else now - self._ticked_at
        self._ticked_at = now
        for host in self.hosts.values():
            if late > 2.0:  # we ourselves were held up: that is no silence of the hosts
                host.heard_at += late
            if host.alive and now - host.heard_at > SILENCE_S:
                self._lost(host, now)
        self.scheduler.due(now)
        self._feed()
        for endpoint, gate in self.gates.items():
            self._grant(endpoint, now)
            if not self.paused and not self.idle(endpoint) and (why := gate.down(now)):
                remedy = ErrorKind.UNREACHABLE.remedy
                self.stop(f"the endpoint {endpoint} {why}. {remedy}", now)
        self._fill(now)
        self._hurry(now)
        if now - self._progress_at >= _PROGRESS_S:
            self._progress(now, wall)

    # ---- inside: hosts

    def _described(self, message: Described, now: float) -> None:
        known = self.hosts.get(message.host)
        if known is not None:  # it has begun anew: what it held is gone, and what it drew unknown
            if known.alive:
                self._lost(known, now)
            self.books.lost(message.host)
        self.hosts[message.host] = HostState(message.host, message.capacity, now)
        self._out.append(Say(HostChanged(message.host, "joined")))
        for step in self.scheduler.steps.values():
            self._out.append(Send(message.host, OpenStep(step.job.scope, step.job.spec)))
        for endpoint in self.gates:
            self._grant(endpoint, now, again=True)
        self._fill(now)

    def _lost(self, host: HostState, now: float) -> None:
        host.alive = False
        count = self.scheduler.host_lost(host.name, now)
        self._out.append(Say(HostChanged(host.name, "lost", f"{count} leases taken back")))
        for endpoint in self.gates:
            self._grant(endpoint, now)

    def _back(self, host: HostState, now: float) -> None:
        """It was only slow. What it has not begun is elsewhere now."""
        host.alive = True
        self._out.append(Say(HostChanged(host.name, "joined", "it was silent")))
        if expired := self.scheduler.expired_on(host.name):
            self._out.append(Send(host.name, Revoke(expired)))
        for endpoint in self.gates:
            self._grant(endpoint, now, again=True)

    def _heartbeat(self, host: HostState, beat: Heartbeat, now: float) -> None:
        host.in_flight = beat.in_flight
        host.says_idle = beat.leases == 0
        if not beat.in_flight:
            host.pace.clear()
        host.heartbeat_at = now
        host.oldest = (beat.oldest_lease_s, beat.oldest_ordinal)
        held = sum(s.leased_on[host.name] for s in self.scheduler.steps.values())
        if beat.leases >= held:
            host.missing = 0
            return
        if host.missing == 0:
            host.missing_below = max(self.scheduler.leases, default=0)
        host.missing += 1
        if host.missing >= _MISSING:
            host.missing = 0
            self._lease_again(host)

    def _lease_again(self, host: HostState) -> None:
        """Send leases once more of which the host seems not to know: those sent long ago."""
        lost: dict[tuple[str, str], list[int]] = {}
        for lease_id, row in self.scheduler.leases.items():
            if row.host == host.name and lease_id <= host.missing_below:
                lost.setdefault(row.step.key, []).append(lease_id)
        for (scope, step), ids in lost.items():
            for start in range(0, len(ids), BATCH):
                items = [self.scheduler.item_of(i) for i in ids[start : start + BATCH]]
                self._out.append(Send(host.name, Lease(scope, step, items)))

    def _to_all(self, message: ToHost) -> None:
        for host in self.hosts.values():
            if host.alive:
                self._out.append(Send(host.name, message))

    # ---- inside: pace

    def _gate(self, endpoint: str) -> Gate:
        gate = self.gates.get(endpoint)
        if gate is None:
            gate = self.gates[endpoint] = Gate(self._ceiling)
        return gate

    def _pace(self, host: HostState, pace: Pace, now: float) -> None:
        gate = self._gate(pace.endpoint)
        host.pace[pace.endpoint] = pace.in_flight
        in_flight = sum(h.pace.get(pace.endpoint, 0) for h in self.hosts.values())
        leased = sum(s.leased for s in self.scheduler.steps.values() if s.endpoint == pace.endpoint)
        gate.sampled(now, pace.samples, in_flight, more=leased > gate.slots)
        for sample in pace.samples:
            kind = sample.kind
            if kind is not None and kind.follow is not Follow.QUARANTINE and sample.message:
                self._troubles.met(kind, sample.message, "")
        self._grant(pace.endpoint, now)
        self._fill(now)

    def _share(self, host: HostState, endpoint: str) -> int:
        """A host's part of an endpoint's slots; the parts of all hosts add up to the whole."""
        alive = [h.name for h in self.hosts.values() if h.alive]
        if host.name not in alive:
            return 0
        whole, rest = divmod(self._gate(endpoint).slots, len(alive))
        return min(whole + (alive.index(host.name) < rest), host.capacity)

    def _grant(self, endpoint: str, now: float, *, again: bool = False) -> None:
        """Tell hosts their slots where these have changed."""
        gate = self._gate(endpoint)
        hold_s = max(0.0, gate.hold_until - now)
        for host in self.hosts.values():
            if host.alive:
                share = self._share(host, endpoint)
                self.books.grant(host.name, endpoint, share, hold_s, gate.hold_until, again=again)
        said, at = self._said_slots.get(endpoint, (gate.slots, float("-inf")))
        self._said_slots.setdefault(endpoint, (said, at))
        if (gate.slots >= 2 * said or 2 * gate.slots <= said) and now - at >= 5.0:
            reason = gate.last_limit if gate.slots < said else "it keeps up"
            self._said_slots[endpoint] = (gate.slots, now)
            self._out.append(Say(PaceChanged(endpoint, gate.slots, reason or "latency rises")))

    # ---- inside: leases

    def _fill(self, now: float) -> None:
        """Lease ready rows to hosts up to their slots and some to spare; steps take turns."""
        steps = [s for s in self.scheduler.steps.values() if s.ready]
        if self.paused or not steps:
            return
        if sum(s.finishing for s in steps) > MOST_FINISHING:
            return
        for host in self.hosts.values():
            if not host.alive:
                continue
            room = host.capacity - sum(
                s.leased_on[host.name] for s in self.scheduler.steps.values()
            )
            for n, step in enumerate(steps):
                share = self._share(host, step.endpoint)
                if share and room > 0:
                    room -= self._lease(host, step, share, len(steps) - n, room)

    def _lease(self, host: HostState, step: StepState, share: int, turns: int, room: int) -> int:
        held = self._held(host, step.endpoint)
        wanted = 2 * share + _SPARE
        missing = wanted - held
        # few large messages, unless the host is about to stand still
        if missing < min(BATCH, wanted // 4) and held > share:
            return 0
        most = min(room, -(-missing // turns), step.leased + len(step.ready))
        scope, name = step.key
        sent = 0
        while sent < most:
            items = self.scheduler.lease(step, host.name, min(BATCH, most - sent))
            if not items:
                break
            sent += len(items)
            host.says_idle = False
            self._out.append(Send(host.name, Lease(scope, name, items)))
        return sent

    def _after_outcomes(self, now: float) -> None:
        scheduler = self.scheduler
        if scheduler.acks:
            acks: dict[str, list[int]] = {}
            for host, lease_id in scheduler.acks:
                acks.setdefault(host, []).append(lease_id)
            scheduler.acks.clear()
            for host, ids in acks.items():
                self._out.append(Send(host, Ack(ids)))
        for host, lease_id in scheduler.revokes:
            self._out.append(Send(host, Revoke([lease_id], begun=True)))
        scheduler.revokes.clear()
        for halt in scheduler.halts:
            said = halt.message or halt.kind.value
            self.stop(f"step {halt.step}: {said} ({halt.kind.value}). {halt.kind.remedy}", now)
        scheduler.halts.clear()

    # ---- inside: budget

    def _hungry(self, host: HostState, hungry: Hungry) -> None:
        self.books.hungry(host.name, hungry)
        self._feed()

    def _feed(self) -> None:
        """Open blocks for hosts that need them; pause if a call can never be paid."""
        for host in self.hosts.values():
            for endpoint in self.gates:
                ahead = self._held(host, endpoint) > 0
                slots = self._share(host, endpoint)
                if self.books.feed(host.name, endpoint, slots, ahead=ahead):
                    continue
                # what others do not need may still pay it, and what they need they may not use up
                if not self.reclaim() and not self._others_work(host, endpoint):
                    self._budget_ends()

    def _others_work(self, host: HostState, endpoint: str) -> bool:
        return any(
            self.books.pays(other.name, where) and self._held(other, where)
            for other in self.hosts.values()
            for where in self.gates
            if other.alive and (other is not host or where != endpoint)
        )

    def _unused(self, host: HostState, endpoint: str) -> bool:
        """Whether a host has no lease and no call of an endpoint, for all that is known."""
        return (
            host.alive
            and not host.pace.get(endpoint)
            and not self._held(host, endpoint)
            and self.books.all_settled(endpoint)
        )

    def _held(self, host: HostState, endpoint: str) -> int:
        steps = self.scheduler.steps.values()
        return sum(s.leased_on[host.name] for s in steps if s.endpoint == endpoint)

    def _budget_ends(self) -> None:
        if not self.paused and self.working:
            words = "budget: what is left of the cap does not pay another call"
            self.stop(f"{words}. {ErrorKind.BUDGET.remedy}", self._ticked_at or 0.0)

    # ---- inside: failures, stops, progress

    def _judge_failures(self, step: StepState, now: float) -> None:
        counted = step.done + step.quarantined
        if counted < _LEAST_RESULTS or step.quarantined <= self._max_failures * counted:
            return
        kinds = ", ".join(f"{count} {kind.value}" for kind, count in step.kinds.most_common(3))
        remedy = step.kinds.most_common(1)[0][0].remedy
        self.stop(
            f"step {step.job.spec.step}: {step.quarantined} of {counted} rows failed ({kinds}),"
            f" more than the limit of {self._max_failures:.0%}. {remedy}",
            now,
        )

    def _revoke(self, *, begun: bool) -> None:
        held: dict[str, list[int]] = {}
        for lease_id, row in self.scheduler.leases.items():
            held.setdefault(row.host, []).append(lease_id)
        for host, ids in held.items():
            self._out.append(Send(host, Revoke(ids, begun=begun)))

    def _hurry(self, now: float) -> None:
        """After a stop: call back what only waits (for pace or budget), with no call under way."""
        if self._stopped_at is None or not self.scheduler.leases:
            return
        hosts = [self.hosts[n] for n in {row.host for row in self.scheduler.leases.values()}]
        still = all(h.in_flight == 0 and h.heartbeat_at > self._stopped_at + 1.0 for h in hosts)
        if self._revoked_at is None:
            if still:
                self._revoked_at = now
                self._revoke(begun=True)
        elif now - self._revoked_at > _GIVE_UP_S:
            self._drop_all()

    def _drop_all(self) -> None:
        for step in self.scheduler.steps.values():
            for host, ids in self.scheduler.drop(step).items():
                self._out.append(Send(host, Revoke(ids, begun=True)))

    def _progress(self, now: float, wall: float) -> None:
        elapsed = now - self._progress_at
        self._progress_at = now
        steps = list(self.scheduler.steps.values())
        oldest = max((h.oldest for h in self.hosts.values() if h.alive), default=(0.0, -1))
        slowest = ""
        if len(steps) == 1 and oldest[1] >= 0 and oldest[0] >= 1.0:
            slowest = f"row {oldest[1] + 1}, {oldest[0]:.0f} s"
        limit = "budget" if self.books.starving else ""
        for step in steps:
            gate = self._gate(step.endpoint)
            since = min(elapsed, now - step.opened_at)
            self._out.append(Say(progress(step, gate, now, wall, since, limit, slowest)))
        self._out += [Say(trouble) for trouble in self._troubles.news()]
        self.books.record()
