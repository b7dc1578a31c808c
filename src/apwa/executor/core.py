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
from dataclasses import dataclass
from importlib.metadata import version

from apwa.executor.allotment import BATCH, Allotment, HostState
from apwa.executor.books import Books
from apwa.executor.health import Health
from apwa.executor.instructions import Instruction, Say, Send
from apwa.executor.notices import progress
from apwa.executor.rows import Finished, StepState
from apwa.executor.scheduler import Scheduler
from apwa.executor.seam import StepJob, Work
from apwa.vocabulary import Caps, ErrorKind, Usage
from apwa.vocabulary.control import ChangeLimits
from apwa.vocabulary.events import HostChanged, HostLoad, HostsSeen
from apwa.vocabulary.messages import (
    Ack,
    CloseStep,
    Described,
    FromHost,
    Gone,
    Heartbeat,
    Hungry,
    Lease,
    OpenStep,
    Outcomes,
    Pace,
    Returned,
    Revoke,
    Settled,
    Shutdown,
    ToHost,
)

SILENCE_S = 10.0  # of a host, before its leases are taken back
FROZEN_S = 60.0  # of a host, before it is ended
SICK_S = 900.0  # for how long a node on which work failed gets no host
_OWN_VERSION = version("apwa")
_LEAST_RESULTS = 50  # before the share of failures can pause a step
_HANDFUL = 8  # rows that fail alike, with none done, before the endpoint is asked no more
_OWN_WORDS = (ErrorKind.BAD_REQUEST, ErrorKind.REFUSED, ErrorKind.FILTERED)  # the endpoint's
_PROGRESS_S = 1.0
_GIVE_UP_S = 10.0  # after a stop, for leases of which nothing is heard


