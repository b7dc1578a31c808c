"""A host's capabilities: started once, opened for each attempt that is granted them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from apwa.capabilities import Capability, Registry, Session, ToolResult
from apwa.models import Text, ToolCall, ToolSpec
from apwa.vocabulary import Granted, Misuse

_LONGEST_NAME_LIST = 20


class Toolbox:
    """The capabilities that this host has started.

    Args:
        registry: Where capabilities are found by name.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._started: dict[str, Capability] = {}
        self._lock = asyncio.Lock()

    def check(self, grants: Sequence[Granted]) -> None:
        """Raises Misuse if a granted capability does not exist here."""
        for grant in grants:
            self._registry.get(grant.name)

    async def open(self, grants: Sequence[Granted]) -> OpenTools:
        """Open the granted capabilities for one attempt. Raises whatever keeps one shut."""
        sessions: list[Session] = []
        try:
            for grant in grants:
                capability = await self._start(grant.name)
                sessions.append(await capability.open(grant.arguments))
            return OpenTools(sessions)
        except BaseException:
            await _close(sessions)
            raise

    async def stop(self) -> None:
        for capability in self._started.values():
            await capability.stop()
        self._started.clear()

    async def _start(self, name: str) -> Capability:
        if name in self._started:
            return self._started[name]
        async with self._lock:
            if name not in self._started:
                capability = self._registry.get(name)
                await capability.start()
                self._started[name] = capability
            return self._started[name]


class OpenTools:
    """The tools of one attempt."""

    def __init__(self, sessions: list[Session]) -> None:
        self._sessions = sessions
        self._by_tool: dict[str, Session] = {}
        self.specs: list[ToolSpec] = []
        for session in sessions:
            for tool in session.tools:
                if tool.name in self._by_tool:
                    raise Misuse(f"two granted capabilities have a tool {tool.name}", "grant")
                self._by_tool[tool.name] = session
                self.specs.append(tool)

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. What the model can mend is a failed result; a capability may raise."""
        session = self._by_tool.get(call.name)
        if session is None:
            known = ", ".join(list(self._by_tool)[:_LONGEST_NAME_LIST]) or "none"
            return _failed(f"there is no tool {call.name[:100]!r}; there are: {known}")
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            return _failed(f"the arguments are no JSON object: {error}")
        return await session.call(call.name, arguments)

    async def close(self) -> None:
        await _close(self._sessions)


def _failed(words: str) -> ToolResult:
    return ToolResult([Text(words)], failed=True)


async def _close(sessions: list[Session]) -> None:
    for session in reversed(sessions):
        await session.close()
