"""What each host is allotted: slots of the endpoints' gates, leases to fill them, budget. Pure.

The parts of all hosts add up to what the gate allows, and a host gets leases for its part and
some to spare. Slots go to the hosts that have a use for them, and only once another has surely
given them up (see ``slots``). Budget goes to the hosts that work; what one has no use for is
taken back before a cap ends the run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from apwa.executor.books import Books
from apwa.executor.gate import Gate
from apwa.executor.instructions import Instruction, Say, Send
from apwa.executor.notices import Troubles
from apwa.executor.rows import StepState
from apwa.executor.scheduler import MOST_FINISHING, Scheduler
from apwa.executor.slots import share_out
from apwa.vocabulary import Follow
from apwa.vocabulary.events import PaceChanged
from apwa.vocabulary.messages import ANY, Lease, Pace

BATCH = 256  # leases in one message
_SPARE = 16  # leases beyond the slots, so that a host never waits for the next
_AHEAD_S = 0.25  # for how long a host has leases beyond its slots, where calls are short
_MOST_AHEAD = 32  # times the slots at most


@dataclass(slots=True)
class HostState:
    """A host as the core sees it."""

    name: str
    capacity: int
    heard_at: float
    profile: str = ANY
    node: str = ""
    place: str = ""
    done: int = 0
    failed: int = 0
    alive: bool = True
    gone: bool = False  # for good; kept until what it was allotted has lapsed
    leaving: bool = False  # gets no new work
    in_flight: int = 0
    heartbeat_at: float = 0.0
    says_idle: bool = False  # its last heartbeat knew of no lease
    oldest: tuple[float, int] = (0.0, -1)  # seconds, ordinal
    missing_below: int = 0  # lease ids that may be missing; 0: none is
    missing_since: int = 0  # the last grant that was sent before that was noticed
    pace: dict[str, int] = field(default_factory=dict[str, int])  # in flight by endpoint

    def works(self, step: StepState) -> bool:
        """Whether it was given what the step's workers need."""
        return self.profile in (ANY, step.job.spec.profile)


