"""Plain lines, for logs and for terminals that cannot do more. No colour, no cursor."""

from __future__ import annotations

from typing import TextIO

from apwa.cli.display.sentences import event_words, standing
from apwa.cli.display.watch import Watch
from apwa.vocabulary.events import Numbered
from apwa.vocabulary.numbers import duration

_SILENCE_S = 9.0  # with a tick each half second there is a line at least every 10 s


class PlainDisplay:
    """A line for each event that matters, and one at least each 10 s that says where it stands."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._watch = Watch()
        self._last_line = 0.0  # by the ticks' clock
        self._begun = False
        self._paused = False

    def show(self, numbered: Numbered) -> None:
        words = event_words(self._watch.picture, numbered.event)
        self._watch.take(numbered)
        if words:
            self._line(words)

    def tick(self, now: float) -> None:
        self._watch.pass_time(now)
        if not self._begun:
            self._begun, self._last_line = True, now
        if self._paused or self._watch.picture.ended is not None:
            return
        if now - self._last_line >= _SILENCE_S:
            for words in standing(self._watch.picture):
                self._line(words)

    def pause(self) -> None:
        self._paused = True

    def unpause(self) -> None:
        self._paused = False
        self._last_line = self._watch.now

    def close(self) -> None:
        self._stream.flush()

    def _line(self, words: str) -> None:
        self._stream.write(f"[{duration(self._watch.elapsed_s)}] {words}\n")
        self._stream.flush()
        self._last_line = self._watch.now