@dataclass(frozen=True, slots=True)
class Demand:
    """What open steps could use of one kind of hosts.

    Attributes:
        resources: Of one host, as the templates ask for them.
        slots: Calls at once that the gates allow and that there are rows for.
        rows: Rows that are not finished.
    """

    resources: dict[str, float]
    slots: int
    rows: int


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
        self.paused = ""
        self._out: list[Instruction] = []
        self.books = Books(caps, spent, self._out)
        self.allotment = Allotment(self.scheduler, self.books, ceiling, self._out)
        self.hosts = self.allotment.hosts
        self.gates = self.allotment.gates
        self.health = Health()
        self._sick_nodes: dict[str, float] = {}  # since when
        self._max_failures = max_failures
        self._stopped_at: float | None = None
        self._revoked_at: float | None = None
        self._progress_at = 0.0
        self._ticked_at: float | None = None

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
        self.allotment.gate(job.spec.endpoint)
        for host in self.hosts.values():
            if host.alive and host.works(step):
                self._out.append(Send(host.name, OpenStep(job.scope, job.spec)))
        self.allotment.grant(job.spec.endpoint, now)
        return step

    def supply(self, step: StepState, batch: Sequence[Work], now: float) -> None:
        self.scheduler.supply(step, batch)
        self._fill()

    def close_step(self, step: StepState) -> None:
        scope, name = step.key
        for host, ids in self.scheduler.drop(step).items():
            self._out.append(Send(host, Revoke(ids, begun=True)))
        self.scheduler.close(step)
        self._to_all(CloseStep(scope, name))
        self._say_loads()
        self._out += [Say(trouble) for trouble in self.allotment.troubles.news(last=True)]

    def idle(self, endpoint: str) -> bool:
        """Whether no open step uses an endpoint."""
        return not any(s.endpoint == endpoint for s in self.scheduler.steps.values())

    # ---- messages of hosts

    def message(self, host: str, message: FromHost, now: float) -> None:
        if isinstance(message, Described):
            self._described(message, now)
            return
        state = self.hosts.get(host)
        if state is None or state.gone:
            return  # its first word was lost; it will be asked to describe itself by a restart
        if isinstance(message, Gone):
            self._gone(state, message, now)
            return
        state.heard_at = now
        if not state.alive:
            self._back(state, now)
        match message:
            case Outcomes(items=items):
                self.health.saw(host, items, self.scheduler)
                failed = sum(outcome.kind is not None for outcome in items)
                state.failed += failed
                state.done += len(items) - failed
                self.books.saw(host, items, self.scheduler)
                self.scheduler.outcomes(host, items, now)
                self._after_outcomes(now)
                self._fill()
            case Returned(lease_ids=ids):
                self.scheduler.returned(ids)
                self._fill()
            case Pace():
                self.health.calls(host, message.endpoint, message.samples, now)
                self.allotment.pace(state, message, now)
                self._fill()
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
        self._fill()

    def block_opened(self, holder: str, block: int, limit: tuple[int, int, int]) -> None:
        self.books.opened(holder, block, limit)

    # ---- hosts that come and go

    def demands(self) -> dict[str, Demand]:
        """What open steps could use of hosts, by profile."""
        found: dict[str, Demand] = {}
        if self.paused:
            return found
        for step in self.scheduler.steps.values():
            spec = step.job.spec
            rows = len(step.job.todo) - step.done - step.quarantined
            slots = min(self.gates[spec.endpoint].slots, rows)
            known = found.get(spec.profile, Demand(spec.resources, 0, 0))
            found[spec.profile] = Demand(spec.resources, known.slots + slots, known.rows + rows)
        return found

    def sick_nodes(self, now: float) -> set[str]:
        """The nodes on which hosts have lately failed, or could not begin."""
        return {node for node, since in self._sick_nodes.items() if now - since < SICK_S}

    def frozen(self, now: float) -> list[str]:
        """Hosts that were not heard of for so long that others should take their places."""
        hosts = [host for host in self.hosts.values() if not host.gone and not host.alive]
        return [host.name for host in hosts if now - host.heard_at > FROZEN_S]

    def retire(self, host: str, now: float) -> None:
        """Give a host no new work; it is sent home when it has finished what it has begun."""
        state = self.hosts.get(host)
        if state is None or state.gone or state.leaving:
            return
        state.leaving = True
        self._revoke(begun=False, only=host)
        for endpoint in self.gates:
            self.allotment.grant(endpoint, now)
        self._send_home(now)

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
        if limits.caps is not None and self.books.budget.set_caps(limits.caps):
            self.books.recall()
        if limits.max_failures is not None:
            self._max_failures = limits.max_failures
        if limits.concurrency is not None:
            self.allotment.ceiling = limits.concurrency
            for gate in self.gates.values():
                gate.set_ceiling(limits.concurrency)
        for endpoint in self.gates:
            self.allotment.grant(endpoint, now, again=self.hosts)
        self._feed()

    # ---- time

    def tick(self, now: float, wall: float) -> None:
        """Let time pass: retries, silent hosts, dead endpoints, progress."""
        late = 0.0 if self._ticked_at is None else now - self._ticked_at
        self._ticked_at = now
        for host in list(self.hosts.values()):
            if host.gone:
                if all(not self.books.held(host.name, e, now) for e in self.gates):
                    del self.hosts[host.name]
                continue
            if late > 2.0:  # we ourselves were held up: that is no silence of the hosts
                host.heard_at += late
            if host.alive and now - host.heard_at > SILENCE_S:
                self._lost(host, now)
        self._look_for_sick(now)
        self._send_home(now)
        self.scheduler.due(now)
        self._feed()
        for endpoint, gate in self.gates.items():
            self.allotment.grant(endpoint, now)
            if not self.paused and not self.idle(endpoint) and (why := gate.down(now)):
                remedy = ErrorKind.UNREACHABLE.remedy
                self.stop(f"the endpoint {endpoint} {why}. {remedy}", now)
        self._fill()
        self._hurry(now)
        if now - self._progress_at >= _PROGRESS_S:
            self._progress(now, wall)

    # ---- inside: hosts

    def _described(self, message: Described, now: float) -> None:
        theirs = message.versions.get("apwa", _OWN_VERSION)
        if theirs != _OWN_VERSION:  # a node that came late: the others were looked at before
            self._sick_nodes[message.node] = now
            words = f"{message.place} has apwa {theirs}, and this run {_OWN_VERSION}"
            self._out.append(Say(HostChanged(message.host, "left", words)))
            self._out.append(Send(message.host, Shutdown()))
            return
        known = self.hosts.get(message.host)
        if known is not None and known.alive:  # it has begun anew: what it held is gone
            self._lost(known, now)
        self.books.described(message.host, now)
        host = HostState(
            message.host, message.capacity, now, message.profile, message.node, message.place
        )  # fmt: skip
        self.hosts[message.host] = host
        self._out.append(Say(HostChanged(message.host, "joined", message.place)))
        for step in self.scheduler.steps.values():
            if host.works(step):
                self._out.append(Send(message.host, OpenStep(step.job.scope, step.job.spec)))
        for endpoint in self.gates:
            self.allotment.grant(endpoint, now, again=self.hosts)
        self._fill()

    def _lost(self, host: HostState, now: float) -> None:
        host.alive = False
        count = self.scheduler.host_lost(host.name)
        self._out.append(Say(HostChanged(host.name, "lost", f"{count} leases taken back")))
        for endpoint in self.gates:
            self.allotment.grant(endpoint, now)

    def _gone(self, host: HostState, gone: Gone, now: float) -> None:
        """It has ended for good. Its node may only be cut off: its slots then lapse first."""
        host.alive, host.gone = False, True
        if gone.unfit:
            self._sick_nodes[host.node] = now
        count = self.scheduler.host_lost(host.name, gone.words, alone=gone.alone)
        self.books.lost(host.name, ended=gone.alone)
        self.health.forget(host.name)
        words = f"{count} leases taken back; {gone.words}"
        self._out.append(Say(HostChanged(host.name, "lost", words)))
        for endpoint in self.gates:
            self.allotment.grant(endpoint, now)
        self._fill()

    def _look_for_sick(self, now: float) -> None:
        found = self.health.sick([h.name for h in self._at_work()], now)
        if found is None:
            return
        host, words = self.hosts[found[0]], found[1]
        host.leaving = True
        self._sick_nodes[host.node] = now
        self._revoke(begun=True, only=host.name)
        excused = self.scheduler.excuse(host.name)
        if excused:
            words = f"{words} ({excused} attempts of rows are not counted)"
        self._out.append(Say(HostChanged(host.name, "sick", words)))
        for endpoint in self.gates:
            self.allotment.grant(endpoint, now)

    def _at_work(self) -> list[HostState]:
        return [h for h in self.hosts.values() if h.alive and not h.leaving]

    def _send_home(self, now: float) -> None:
        """End hosts that are to leave and hold nothing any more."""
        for host in [h for h in self.hosts.values() if h.alive and h.leaving]:
            if any(step.leased_on[host.name] for step in self.scheduler.steps.values()):
                continue
            if any(not self.books.all_settled(endpoint, host.name) for endpoint in self.gates):
                continue
            if not host.says_idle or host.in_flight:  # calls that were called back draw something
                continue
            for endpoint in self.gates:
                self.books.reclaim(host.name, endpoint)
            host.alive, host.gone = False, True
            self.books.lost(host.name, ended=False)
            self.health.forget(host.name)
            self._out.append(Send(host.name, Shutdown()))
            self._out.append(Say(HostChanged(host.name, "left")))

    def _back(self, host: HostState, now: float) -> None:
        """It was only slow. What it has not begun is elsewhere now."""
        host.alive = True
        self._out.append(Say(HostChanged(host.name, "joined", "it was silent")))
        if expired := self.scheduler.expired_on(host.name):
            self._out.append(Send(host.name, Revoke(expired)))
        for endpoint in self.gates:
            self.allotment.grant(endpoint, now, again=self.hosts)

    def _heartbeat(self, host: HostState, beat: Heartbeat, now: float) -> None:
        self.books.heard(host.name, beat, now)
        for endpoint in self.gates:
            self.allotment.grant(endpoint, now, again=(host.name,))
        host.in_flight = beat.in_flight
        host.says_idle = beat.leases == 0
        if not beat.in_flight:
            host.pace.clear()
        host.heartbeat_at = now
        host.oldest = (beat.oldest_lease_s, beat.oldest_ordinal)
        self._look_for_missing(host, beat)

    def _look_for_missing(self, host: HostState, beat: Heartbeat) -> None:
        """Send leases once more that have not arrived, and not only are on their way.

        A host that has taken a grant has got what was sent before it, or never will.
        """
        held = sum(s.leased_on[host.name] for s in self.scheduler.steps.values())
        if beat.leases >= held:
            host.missing_below = 0
            return
        if not host.missing_below:
            host.missing_below = max(self.scheduler.leases, default=0)
            host.missing_since = self.books.grants
            return
        if max((taken for taken, _ in beat.granted.values()), default=0) <= host.missing_since:
            return
        below, host.missing_below = host.missing_below, 0
        ids = [i for i, r in self.scheduler.leases.items() if r.host == host.name and i <= below]
        if beat.leases < len(ids):
            self._lease_again(host, ids)

    def _lease_again(self, host: HostState, lease_ids: list[int]) -> None:
        steps: dict[tuple[str, str], list[int]] = {}
        for lease_id in lease_ids:
            steps.setdefault(self.scheduler.leases[lease_id].step.key, []).append(lease_id)
        for (scope, step), ids in steps.items():
            for start in range(0, len(ids), BATCH):
                items = [self.scheduler.item_of(i) for i in ids[start : start + BATCH]]
                self._out.append(Send(host.name, Lease(scope, step, items)))

    def _to_all(self, message: ToHost) -> None:
        for host in self.hosts.values():
            if host.alive:
                self._out.append(Send(host.name, message))

    # ---- inside: outcomes and budget

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

    def _hungry(self, host: HostState, hungry: Hungry) -> None:
        self.books.hungry(host.name, hungry)
        self._feed()

    def _fill(self) -> None:
        if not self.paused:
            self.allotment.fill()

    def _feed(self) -> None:
        if not self.allotment.feed() and not self.paused and self.working:
            words = f"budget: what is left of {self.books.budget.words} does not pay another call"
            self.stop(f"{words}. {ErrorKind.BUDGET.remedy}", self._ticked_at or 0.0)

    # ---- inside: failures, stops, progress

    def _judge_failures(self, step: StepState, now: float) -> None:
        if self._max_failures < 1 and (said := _all_alike(step)):
            self.stop(said, now)
            return
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

    def _revoke(self, *, begun: bool, only: str = "") -> None:
        held: dict[str, list[int]] = {}
        for lease_id, row in self.scheduler.leases.items():
            if not only or row.host == only:
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
            gate = self.allotment.gate(step.endpoint)
            since = min(elapsed, now - step.opened_at)
            self._out.append(Say(progress(step, gate, now, wall, since, limit, slowest)))
        if steps:
            self._say_loads()
        self._out += [Say(trouble) for trouble in self.allotment.troubles.news()]
        self.books.record()

    def _say_loads(self) -> None:
        loads = [
            HostLoad(h.name, h.place, h.in_flight, h.done, h.failed)
            for h in self.hosts.values()
            if h.alive
        ]
        if any(load.place for load in loads):
            self._out.append(Say(HostsSeen(loads)))


def _all_alike(step: StepState) -> str:
    """That nothing works and all for one reason, in words; empty if that is not so."""
    counted = step.quarantined
    if step.job.done + step.done or counted < _HANDFUL or step.alike < counted:
        return ""
    assert step.first_failure is not None
    kind = step.first_failure[0]
    if kind not in _OWN_WORDS:
        return ""
    words = "" if step.job.hidden else f": {step.failure_words}"
    return (
        f"step {step.job.spec.step}: the first {counted} rows all failed alike"
        f" ({kind.value}{words}). {kind.remedy} To go on all the same: --max-failures 100%."
    )
