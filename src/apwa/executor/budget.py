"""The budget: hard caps, spent in blocks that are journaled before use. Pure.

A *holder* is a host's use of one endpoint. What it may spend it is granted from blocks. A block
counts as spent whole while it is open, so a crash at any moment leaves the sum on the safe
side: spent + all open blocks never passes a cap. A block is closed with what was drawn once the
holder cannot hold any of it any more; what a block lacks in one measure (calls, tokens, money)
is asked for by the next.

A measure without a cap is counted, and neither granted nor blocked. Without any cap there are
no blocks: spending is recorded as it is reported.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from apwa.vocabulary import Caps, Usage
from apwa.vocabulary.numbers import money

_SHARE = 4  # a block takes at most this part of what is left, so that every holder finds some


class Amount(NamedTuple):
    """Calls, tokens and money, as whole numbers."""

    calls: int = 0
    tokens: int = 0
    cost_nusd: int = 0

    def plus(self, other: Amount) -> Amount:
        return Amount(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def minus(self, other: Amount) -> Amount:
        return Amount(self[0] - other[0], self[1] - other[1], self[2] - other[2])

    def times(self, factor: int) -> Amount:
        return Amount(self[0] * factor, self[1] * factor, self[2] * factor)


NOTHING = Amount()


def amount_of(usage: Usage) -> Amount:
    return Amount(usage.calls, usage.tokens, usage.cost_nusd or 0)


class Closing(NamedTuple):
    """A block to close. ``block`` None: spending that no block was opened for."""

    holder: str
    block: int | None
    spent: Usage


@dataclass(slots=True)
class _Holder:
    blocks: deque[tuple[int, Amount]] = field(default_factory=deque[tuple[int, Amount]])
    drawn: Amount = NOTHING  # reported and not yet written to a block
    granted: Amount = NOTHING  # limits of open blocks
    detail: list[int] = field(default_factory=lambda: [0, 0, 0])  # output, cached, reasoning
    unpriced: bool = False
    settled_calls: int = 0
    opening: int = 0  # blocks being journaled


class Budget:
    """Books of a run's spending."""

    def __init__(self, caps: Caps | None, spent: Usage) -> None:
        self._caps = (None, None, None)
        self._unknown_before = spent.cost_nusd is None
        self._spent = amount_of(spent)  # closed, by all
        self._reserved = Amount()  # open blocks and those being opened
        self._holders: dict[str, _Holder] = {}
        if caps is not None:
            self.set_caps(caps)

    @property
    def caps(self) -> tuple[int | None, int | None, int | None]:
        return self._caps

    @property
    def capped(self) -> bool:
        return any(cap is not None for cap in self._caps)

    @property
    def words(self) -> str:
        """The caps, for people."""
        calls, tokens, cost = self._caps
        said = [
            *([] if cost is None else [f"{money(cost)}"]),
            *([] if tokens is None else [f"{tokens:,} tokens"]),
            *([] if calls is None else [f"{calls:,} calls"]),
        ]
        return f"the {'cap' if len(said) == 1 else 'caps'} of {' and '.join(said)}"

    def set_caps(self, caps: Caps) -> bool:
        """New caps from now on; a measure that is None is no longer capped.

        Gives whether holders may have more than these allow, in blocks or for want of a cap.
        """
        before, self._caps = self._caps, (caps.calls, caps.tokens, caps.cost_nusd)
        new = any(
            cap is not None and was is None for cap, was in zip(self._caps, before, strict=True)
        )
        return new or any(n < 0 for n in self.left())

    def without_uncapped(self, amount: Amount) -> Amount:
        return Amount(*(0 if cap is None else n for cap, n in zip(self._caps, amount, strict=True)))

    # ---- blocks

    def left(self) -> Amount:
        """What no block holds; measures without a cap are 0."""
        left = [
            0 if cap is None else cap - spent - reserved
            for cap, spent, reserved in zip(self._caps, self._spent, self._reserved, strict=True)
        ]
        if self._unknown_before and self._caps[2] is not None:
            left[2] = 0  # what was spent before is unknown, and unknown is never 0
        return Amount(*left)

    def outstanding(self, name: str) -> Amount:
        """What a holder may still spend of what it was granted."""
        holder = self._of(name)
        return holder.granted.minus(holder.drawn)

    def ask(self, name: str, bound: Amount, calls: int) -> Amount | None:
        """Take a block for a holder: enough for one call of ``bound``, better for ``calls``.

        Gives what to journal and then to grant; None if not even one call can ever be paid.
        Where the rest pays one only with what is held for calls under way, it is all given,
        and may be nothing.
        """
        bound = self.without_uncapped(bound)
        left, have = self.left(), self.outstanding(name)
        block: list[int] = []
        for one, rest, held in zip(bound, left, have, strict=True):
            wanted = max(0, one * calls - max(0, held))
            least = min(one, wanted)
            if least <= rest:
                block.append(max(least, min(wanted, rest // _SHARE)))
            elif one <= rest + max(0, held):
                block.append(max(0, rest))
            else:
                return None
        taken = Amount(*block)
        self._reserved = self._reserved.plus(taken)
        self._of(name).opening += 1
        return taken

    def opened(self, name: str, block: int, limit: Amount) -> None:
        """A block taken with ``ask`` is journaled."""
        holder = self._of(name)
        holder.opening -= 1
        holder.blocks.append((block, limit))
        holder.granted = holder.granted.plus(limit)

    def not_opened(self, name: str) -> None:
        """A block taken with ``ask`` was empty and is not journaled."""
        self._of(name).opening -= 1

    # ---- spending

    def saw(self, name: str, output: int, cached: int, reasoning: int, *, priced: bool) -> None:
        """Details that results tell and settlements do not: for the record, not for the cap."""
        holder = self._of(name)
        holder.detail[0] += output
        holder.detail[1] += cached
        holder.detail[2] += reasoning
        holder.unpriced = holder.unpriced or not priced

    def settle(self, name: str, amount: Amount) -> list[Closing]:
        """A holder reports what its calls have drawn; gives blocks that are used up."""
        holder = self._of(name)
        holder.drawn = holder.drawn.plus(amount)
        holder.settled_calls += amount.calls
        closings: list[Closing] = []
        while holder.blocks:
            block, limit = holder.blocks[0]
            if any(d < n for d, n in zip(holder.drawn, limit, strict=True) if n):
                break
            holder.blocks.popleft()
            closings.append(self._close(name, holder, block, limit, last=False))
        return closings

    def settled_calls(self, name: str) -> int:
        return self._of(name).settled_calls

    def record(self) -> list[Closing]:
        """Spending to write down where no block is open for it."""
        closings: list[Closing] = []
        for name, holder in self._holders.items():
            if any(holder.drawn) and not holder.blocks:
                closings.append(self._close(name, holder, None, Amount(), last=True))
        return closings

    def take_back(self, name: str, *, whole: bool = False) -> list[Closing]:
        """Close all blocks of a holder: with what was drawn, or ``whole`` for one that is lost.

        The caller sees to it that the holder spends nothing of them from now on.
        """
        holder = self._of(name)
        if whole:
            rest = holder.granted.minus(holder.drawn)
            holder.drawn = holder.drawn.plus(Amount(*(max(0, n) for n in rest)))
        closings: list[Closing] = []
        while holder.blocks:
            block, limit = holder.blocks.popleft()
            closings.append(self._close(name, holder, block, limit, last=not holder.blocks))
        return closings

    def _close(
        self, name: str, holder: _Holder, block: int | None, limit: Amount, *, last: bool
    ) -> Closing:
        """Write drawn spending to a block: up to its limit, or all that there is to the last."""
        if last:
            spent = holder.drawn
        else:
            spent = Amount(
                *(
                    drawn if cap is None else min(drawn, n)
                    for drawn, n, cap in zip(holder.drawn, limit, self._caps, strict=True)
                )
            )
        holder.drawn = holder.drawn.minus(spent)
        holder.granted = holder.granted.minus(limit)
        self._reserved = self._reserved.minus(limit)
        self._spent = self._spent.plus(spent)
        output, cached, reasoning = holder.detail
        output = min(output, spent.tokens)
        cached = min(cached, spent.tokens - output)
        reasoning = min(reasoning, output)
        holder.detail = [
            n - m for n, m in zip(holder.detail, (output, cached, reasoning), strict=True)
        ]
        cost = None if holder.unpriced else spent.cost_nusd
        usage = Usage(spent.calls, spent.tokens - output, output, cached, reasoning, cost)
        return Closing(name, block, usage)

    # ---- single calls, of the manager

    def claim(self, bound: Usage) -> Amount | None:
        """Reserve one call's bound; None if a cap cannot pay it."""
        if bound.cost_nusd is None and self._caps[2] is not None:
            return None
        amount = self.without_uncapped(amount_of(bound))
        if any(n > rest for n, rest in zip(amount, self.left(), strict=True)):
            return None
        self._reserved = self._reserved.plus(amount)
        return amount

    def release(self, claimed: Amount, spent: Usage) -> None:
        """The call reserved with ``claim`` has ended."""
        self._reserved = self._reserved.minus(claimed)
        self._spent = self._spent.plus(amount_of(spent))

    def _of(self, name: str) -> _Holder:
        holder = self._holders.get(name)
        if holder is None:
            holder = self._holders[name] = _Holder()
        return holder
