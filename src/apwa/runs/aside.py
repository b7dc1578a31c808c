"""A coroutine in a thread of its own, for callers who have a loop already or go on meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Begins at once. Ask for the result once it has ended."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        self._outcome: list[T] = []
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name=name)
        self._thread.start()

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        async def main() -> T:
            self._task = asyncio.create_task(work())
            self._loop = asyncio.get_running_loop()
            return await self._task

        try:
            self._outcome.append(asyncio.run(main()))
        except BaseException as error:
            self._failure = error

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended, after so many seconds at most."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Cancel it, and wait for its end."""
        while not self.wait(0.05):
            if self._loop is not None and self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)
                self.wait()

    def result(self) -> T:
        """What it gave. Raises what it raised."""
        self.wait()
        if self._failure is not None:
            raise self._failure
        return self._outcome[0]
