"""Follows a run: its picture, and how long it has gone on, between events too."""

from __future__ import annotations

from apwa.cli.display.picture import Picture, after
from apwa.vocabulary.events import Numbered


class Watch:
    """Events bring their own time; ticks bring a clock that only goes on. Both are needed.

    Attributes:
        picture: The run as the events so far tell it.
        now: The last tick's clock.
    """

    def __init__(self) -> None:
        self.picture = Picture()
        self.now = 0.0
        self._heard = 0.0  # the clock at the last event
        self._longest = 0.0

    def take(self, numbered: Numbered) -> None:
        self.picture = after(self.picture, numbered)
        self._heard = self.now

    def pass_time(self, now: float) -> None:
        if not self.now:
            self._heard = now
        self.now = now

    @property
    def elapsed_s(self) -> float:
        """Since the run was started or resumed."""
        elapsed = self.picture.elapsed_s + (self.now - self._heard)
        self._longest = max(self._longest, elapsed)  # the two clocks may differ by a tick
        return self._longest
