"""The seam to capabilities: named tools that a template may grant its workers.

A worker gets what its template grants and nothing else. A capability is started once a host,
opened once a subtask, and called with a deadline.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from apwa.models.seam import Part, ToolSpec


class CapabilityCard(msgspec.Struct, frozen=True):
    """What the registry, the manager and plan checks know of a capability."""

    name: str
    description: str  # for the manager: what it is good for
    arguments: dict[str, Any]  # JSON Schema of the grant's arguments
    version: str
    effects: bool = False  # it changes the world: intents are journaled before its calls
    shareable: bool = True  # False switches sharing of equal requests off
    requires: list[str] = []  # extras, binaries, secrets, in words


class ToolResult(msgspec.Struct, frozen=True):
    parts: list[Part]
    failed: bool = False


class Session(Protocol):
    """A capability opened for one subtask."""

    @property
    def tools(self) -> list[ToolSpec]: ...

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolResult:
        """Run one tool call. Cancelled at its deadline. Trouble that the model can mend is a
        result with ``failed``; anything raised is the capability's failure (ErrorKind.TOOL)."""
        ...

    async def close(self) -> None: ...


class Capability(Protocol):
    @property
    def card(self) -> CapabilityCard: ...

    def portable(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A grant's arguments for a host elsewhere: with what they name of this machine in them.

        Raises BadInput or Misuse if that is not here.
        """
        ...

    async def start(self) -> None:
        """Once a host: pools, servers."""
        ...

    async def stop(self) -> None: ...

    async def open(self, arguments: dict[str, Any]) -> Session:
        """Once a subtask, with the grant's arguments."""
        ...
