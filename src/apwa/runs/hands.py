"""Where the hosts of a run are: in this process, or on a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from apwa.executor import Executor, Host, LocalHost
from apwa.executor.cluster import Equip, Fleet, check_nodes, connect, disconnect
from apwa.models import ModelKit
from apwa.vocabulary import RunFailed
from apwa.vocabulary.events import ClusterFound, Event, Trouble


class Hands(Protocol):
    """The hosts of a run, from their beginning to their end."""

    @property
    def hosts(self) -> Sequence[Host]:
        """Those that are there from the start."""
        ...

    async def connect(self) -> None:
        """Find what is needed to have hosts. Raises Misuse, RunFailed."""
        ...

    async def start(self, executor: Executor) -> None:
        """Have hosts for the executor, which has started."""
        ...

    async def stop(self) -> None:
        """Begin no more hosts."""
        ...

    async def close(self) -> None:
        """The executor has ended its hosts: let go of the rest."""
        ...


class LocalHands:
    """One host, in this process."""

    def __init__(self, host: LocalHost) -> None:
        self.hosts = [host]

    async def connect(self) -> None: ...

    async def start(self, executor: Executor) -> None: ...

    async def stop(self) -> None: ...

    async def close(self) -> None: ...


class ClusterHands:
    """As many hosts on a Ray cluster as the work asks for.

    Args:
        kit: Gives what a host needs to open an endpoint's model, and the secrets for it.
        emit: Takes events.
        run: The run's id.
    """

    def __init__(
        self,
        kit: Callable[[str], tuple[ModelKit, dict[str, str]] | None],
        emit: Callable[[Event], None],
        run: str,
    ) -> None:
        self.hosts: Sequence[Host] = ()
        self._kit = kit
        self._emit = emit
        self._run = run
        self._unfit: set[str] = set()
        self._fleet: Fleet | None = None
        self._connected = False

    async def connect(self) -> None:
        cluster = await connect()
        self._connected = True
        self._emit(
            ClusterFound(
                cluster.address, cluster.dashboard, cluster.nodes, cluster.resources, cluster.local
            )
        )
        looks = await check_nodes()
        for look in looks:
            if look.words:
                self._emit(Trouble("cluster", look.words))
        self._unfit = {look.node for look in looks if not look.fit}
        if looks and len(self._unfit) == len(looks):
            raise RunFailed(
                f"no node of the cluster can work: {looks[0].words}",
                cluster.address,
                "Have the same Python, Ray and apwa on every node, then resume.",
            )

    async def start(self, executor: Executor) -> None:
        self._fleet = Fleet(executor, self._equip, self._emit, self._run, self._unfit)
        await self._fleet.start()

    async def stop(self) -> None:
        if self._fleet is not None:
            await self._fleet.close()

    async def close(self) -> None:
        if self._connected:
            self._connected = False
            with contextlib.suppress(Exception):
                await disconnect()

    def _equip(self, endpoint: str) -> Equip | None:
        found = self._kit(endpoint)
        return None if found is None else Equip(endpoint, *found)
