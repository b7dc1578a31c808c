"""The meter: every model call of a host to one endpoint passes here.

It keeps to what the driver has granted: so many calls at once, none before a hold ends, none
that the budget held could not pay in full. A call draws its upper bound before it begins and
settles what it took; a call of unknown outcome took its bound. Waiting for pace happens here, in
place, and is nobody's failure: a call that the endpoint turns away (too many, overloaded, not to
be reached) gives its slot back, waits as long as the endpoint asks or a growing random while,
and queues again. The driver's gate learns from the samples and decides about the whole pace.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

from apwa.models import ChatFailure, ChatReply
from apwa.vocabulary import ErrorKind, Follow, Price, Usage
from apwa.vocabulary.messages import FromHost, Grant, Hungry, Pace, PaceSample, Settled
from apwa.worker.calls import CallLog, new_call_id, usage_of

_LONGEST_BACKOFF_S = 30.0
_LONGEST_WAIT_S = 600.0  # whatever an endpoint asks for: then it is asked again
_PACE_S = 0.1  # between two reports of samples
_TURNED_AWAY = (ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED)  # not worked on: nothing is drawn
_MOST_RESTING = 8
_MOST_BREAKS = 5  # broken connections in a row before the row itself is suspected

Send = Callable[[str, float], Awaitable[ChatReply]]
"""Make the call: its id and the seconds it may take. Raises ChatFailure."""


class OutOfTime(Exception):
    """The attempt has no time left for another call."""


class Meter:
    """Pace and budget of one endpoint on one host.

    Args:
        endpoint: The endpoint's name in messages.
        say: Takes the messages for the driver.
        on_rest: Called when a call that was turned away gives its slot back for a while.

    Attributes:
        slots: Calls that may be under way at once.
        in_flight: Calls under way.
        resting: Calls that were turned away and wait to be made again.
        taken: Number of the last grant taken.
    """

    def __init__(
        self,
        endpoint: str,
        say: Callable[[FromHost], None],
        on_rest: Callable[[], None] = lambda: None,
    ) -> None:
        self.endpoint = endpoint
        self.slots = 0
        self.in_flight = 0
        self.resting = 0
        self.taken = 0
        self._peak = 0  # of calls under way since the last report
        self._say = say
        self._on_rest = on_rest
        self._loop = asyncio.get_running_loop()
        self._random = random.Random()
        self._lapses_at = 0.0
        self._halted = False
        self._hold_until = 0.0
        self._hold_timer: asyncio.TimerHandle | None = None
        self._held: list[int | None] = [None, None, None]  # calls, tokens, money
        self._round = 0  # grows whenever what is held begins anew
        self._hungry = False
        self._waiting: deque[tuple[asyncio.Future[int], Usage]] = deque()
        self._drawn = [0, 0, 0]
        self._samples: list[PaceSample] = []
        self._pace_timer: asyncio.TimerHandle | None = None

    # ---- from the driver

    def grant(self, grant: Grant, lapses_at: float) -> None:
        """Take a grant: its slots replace those before, its budget is added.

        ``lapses_at``, on the monotonic clock: no call begins from then on, until the next grant.
        """
        self.taken = grant.number
        self._lapses_at = lapses_at
        self.slots = 0 if self._halted else grant.slots
        if grant.hold_s > 0:
            self._hold_until = max(self._hold_until, time.monotonic() + grant.hold_s)
        given = (grant.calls, grant.tokens, grant.cost_nusd)
        if grant.anew:
            self._round += 1
            self._held = [None, None, None]
        self._held = [
            None if more is None else (have or 0) + more
            for have, more in zip(self._held, given, strict=True)
        ]
        if any(more is not None and more > 0 for more in given):
            self._hungry = False
        self._admit()

    def remind(self) -> None:
        """Say again what the driver may have missed."""
        self._hungry = False
        self._admit()

    # ---- for workers

    async def call(
        self, send: Send, bound: Usage, price: Price | None, log: CallLog, timeout_s: float
    ) -> ChatReply:
        """One call that brings a reply, however often the endpoint makes it wait.

        Args:
            send: Makes the call.
            bound: The most that the call may take.
            price: What its tokens cost.
            log: Is told each call that took something.
            timeout_s: Of the whole attempt, waits not counted.

        Raises:
            ChatFailure: The call failed, and not for pace.
            OutOfTime: The attempt's time is used up.
        """
        waits = breaks = 0
        while True:
            if self._waiting or not self._may_begin(bound):
                drawn_in = await self._queue(bound)
            else:
                drawn_in = self._begin(bound)
            call_id = new_call_id()
            failure: ChatFailure | None = None
            begun = time.monotonic()
            log.calling = True
            spent = bound
            try:
                left_s = timeout_s - log.active_s
                if left_s <= 0:
                    spent = Usage()
                    raise OutOfTime
                reply = await send(call_id, left_s)
                usage = usage_of(reply.tokens, price)
                spent = usage if reply.tokens.reported else bound
                took_s = time.monotonic() - begun
                log.active_s += took_s
                log.add(call_id, reply.model, None, usage, took_s)
                self._sample(PaceSample(None, took_s))
                return reply
            except ChatFailure as error:
                failure = error
                took_s = time.monotonic() - begun
                told = error.tokens is not None and error.tokens.reported
                unknown = error.sent and error.kind not in _TURNED_AWAY and not told
                spent = bound if unknown else Usage()
                if error.tokens is not None and told:
                    spent = usage_of(error.tokens, price)
                if spent.calls:  # what is not known counts as spent here as in the budget
                    log.add(call_id, "", error.kind, spent, took_s, bound=unknown)
                self._sample(PaceSample(error.kind, took_s, error.retry_after_s, error.message))
            finally:  # a cancelled call has drawn its bound too
                log.calling = False
                self._end(bound, spent, drawn_in)
            if failure.kind.follow is not Follow.WAIT:
                log.active_s += took_s
                if failure.kind.follow is Follow.PAUSE:
                    # more calls would only hear the same, whatever is granted yet
                    self._halted, self.slots = True, 0
                raise failure
            breaks = breaks + 1 if failure.kind is ErrorKind.UNREACHABLE and failure.sent else 0
            if breaks == _MOST_BREAKS:
                raise ChatFailure(
                    ErrorKind.SERVER_ERROR,
                    f"{breaks} times in a row on this row: {failure.message}",
                )
            await self._rest(self._wait_s(failure, waits))
            waits += 1

    # ---- for the host

    @property
    def workers(self) -> int:
        """How many workers keep the slots in use: some more than slots, where some rest.

        Not many more, since an endpoint that turns everybody away shall not be asked by all.
        """
        return self.slots + min(self.resting, self.slots + _MOST_RESTING) if self.slots else 0

    def settled(self) -> Settled | None:
        """What calls have drawn since last asked, to be told to the driver."""
        if not any(self._drawn):
            return None
        calls, tokens, money = self._drawn
        self._drawn = [0, 0, 0]
        return Settled(self.endpoint, calls, tokens, money)

    def close(self) -> None:
        for timer in (self._hold_timer, self._pace_timer):
            if timer is not None:
                timer.cancel()

    # ---- slots and budget

    def _may_begin(self, bound: Usage) -> bool:
        return (
            self.in_flight < self.slots
            and time.monotonic() < self._lapses_at
            and (self._hold_until == 0.0 or self._hold_is_over())
            and self._can_pay(bound)
        )

    def _hold_is_over(self) -> bool:
        left_s = self._hold_until - time.monotonic()
        if left_s <= 0:
            self._hold_until = 0.0
            return True
        if self._hold_timer is None:
            self._hold_timer = self._loop.call_later(left_s, self._after_hold)
        return False

    def _after_hold(self) -> None:
        self._hold_timer = None
        self._admit()

    def _can_pay(self, bound: Usage) -> bool:
        calls, tokens, money = self._held
        if (
            (calls is None or calls >= 1)
            and (tokens is None or tokens >= bound.tokens)
            and (money is None or money >= (bound.cost_nusd or 0))
        ):
            return True
        if not self._hungry:
            self._hungry = True
            settled = self.settled()
            if settled is not None:
                self._say(settled)
            self._say(Hungry(self.endpoint, 1, bound.tokens, bound.cost_nusd or 0))
        return False

    def _begin(self, bound: Usage) -> int:
        """Take a slot and the bound; gives the round in which this was drawn."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        self._draw(bound, -1)
        return self._round

    def _end(self, bound: Usage, spent: Usage, drawn_in: int) -> None:
        self.in_flight -= 1
        if drawn_in == self._round:
            self._draw(bound, 1)
            self._draw(spent, -1)
        self._drawn[0] += spent.calls
        self._drawn[1] += spent.tokens
        self._drawn[2] += spent.cost_nusd or 0
        if self._waiting:
            if self.in_flight == 0:  # nothing will come back any more: if hungry, say so again
                self._hungry = False
            self._admit()

    def _draw(self, usage: Usage, sign: int) -> None:
        for n, amount in enumerate((usage.calls, usage.tokens, usage.cost_nusd or 0)):
            held = self._held[n]
            if held is not None:
                self._held[n] = held + sign * amount

    async def _queue(self, bound: Usage) -> int:
        """Wait for a turn; the slot and the bound are taken when this returns, as by ``_begin``."""
        turn: asyncio.Future[int] = self._loop.create_future()
        self._waiting.append((turn, bound))
        self._admit()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end(bound, Usage(), turn.result())
            else:
                self._admit()
            raise

    def _admit(self) -> None:
        """Let those begin that may, in the order in which they came."""
        while self._waiting:
            turn, bound = self._waiting[0]
            if turn.done():  # cancelled meanwhile
                self._waiting.popleft()
            elif self._may_begin(bound):
                self._waiting.popleft()
                turn.set_result(self._begin(bound))
            else:
                return

    # ---- pace

    async def _rest(self, wait_s: float) -> None:
        self.resting += 1
        try:
            self._on_rest()
            await asyncio.sleep(wait_s)
        finally:
            self.resting -= 1

    def _wait_s(self, failure: ChatFailure, waits: int) -> float:
        asked = failure.retry_after_s
        if asked is not None:
            asked = min(asked, _LONGEST_WAIT_S)
            return asked + self._random.uniform(0.0, 0.05 + 0.1 * asked)
        return self._random.uniform(0.5, 1.0) * min(_LONGEST_BACKOFF_S, 0.5 * 2.0 ** min(waits, 10))

    def _sample(self, sample: PaceSample) -> None:
        self._samples.append(sample)
        if self._pace_timer is None:
            self._pace_timer = self._loop.call_later(_PACE_S, self._report_pace)

    def _report_pace(self) -> None:
        self._pace_timer = None
        samples, self._samples = self._samples, []
        self._say(Pace(self.endpoint, samples, self._peak))
        self._peak = self.in_flight
