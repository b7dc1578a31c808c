"""The manager's conversation as the run keeps it: appended message by message, read at resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from apwa.vocabulary import Usage


class ManagerTurnView(Protocol):
    """One kept message. ``message`` is the JSON of a ``models.Message``."""

    @property
    def number(self) -> int: ...

    @property
    def message(self) -> bytes: ...

    @property
    def usage(self) -> Usage: ...

    @property
    def plan_version(self) -> int:
        """The plan's version in force when the message was kept."""
        ...


class TurnLog(Protocol):
    async def append(self, message: bytes, usage: Usage, plan_version: int) -> None:
        """Keep a message; durable when it returns."""
        ...

    def load(self) -> Sequence[ManagerTurnView]:
        """All messages kept so far, in order."""
        ...
