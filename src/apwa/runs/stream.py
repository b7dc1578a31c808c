"""The run's event stream: numbered and journaled first, then told to whoever listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from apwa.journal import Journal
from apwa.vocabulary.events import Event, Numbered, Trouble

Listener = Callable[[Numbered], None]

_BOUND = 10_000  # events waiting for the journal; it commits thousands a second


class Stream:
    """Takes events from anywhere in the loop and writes them in order, one task behind."""

    def __init__(self, journal: Journal, listeners: list[Listener]) -> None:
        self._journal = journal
        self._listeners = listeners
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue(_BOUND)
        self._task: asyncio.Task[None] | None = None
        self._trouble: BaseException | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._pump(), name="event stream")

    def emit(self, event: Event) -> None:
        """Take an event; never blocks. A full queue drops none: it is an error of ours."""
        self._waiting.put_nowait(event)

    async def close(self) -> None:
        """Write what is waiting. Raises what the journal raised, once."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._waiting.put_nowait(None)
        await task
        if self._trouble is not None:
            raise self._trouble

    async def _pump(self) -> None:
        while (event := await self._waiting.get()) is not None:
            if self._trouble is not None:
                continue  # the journal is gone; the driver learns of it from its own writes
            try:
                numbered = await self._journal.add_event(event)
            except Exception as trouble:
                self._trouble = trouble
                continue
            for listener in list(self._listeners):
                try:
                    listener(numbered)
                except Exception as error:
                    # a display that breaks must not stop the run, nor the other listeners
                    self._listeners.remove(listener)
                    words = f"a listener failed and hears no more: {type(error).__name__}: {error}"
                    self.emit(Trouble("listener", words))
