"""What is said while files are on their way, and how a broken transfer is taken up again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_SAY_EACH_S = 5.0
_WAITS_S = (0.2, 1.0, 3.0, 8.0)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the files of one source are. ``all_bytes`` None: the store does not say."""

    files: int
    all_files: int
    size_bytes: int
    all_bytes: int | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source that is here now.

    Attributes:
        source: Where it lies, as ``read_table`` takes it.
        here, there: A folder, and the address of what lies in it, to say places by.
        stamp: Marks the state of what was fetched.
        left_out: Files of a folder that no table is made of, and that stayed where they are.
    """

    source: str
    here: str
    there: str
    stamp: str
    left_out: int = 0


class Broken(Exception):
    """A transfer that ended early, or was refused for now; its words show no address."""


class Teller:
    """Counts bytes and files, and says so every few seconds. Any thread may count."""

    def __init__(self, say: Callable[[Progress], None], files: int, size: int | None) -> None:
        self._say = say
        self._files, self._size = files, size
        self.done = 0
        self.size_bytes = 0
        self._said_at = 0.0

    def expect(self, size: int | None) -> None:
        self._size = size

    def tell(self, *, now: bool = False) -> None:
        """Say how far it is, unless that was said just now."""
        if now or time.monotonic() - self._said_at >= _SAY_EACH_S:
            self._said_at = time.monotonic()
            self._say(Progress(self.done, self._files, self.size_bytes, self._size))


async def persist(once: Callable[[], Awaitable[None]], got: Callable[[], int]) -> None:
    """Do it, and where it breaks, again: as often as it gets further, else a few times.

    (A library for this would say each try on the terminal.) Raises Broken at the end of patience.
    """
    waits = iter(_WAITS_S)
    before = got()
    while True:
        try:
            return await once()
        except Broken:
            if got() > before:
                before, waits = got(), iter(_WAITS_S)
            wait_s = next(waits, None)
            if wait_s is None:
                raise
            await asyncio.sleep(wait_s)
