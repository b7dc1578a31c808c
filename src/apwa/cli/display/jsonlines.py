"""The run's events as JSON lines, for programs that follow a run."""

from __future__ import annotations

import json
from typing import TextIO

import msgspec

from apwa.vocabulary.events import Numbered


class JsonDisplay:
    """Each event as it stands in the journal, in ASCII: nothing that a terminal would obey."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, numbered: Numbered) -> None:
        self._stream.write(json.dumps(msgspec.to_builtins(numbered)) + "\n")
        self._stream.flush()

    def tick(self, now: float) -> None:
        pass

    def pause(self) -> None:
        pass

    def unpause(self) -> None:
        pass

    def close(self) -> None:
        self._stream.flush()
