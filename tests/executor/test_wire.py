"""The wire of a host on a cluster, over calls that break: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apwa.executor.cluster import HostActor, actor
from apwa.vocabulary.messages import FromHost, Returned, decode_from_host


class _Speaking:
    """A host that says numbers, now and then several at once."""

    def __init__(self, count: int, chance: random.Random) -> None:
        self.count = count
        self.chance = chance

    async def messages(self) -> AsyncIterator[FromHost]:
        for number in range(self.count):
            if self.chance.random() < 0.5:
                await asyncio.sleep(self.chance.uniform(0.0, 0.006))
            yield Returned([number])


@pytest.mark.parametrize("seed", range(5))
async def test_what_a_host_says_comes_once_and_in_order_though_calls_break(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "GATHER_S", 0.004)
    chance = random.Random(seed)
    far: Any = HostActor("h1", "")
    far._reading = asyncio.create_task(far._read(_Speaking(300, chance)))
    heard, ended = 0, False
    got: list[int] = []
    broken: list[asyncio.Task[Any]] = []
    while not ended:
        call = asyncio.create_task(far.listen(heard))
        if chance.random() < 0.5:  # it breaks: the far end goes on with it, and nobody hears of it
            await asyncio.sleep(chance.uniform(0.0, 0.012))
            broken.append(call)
            continue
        number, batch, ended = await call
        if number > heard:
            heard = number
            for data in batch:
                message = decode_from_host(data)
                assert isinstance(message, Returned)
                got += message.lease_ids
    assert got == list(range(300))
    await asyncio.wait(broken, timeout=1.0)
    for call in broken:
        call.cancel()
