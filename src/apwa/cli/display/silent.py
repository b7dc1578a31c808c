"""No display, for who wants none."""

from __future__ import annotations

from apwa.vocabulary.events import Numbered


class NoDisplay:
    """Shows nothing."""

    def show(self, numbered: Numbered) -> None:
        pass

    def tick(self, now: float) -> None:
        pass

    def pause(self) -> None:
        pass

    def unpause(self) -> None:
        pass

    def close(self) -> None:
        pass
