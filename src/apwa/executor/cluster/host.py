"""The near end of a Ray host: what the executor sees of an actor on some node."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from apwa.capabilities import Registry, UserModule
from apwa.executor.cluster.actor import GATHER_S, Equip
from apwa.executor.cluster.sharing import mark_of
from apwa.tables import CellReader
from apwa.vocabulary import ApwaError, Granted, LeaseItem
from apwa.vocabulary.messages import (
    FromHost,
    Gone,
    Lease,
    OpenStep,
    ToHost,
    decode_from_host,
    encode,
)

_AGAIN_S = 0.2  # between tries of a call that Ray could not make
_STOP_S = 3.0
_MOST_BYTES = 4 << 20  # in one batch to the host, but always one message


@dataclass(frozen=True, slots=True)
class Baggage:
    """What every host is given when it begins.

    Attributes:
        modules: The user's, whose functions may be granted.
        variables: Environment variables that these read; secrets among them.
        registry: What may be granted. It stays here.
        cells: Reads what hosts do not see; one for all, since it keeps what it has read.
    """

    modules: list[UserModule]
    variables: dict[str, str]
    registry: Registry
    cells: CellReader = field(default_factory=CellReader)

    def portable(self, message: OpenStep) -> OpenStep:
        """A step with all that its grants name of this machine, such as a lookup's file."""
        grants: list[Granted] = []
        for grant in message.spec.grants:
            with contextlib.suppress(ApwaError):  # a host that opens it will say the same
                arguments = self.registry.get(grant.name).portable(grant.arguments)
                grant = msgspec.structs.replace(grant, arguments=arguments)
            grants.append(grant)
        return OpenStep(message.scope, msgspec.structs.replace(message.spec, grants=grants))


class RayHost:
    """A Host in an actor.

    Args:
        name: The host's name in messages.
        actor: Its handle.
        baggage: What it is given when it begins.
        equip: Gives what a host needs to open an endpoint's model; None if it needs nothing.
        node_is_dead: Whether the actor's node has ended too.
    """

    def __init__(
        self,
        name: str,
        actor: Any,
        baggage: Baggage,
        equip: Callable[[str], Equip | None],
        node_is_dead: Callable[[], bool],
    ) -> None:
        self._name = name
        self._actor = actor
        self._baggage = baggage
        self._equip = equip
        self._node_is_dead = node_is_dead
        self._equipped: dict[str, Equip] = {}
        self._out: deque[bytes | Equip | Lease] = deque()  # a lease with cells is not yet encoded
        self._seen: dict[str, bool] = {}  # files of cells, and whether the host sees the same
        self._news = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._begun = False

    @property
    def name(self) -> str:
        return self._name

    async def start(self) -> None:
        """The actor may not be there yet: it is listened to, and says so when it is."""
        self._sender = asyncio.create_task(self._send(), name=f"to {self._name}")

    def send(self, message: ToHost) -> None:
        if isinstance(message, OpenStep):
            self.equip(message.spec.endpoint)
            message = self._baggage.portable(message)
        if isinstance(message, Lease) and any(item.cells for item in message.items):
            self._out.append(message)
        else:
            self._out.append(encode(message))
        self._news.set()

    def equip(self, endpoint: str) -> None:
        """Give the host what it needs to open an endpoint's model, unless it has just that."""
        equip = self._equip(endpoint)
        if equip is not None and equip != self._equipped.get(endpoint):
            self._equipped[endpoint] = equip
            self._out.append(equip)
            self._news.set()

    async def messages(self) -> AsyncIterator[FromHost]:
        from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

        heard, ended = 0, False
        while not ended:
            try:
                if not self._begun:
                    baggage = self._baggage
                    await self._actor.begin.remote(baggage.modules, baggage.variables)
                    self._begun = True
                number, batch, ended = await self._actor.listen.remote(heard)
            except ActorDiedError as error:
                alone = not await asyncio.to_thread(self._node_is_dead)
                yield Gone(_first_line(error), alone)
                return
            except ActorUnavailableError:  # cut off for now, or its node has ended: Ray will say
                await asyncio.sleep(_AGAIN_S)
                continue
            except RayError as error:
                yield Gone(_first_line(error))
                return
            if (words := self._deaf()) is not None:
                yield Gone(words, unfit=True)
                return
            if number > heard:
                heard = number
                for data in batch:
                    yield decode_from_host(data)

    def _deaf(self) -> str | None:
        """Why nothing is sent any more; None while it is."""
        sender = self._sender
        if sender is None or not sender.done() or sender.cancelled():
            return None
        error = sender.exception()
        if error is None:
            return None
        return _first_line(getattr(error, "cause", None) or error)

    async def stop(self) -> None:
        import ray

        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._begun:
            with contextlib.suppress(Exception):  # it may be dead, or its node cut off
                await asyncio.wait_for(self._actor.stop.remote(), _STOP_S)
        await asyncio.to_thread(ray.kill, self._actor, no_restart=True)

    async def _send(self) -> None:
        number, last = 0, 0.0
        while True:
            await self._news.wait()
            self._news.clear()
            if (early := last + GATHER_S - time.monotonic()) > 0:
                await asyncio.sleep(early)
            last = time.monotonic()
            while self._out:  # what is raised ends the host: see ``messages``
                batch = await self._next_batch()
                number += 1
                await self._again(lambda n=number, b=batch: self._actor.take.remote(n, b))

    async def _again(self, call: Callable[[], Any]) -> Any:
        """Make a call of the actor's until Ray has made it. Raises RayError if it never will."""
        from ray.exceptions import ActorUnavailableError

        while True:
            try:
                return await call()
            except ActorUnavailableError:
                await asyncio.sleep(_AGAIN_S)

    async def _next_batch(self) -> list[bytes | Equip]:
        batch: list[bytes | Equip] = []
        size = 0
        while self._out:
            part = self._out[0]
            if isinstance(part, Lease):
                part = await self._encoded(part)
            if isinstance(part, bytes):
                size += len(part)
            if batch and size > _MOST_BYTES:
                break
            batch.append(part)
            self._out.popleft()
        return batch

    async def _encoded(self, lease: Lease) -> bytes:
        """A lease's message, the first of those waiting. Cells that the host does not see are
        read here: if they are many, the rest of the lease goes in a message of its own."""
        files = {cell.file for item in lease.items for cell in item.cells}
        for file in files - self._seen.keys():
            mark = await asyncio.to_thread(mark_of, file)
            self._seen[file] = await self._again(
                lambda f=file, m=mark: self._actor.sees.remote(f, m)
            )
        if not all(self._seen[file] for file in files):
            lease = await self._filled(lease)
        self._out[0] = data = encode(lease)
        return data

    async def _filled(self, lease: Lease) -> Lease:
        items: list[LeaseItem] = []
        size = 0
        for item in lease.items:
            size += sum(cell.size for cell in item.cells)
            if items and size > _MOST_BYTES:
                rest = msgspec.structs.replace(lease, items=lease.items[len(items) :])
                self._out.insert(1, rest)
                break
            with contextlib.suppress(Exception):  # who works it will fail to read it, and say so
                values = await asyncio.to_thread(
                    self._baggage.cells.filled, item.values, item.cells
                )
                item = msgspec.structs.replace(item, values=values, cells=[])
            items.append(item)
        return msgspec.structs.replace(lease, items=items)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = [line for line in lines if "actor is dead because" in line or "Error Message" in line]
    return (reason or lines or ["it ended"])[0][:300]
