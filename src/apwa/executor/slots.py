"""Slots of an endpoint in the hands of hosts: what each may have in use, as far as one can know.

A host takes fewer slots only when it has heard so, and one that is cut off keeps what it has
until its allotment lapses by its own clock. So slots move from host to host only once their
loss is confirmed or has lapsed, and all hosts together never hold more than the gate allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Given:
    """A grant's slots, and from when on nothing of it holds any more."""

    number: int
    slots: int
    lapses_at: float
    in_flight: int = 0


@dataclass(slots=True)
class Slots:
    """One host's slots of one endpoint.

    Attributes:
        told: What the host was told last.
        hold_until: Until when it was told to begin nothing.
    """

    told: int = 0
    hold_until: float = 0.0
    _grants: deque[_Given] = field(default_factory=lambda: deque[_Given]())

    def tell(self, number: int, slots: int, lapses_at: float) -> None:
        self.told = slots
        self._grants.append(_Given(number, slots, lapses_at))

    def heard(self, number: int, in_flight: int) -> None:
        """The host has taken the grant ``number``, and has so many calls under way."""
        while self._grants and self._grants[0].number < number:
            self._grants.popleft()
        if self._grants and self._grants[0].number == number:
            self._grants[0].in_flight = in_flight

    def held(self, now: float) -> int:
        """The most that it may have in use."""
        return max(
            (max(g.slots, g.in_flight) for g in self._grants if now < g.lapses_at), default=0
        )


def share_out(slots: int, wants: Mapping[str, int]) -> dict[str, int]:
    """Divide slots fairly: nobody's part is below another's unless it wants no more.

    What nobody wants is spread over all, so that whoever gets work can begin at once.
    """
    parts: dict[str, int] = {}
    left = slots
    ranked = sorted(wants.items(), key=lambda item: item[1])
    for n, (name, want) in enumerate(ranked):
        parts[name] = min(want, left // (len(ranked) - n))
        left -= parts[name]
    for n, name in enumerate(wants):
        more = -(-left // (len(wants) - n))
        parts[name] += more
        left -= more
    return parts
