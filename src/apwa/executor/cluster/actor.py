"""The far end of a Ray host: a LocalHost in an actor, and a wire that loses and doubles nothing.

Messages travel in numbered batches both ways. What was not heard is sent again, and what comes
twice is taken once, so that a call of Ray's that fails can simply be made again.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from importlib import import_module

import msgspec

from apwa.capabilities import Registry, UserModule
from apwa.executor.cluster.sharing import Mark, is_here
from apwa.executor.hosts import LocalHost
from apwa.garbage import look_less_often
from apwa.models import LearningChat, ModelKit, open_kit
from apwa.tables import CheckProcess
from apwa.vocabulary.messages import decode_to_host, encode

_MOST_BYTES = 4 << 20  # in one batch to the driver, but always one message
GATHER_S = 0.05  # between two batches: a call of Ray's costs as much CPU as several rows
_WAIT_S = 10.0  # for something to say, before an empty batch is sent


class Equip(msgspec.Struct, frozen=True):
    """A model that the host is to know from now on. Travels among the messages.

    Secrets travel in calls of the actor only: what it is made of stands in Ray's own records.
    """

    endpoint: str
    kit: ModelKit
    variables: dict[str, str]  # keys among them


class HostActor:
    """One host of a cluster. Made an actor by ``fleet``; everything is called by ``RayHost``."""

    def __init__(self, name: str, profile: str) -> None:
        self._name = name
        self._profile = profile
        self._models: dict[str, LearningChat] = {}
        self._checks = CheckProcess()
        self._host: LocalHost | None = None  # from ``begin`` on
        self._taken = 0  # last batch of the driver's that was taken
        self._out: list[bytes] = []  # said and not heard of by the driver
        self._sent = 0  # of those, how many are in the last batch
        self._number = 0  # of the last batch
        self._last = 0.0  # when a batch was last given
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def begin(self, modules: list[UserModule], variables: dict[str, str]) -> None:
        """Start the host. Again: nothing.

        Args:
            modules: The user's, whose functions may be granted.
            variables: Environment variables that these read; secrets among them.
        """
        if self._host is not None:
            return
        import_module("aiohttp")  # takes long, and a host that has said what it is must be heard
        os.environ.update(variables)
        self._host = self._made(Registry.builtin(modules))
        gc.collect()
        gc.freeze()  # what Ray has loaded is never garbage, and looking through it costs
        look_less_often()
        self._reading = asyncio.create_task(self._read(self._host))
        await self._host.start()

    def _made(self, registry: Registry) -> LocalHost:
        import ray

        node = ray.get_runtime_context().get_node_id()
        return LocalHost(
            self._name, self._models, registry, self._checks, profile=self._profile, node=node,
            place=f"node {node[:6]}, {socket.gethostname()}",
        )  # fmt: skip

    async def take(self, number: int, batch: list[bytes | Equip]) -> None:
        """Take a batch of messages, unless it was taken already."""
        if number <= self._taken or self._host is None:
            return  # nothing but an end is told to a host before it has begun
        self._taken = number
        for part in batch:
            if isinstance(part, Equip):
                self._equip(part)
            else:
                self._host.send(decode_to_host(part))

    async def sees(self, file: str, mark: Mark) -> bool:
        """Whether the same file stands under the same path here."""
        return await asyncio.to_thread(is_here, file, mark)

    async def listen(self, heard: int) -> tuple[int, list[bytes], bool]:
        """The next batch of what the host says: its number, messages, whether it is the last.

        ``heard``: the last batch that arrived. The one after it is given again until it has.
        """
        if heard == self._number:
            del self._out[: self._sent]
            self._number += 1
            self._sent = 0
        if not self._sent:
            if not self._out and self._reading is not None and not self._reading.done():
                self._news.clear()
                try:
                    await asyncio.wait_for(self._news.wait(), _WAIT_S)
                except TimeoutError:
                    return heard, [], False
            await self._gather()
        if not self._sent:  # a call that broke off meanwhile may have prepared it
            size = 0
            for message in self._out:
                size += len(message)
                if self._sent and size > _MOST_BYTES:
                    break
                self._sent += 1
        ended = self._reading is not None and self._reading.done()
        return self._number, self._out[: self._sent], ended and self._sent == len(self._out)

    async def _gather(self) -> None:
        """Let more come together for one call, where calls come close upon each other."""
        now = time.monotonic()
        if (early := self._last + GATHER_S - now) > 0:
            await asyncio.sleep(early)
        self._last = max(now, self._last + GATHER_S)

    async def stop(self) -> None:
        if self._host is not None:
            await self._host.stop()
        for model in self._models.values():
            await model.close()
        await self._checks.close()

    def _equip(self, equip: Equip) -> None:
        # where the driver could open it and this host cannot, its node is unfit: what is raised
        # here ends it, and says why
        opened = open_kit(equip.kit, equip.variables)
        known = self._models.setdefault(equip.endpoint, opened.model)
        if known is not opened.model:  # steps that are open use it
            known.take_over(opened.model)
            known.adopt(equip.kit.dialect)

    async def _read(self, host: LocalHost) -> None:
        async for message in host.messages():
            self._out.append(encode(message))
            self._news.set()
        self._news.set()