class Allotment:
    """Shares an endpoint's slots, the ready rows and the budget out among the hosts.

    Attributes:
        hosts: All that have described themselves, by name.
        gates: By endpoint.
        ceiling: The user's, for gates to come.
    """

    def __init__(
        self, scheduler: Scheduler, books: Books, ceiling: int | None, out: list[Instruction]
    ) -> None:
        self.hosts: dict[str, HostState] = {}
        self.gates: dict[str, Gate] = {}
        self.ceiling = ceiling
        self.troubles = Troubles()
        self.scheduler = scheduler
        self.books = books
        self._out = out
        self._said_slots: dict[str, tuple[int, float]] = {}

    def reclaim(self, *, trusting: bool = False) -> bool:
        """Take back what hosts hold and have no use for, and close its blocks; whether any.

        Messages may have been lost, so that a host works on what was taken from it; its own
        word is waited for, unless ``trusting`` (a step has come to its end in good order).
        """
        freed = False
        for host in self.hosts.values():
            for endpoint in self.gates:
                if self._unused(host, endpoint, trusting=trusting):
                    freed = self.books.reclaim(host.name, endpoint) or freed
        return freed

    def end_books(self, ended: Collection[str]) -> None:
        """The run's hosts end: close all blocks. Of a host that has not said its last word, or was
        lost, they count as spent whole."""
        for host in self.hosts.values():
            if host.alive and host.name in ended:
                for endpoint in self.gates:
                    self.books.reclaim(host.name, endpoint)
        self.books.end()

    # ---- pace

    def gate(self, endpoint: str) -> Gate:
        """The endpoint's gate; made when it is first asked for."""
        gate = self.gates.get(endpoint)
        if gate is None:
            gate = self.gates[endpoint] = Gate(self.ceiling)
        return gate

    def pace(self, host: HostState, pace: Pace, now: float) -> None:
        gate = self.gate(pace.endpoint)
        before = gate.slots, gate.hold_until
        host.pace[pace.endpoint] = pace.in_flight
        in_flight = sum(h.pace.get(pace.endpoint, 0) for h in self.hosts.values())
        leased = sum(s.leased for s in self.scheduler.steps.values() if s.endpoint == pace.endpoint)
        gate.sampled(now, pace.samples, in_flight, more=leased > gate.slots)
        for sample in pace.samples:
            kind = sample.kind
            if kind is not None and kind.follow is not Follow.QUARANTINE and sample.message:
                self.troubles.met(kind, sample.message, "")
        if (gate.slots, gate.hold_until) != before:
            self.grant(pace.endpoint, now)

    def grant(self, endpoint: str, now: float, *, again: Collection[str] = ()) -> None:
        """Tell hosts their slots where these have changed, as far as slots are free.

        Hosts named in ``again`` are told in any case, which renews what they have.
        """
        gate = self.gate(endpoint)
        hold_s = max(0.0, gate.hold_until - now)
        held = {name: self.books.held(name, endpoint, now) for name in self.hosts}
        free = gate.slots - sum(held.values())
        for name, part in self._parts(endpoint).items():
            slots = part
            if part > held[name]:
                slots = held[name] + max(0, min(free, part - held[name]))
                free -= slots - held[name]
            again_it = name in again
            self.books.grant(name, endpoint, slots, hold_s, gate.hold_until, again=again_it)
        said, at = self._said_slots.get(endpoint, (gate.slots, float("-inf")))
        self._said_slots.setdefault(endpoint, (said, at))
        if (gate.slots >= 2 * said or 2 * gate.slots <= said) and now - at >= 5.0:
            reason = gate.last_limit if gate.slots < said else "it keeps up"
            self._said_slots[endpoint] = (gate.slots, now)
            self._out.append(Say(PaceChanged(endpoint, gate.slots, reason or "latency rises")))

    def _parts(self, endpoint: str) -> dict[str, int]:
        """What each host should have of an endpoint's slots; they add up to the whole."""
        steps = [s for s in self.scheduler.steps.values() if s.endpoint == endpoint]
        wants: dict[str, int] = {}
        none: dict[str, int] = {}
        for host in self.hosts.values():
            if not host.alive:
                continue
            mine = [step for step in steps if host.works(step)]
            more = not host.leaving and any(s.ready or not s.expanded for s in mine)
            want = host.capacity if more else self.held(host, endpoint)
            if self.books.starves(host.name, endpoint):
                want = 0  # slots are of no use to it now, and others may pay their calls
            if want or (mine and not host.leaving):
                wants[host.name] = want
            else:
                none[host.name] = 0
        return share_out(self.gate(endpoint).slots, wants) | none

    # ---- leases

    def fill(self) -> None:
        """Lease ready rows to hosts up to their slots and some to spare; steps take turns."""
        steps = [s for s in self.scheduler.steps.values() if s.ready]
        if not steps:
            return
        if sum(s.finishing for s in steps) > MOST_FINISHING:
            return
        for host in self.hosts.values():
            if not host.alive or host.leaving:
                continue
            room = host.capacity - sum(
                s.leased_on[host.name] for s in self.scheduler.steps.values()
            )
            for n, step in enumerate(steps):
                share = self.books.told(host.name, step.endpoint)
                if share and room > 0 and host.works(step):
                    room -= self._lease(host, step, share, len(steps) - n, room)

    def _lease(self, host: HostState, step: StepState, share: int, turns: int, room: int) -> int:
        held = self.held(host, step.endpoint)
        ahead = int(share * _AHEAD_S / max(self.gate(step.endpoint).mean_s, _AHEAD_S / _MOST_AHEAD))
        wanted = share + max(share, ahead) + _SPARE
        missing = wanted - held
        # few large messages, unless the host is about to stand still
        if missing < min(BATCH, wanted // 4) and held > share:
            return 0
        most = min(room, -(-missing // turns), step.leased + len(step.ready))
        scope, name = step.key
        sent = 0
        while sent < most:
            items = self.scheduler.lease(
                step, host.name, min(BATCH, most - sent), alone=self._alone(host, step)
            )  # fmt: skip
            if not items:
                break
            sent += len(items)
            host.says_idle = False
            self._out.append(Send(host.name, Lease(scope, name, items)))
        return sent

    # ---- budget

    def feed(self) -> bool:
        """Open blocks for hosts that need them; False if a call can never be paid."""
        for host in self.hosts.values():
            for endpoint in self.gates:
                ahead = self.held(host, endpoint) > 0
                slots = self.books.told(host.name, endpoint)
                if self.books.feed(host.name, endpoint, slots, ahead=ahead):
                    continue
                # what others do not need may still pay it, and what they need they may not use up
                if not self.reclaim() and not self._others_work(host, endpoint):
                    return False
        return True

    def _others_work(self, host: HostState, endpoint: str) -> bool:
        return self.books.recalling or any(
            self.books.pays(other.name, where) and self.held(other, where)
            for other in self.hosts.values()
            for where in self.gates
            if other.alive and (other is not host or where != endpoint)
        )

    def _unused(self, host: HostState, endpoint: str, *, trusting: bool) -> bool:
        """Whether a host has no lease and no call of an endpoint, for all that is known."""
        if not host.alive or self.held(host, endpoint) or not self.books.all_settled(endpoint):
            return False
        return trusting or (host.says_idle and not host.pace.get(endpoint))

    def _alone(self, host: HostState, step: StepState) -> bool:
        """Whether no other host could work a step's rows now."""
        return not any(
            other.alive
            and not other.leaving
            and other is not host
            and other.works(step)
            and self.books.told(other.name, step.endpoint)
            for other in self.hosts.values()
        )

    def held(self, host: HostState, endpoint: str) -> int:
        steps = self.scheduler.steps.values()
        return sum(s.leased_on[host.name] for s in steps if s.endpoint == endpoint)
