"""A host behind the wire format: every message is encoded and decoded, both ways.

What works here works wherever bytes can go, so the same tests run over both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from apwa.executor.seam import Host
from apwa.vocabulary.messages import (
    FromHost,
    ToHost,
    decode_from_host,
    decode_to_host,
    encode,
)


class LoopbackHost:
    """A Host that passes everything through bytes to another."""

    def __init__(self, inner: Host) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    async def start(self) -> None:
        await self._inner.start()

    def send(self, message: ToHost) -> None:
        self._inner.send(decode_to_host(encode(message)))

    async def messages(self) -> AsyncIterator[FromHost]:
        async for message in self._inner.messages():
            yield decode_from_host(encode(message))

    async def stop(self) -> None:
        await self._inner.stop()
