"""What a person sees of a run while it goes on, built from its event stream alone.

It shows counts, pace, use and words, never a row's values, and asks the run nothing. ``Picture``
is what the events come to; the displays only draw it.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol, TextIO

from apwa.cli.display.picture import Picture, StepPicture, after, picture_of
from apwa.vocabulary.events import Numbered


class Display(Protocol):
    """A way to show a run. Called from one thread."""

    def show(self, numbered: Numbered) -> None:
        """Take in the next event."""
        ...

    def tick(self, now: float) -> None:
        """Redraw, or say where it stands; ``now`` is of any clock that only goes forward."""
        ...

    def pause(self) -> None:
        """Leave the screen alone, for a question."""
        ...

    def unpause(self) -> None: ...

    def close(self) -> None: ...


def make_display(kind: str, stream: TextIO | None = None) -> Display:
    """A display: ``rich``, ``plain``, ``json``, ``none``, or ``auto``: what the stream can do."""
    to = sys.stderr if stream is None else stream
    if kind == "auto":
        kind = "rich" if _lively(to) else "plain"
    # the drawing is loaded only when it is wanted: rich takes a while
    match kind:
        case "rich":
            from apwa.cli.display.live import LiveDisplay

            return LiveDisplay(to)
        case "plain":
            from apwa.cli.display.plain import PlainDisplay

            return PlainDisplay(to)
        case "json":
            from apwa.cli.display.jsonlines import JsonDisplay

            return JsonDisplay(to)
        case "none":
            from apwa.cli.display.silent import NoDisplay

            return NoDisplay()
        case _:
            raise ValueError(f"there is no display {kind!r}")


def _lively(stream: TextIO) -> bool:
    """Whether a picture can be redrawn in place there."""
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


__all__ = [
    "Display",
    "Picture",
    "StepPicture",
    "after",
    "make_display",
    "picture_of",
]
