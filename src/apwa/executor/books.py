"""Slots and budget in the hands of hosts: grants, blocks and settlements as messages. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from apwa.executor.budget import Amount, Budget
from apwa.executor.instructions import CloseBlock, Instruction, OpenBlock, Send
from apwa.executor.scheduler import Scheduler
from apwa.executor.slots import Slots
from apwa.vocabulary import Caps, Outcome, Usage
from apwa.vocabulary.messages import ALLOTMENT_S, Grant, Heartbeat, Hungry, Settled

_ROUNDS = 4  # a block holds calls for so many rounds of the host's slots


class Books:
    """Who holds what. A holder is named ``host/endpoint``."""

    def __init__(self, caps: Caps | None, spent: Usage, out: list[Instruction]) -> None:
        self.budget = Budget(caps, spent)
        self._out = out
        self._holders: dict[str, tuple[str, str]] = {}
        self._bounds: dict[str, Amount] = {}  # the most that one call of the holder may take
        self._hungry: set[str] = set()
        self._opening: set[str] = set()
        self._recalled: dict[str, int] = {}  # the grant that took everything back
        self._slots: dict[str, Slots] = {}
        self._ended: set[str] = set()  # hosts of which nothing more comes
        self.grants = 0  # sent so far
        self._beats: dict[str, tuple[int, float]] = {}  # last heartbeat of a host, heard when
        self._woken: dict[str, int] = {}
        self._seen_calls: dict[str, int] = {}

    @property
    def starving(self) -> bool:
        return bool(self._hungry)

    @property
    def recalling(self) -> bool:
        """Whether budget is on its way back."""
        return bool(self._recalled)

    def holder(self, host: str, endpoint: str) -> str:
        name = f"{host}/{endpoint}"
        if name not in self._holders:
            self._holders[name] = (host, endpoint)
            self._slots[name] = Slots()
        return name

    # ---- pace and pay out

    def grant(
        self,
        host: str,
        endpoint: str,
        slots: int,
        hold_s: float,
        hold_until: float,
        *,
        again: bool,
    ) -> None:
        """Tell a host its slots, if they are other than it was told, or ``again``."""
        known = self._slots[self.holder(host, endpoint)]
        if again or (known.told, known.hold_until) != (slots, hold_until):
            known.hold_until = hold_until
            self._send(host, endpoint, slots, Amount(), hold_s)

    def pay(self, host: str, endpoint: str, amount: tuple[int, int, int]) -> None:
        self._send(host, endpoint, self.told(host, endpoint), Amount(*amount))

    def recall(self) -> None:
        """Take back all that is paid out. A holder is paid again once its calls have ended.

        What these draw is not known before, and may be as much as their bounds.
        """
        for name, (host, endpoint) in self._holders.items():
            if host not in self._ended:
                self._send(host, endpoint, self.told(host, endpoint), Amount(), anew=True)
                self._recalled[name] = self.grants

    def told(self, host: str, endpoint: str) -> int:
        """The slots that a host was told last."""
        return self._slots[self.holder(host, endpoint)].told

    def held(self, host: str, endpoint: str, now: float) -> int:
        """The most slots that a host may have in use."""
        return self._slots[self.holder(host, endpoint)].held(now)

    def _send(
        self,
        host: str,
        endpoint: str,
        slots: int,
        amount: Amount,
        hold_s: float = 0.0,
        *,
        anew: bool = False,
    ) -> None:
        calls, tokens, cost = (
            None if cap is None else n for cap, n in zip(self.budget.caps, amount, strict=True)
        )
        self.grants += 1
        beat, heard_at = self._beats.get(host, (0, 0.0))
        known = self._slots[self.holder(host, endpoint)]
        known.tell(self.grants, slots, heard_at + ALLOTMENT_S)
        grant = Grant(endpoint, slots, hold_s, calls, tokens, cost, self.grants, beat, anew)
        self._out.append(Send(host, grant))

    # ---- what hosts say

    def described(self, host: str, now: float) -> None:
        """A host has begun: what one of that name held is gone, and what it drew unknown."""
        self._beats[host] = (0, now)
        self.lost(host)
        self._ended.discard(host)

    def heard(self, host: str, beat: Heartbeat, now: float) -> None:
        """A heartbeat: allotments can be renewed, and some are confirmed."""
        if beat.number <= self._beats.get(host, (0, 0.0))[0]:
            return  # an old one, late
        self._beats[host] = (beat.number, now)
        for endpoint, (number, in_flight) in beat.granted.items():
            name = f"{host}/{endpoint}"
            if name in self._slots:
                self._slots[name].heard(number, in_flight)
            if not in_flight and number >= self._recalled.get(name, number + 1):
                self._given_up(name)

    def _given_up(self, name: str) -> None:
        """A holder has nothing any more, and all that it drew has been settled."""
        if name not in self._opening:
            del self._recalled[name]
            self._out += [CloseBlock(closing) for closing in self.budget.take_back(name)]
            self.record()

    def saw(self, host: str, items: Sequence[Outcome], scheduler: Scheduler) -> None:
        """Take the details of calls from outcomes that are counted: settlements lack them."""
        sums: dict[str, list[int]] = {}
        for outcome in items:
            row = scheduler.leases.get(outcome.lease_id)
            if row is None:
                continue
            endpoint = row.step.job.spec.endpoint
            found = sums.get(endpoint)
            if found is None:
                found = sums[endpoint] = [0, 0, 0, 0, 0]
            for attempt in outcome.attempts:
                usage = attempt.usage
                found[0] += usage.output_tokens
                found[1] += usage.cached_tokens
                found[2] += usage.reasoning_tokens
                found[3] += usage.cost_nusd is None
                found[4] += usage.calls
        for endpoint, (output, cached, reasoning, unpriced, calls) in sums.items():
            name = self.holder(host, endpoint)
            self.budget.saw(name, output, cached, reasoning, priced=not unpriced)
            self._seen_calls[name] = self._seen_calls.get(name, 0) + calls

    def all_settled(self, endpoint: str, host: str = "") -> bool:
        """Whether hosts, or one, have settled every call of the endpoint that results tell of."""
        return all(
            self.budget.settled_calls(name) >= self._seen_calls.get(name, 0)
            for name, (who, where) in self._holders.items()
            if where == endpoint and host in ("", who) and who not in self._ended
        )

    def settled(self, host: str, message: Settled) -> None:
        name = self.holder(host, message.endpoint)
        amount = Amount(message.calls, message.tokens, message.cost_nusd)
        self._out += [CloseBlock(closing) for closing in self.budget.settle(name, amount)]

    def hungry(self, host: str, message: Hungry) -> None:
        name = self.holder(host, message.endpoint)
        bound = Amount(message.calls, message.tokens, message.cost_nusd)
        known = self._bounds.get(name, Amount())
        self._bounds[name] = Amount(*map(max, known, bound))
        self._hungry.add(name)

    # ---- blocks

    def feed(self, host: str, endpoint: str, slots: int, *, ahead: bool) -> bool:
        """Open a block for a holder that is hungry or, with ``ahead``, soon will be.

        False if it is hungry and can never be fed.
        """
        name = self.holder(host, endpoint)
        bound = self._bounds.get(name)
        if bound is None or not self.budget.capped:
            return True
        if name in self._opening or name in self._recalled:
            return True
        hungry = name in self._hungry
        if not hungry and (not ahead or self._has(name, bound, slots)):
            return True
        limit = self.budget.ask(name, bound, max(1, _ROUNDS * slots))
        if limit is None:
            return not hungry
        if any(limit):
            self._hungry.discard(name)
            self._opening.add(name)
            self._out.append(OpenBlock(name, limit))
            return True
        self.budget.not_opened(name)
        settled = self.budget.settled_calls(name)
        if hungry and self._woken.get(name) != settled:
            # what it waits for comes back to it from its own calls: let it look again
            self._woken[name] = settled
            self._hungry.discard(name)
            self.pay(host, endpoint, limit)
        return True

    def starves(self, host: str, endpoint: str) -> bool:
        """Whether a holder waits for budget."""
        return self.holder(host, endpoint) in self._hungry

    def pays(self, host: str, endpoint: str) -> bool:
        """Whether a holder has something left and can pay its next call."""
        name = self.holder(host, endpoint)
        return name not in self._hungry and any(n > 0 for n in self.budget.outstanding(name))

    def _has(self, name: str, bound: Amount, slots: int) -> bool:
        least = self.budget.without_uncapped(bound.times(max(1, slots)))
        held = self.budget.outstanding(name)
        return all(n >= m for n, m in zip(held, least, strict=True))

    def opened(self, holder: str, block: int, limit: tuple[int, int, int]) -> None:
        """A block is journaled: its holder may spend it, unless it is to give everything back."""
        self.budget.opened(holder, block, Amount(*limit))
        self._opening.discard(holder)
        host, endpoint = self._holders[holder]
        if host in self._ended:
            self._out += [CloseBlock(closing) for closing in self.budget.take_back(holder)]
        elif holder not in self._recalled:
            self.pay(host, endpoint, limit)

    def reclaim(self, host: str, endpoint: str) -> bool:
        """Take back what a holder has left, and close its blocks; whether there was any."""
        name = self.holder(host, endpoint)
        if name in self._opening or name in self._recalled:
            return False
        rest = self.budget.outstanding(name)
        closings = self.budget.take_back(name)
        if closings:
            self.pay(host, endpoint, Amount().minus(rest))
        self._out += [CloseBlock(closing) for closing in closings]
        self.record()
        return bool(closings)

    def lost(self, host: str, *, ended: bool = True) -> None:
        """What a host held counts as spent; its slots are free once it has surely ``ended``."""
        self._ended.add(host)
        for name, (where, _) in self._holders.items():
            if where == host:
                closings = self.budget.take_back(name, whole=True)
                self._out += [CloseBlock(closing) for closing in closings]
                self._hungry.discard(name)
                self._recalled.pop(name, None)
                if ended:
                    self._slots[name] = Slots()

    def end(self) -> None:
        """No host is left: blocks that are open yet count as spent whole."""
        for host in {host for host, _ in self._holders.values()}:
            self.lost(host)

    def record(self) -> None:
        """Write down spending that no block is open for."""
        self._out += [CloseBlock(closing) for closing in self.budget.record()]
