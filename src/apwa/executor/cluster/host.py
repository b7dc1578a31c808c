"""The near end of a Ray host: what the executor sees of an actor on some node."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from apwa.capabilities import UserModule
from apwa.executor.cluster.actor import GATHER_S, Equip
from apwa.vocabulary.messages import (
    FromHost,
    Gone,
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
    """

    modules: list[UserModule]
    variables: dict[str, str]


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
        self._out: list[bytes | Equip] = []
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
            equip = self._equip(message.spec.endpoint)
            if equip is not None and equip != self._equipped.get(equip.endpoint):
                self._equipped[equip.endpoint] = equip
                self._out.append(equip)
        self._out.append(encode(message))
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
            if number > heard:
                heard = number
                for data in batch:
                    yield decode_from_host(data)

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
        from ray.exceptions import ActorUnavailableError, RayError

        number, last = 0, 0.0
        while True:
            await self._news.wait()
            self._news.clear()
            if (early := last + GATHER_S - time.monotonic()) > 0:
                await asyncio.sleep(early)
            last = time.monotonic()
            while self._out:
                batch = self._next_batch()
                number += 1
                while True:
                    try:
                        await self._actor.take.remote(number, batch)
                        break
                    except ActorUnavailableError:
                        await asyncio.sleep(_AGAIN_S)
                    except RayError:
                        return  # whoever listens hears of it too

    def _next_batch(self) -> list[bytes | Equip]:
        size = count = 0
        for part in self._out:
            size += len(part) if isinstance(part, bytes) else 0
            if count and size > _MOST_BYTES:
                break
            count += 1
        batch = self._out[:count]
        del self._out[:count]
        return batch


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = [line for line in lines if "actor is dead because" in line or "Error Message" in line]
    return (reason or lines or ["it ended"])[0][:300]
