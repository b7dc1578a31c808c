"""Where the hosts of a run are: in this process, or on a Ray cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from apwa.executor import Executor, Host, LocalHost
from apwa.executor.cluster import (
    Baggage,
    Equip,
    Fleet,
    Needs,
    NodeLook,
    check_nodes,
    connect,
    disconnect,
    unreachable,
)
from apwa.runs.endpoints import Endpoints
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

    def equip_again(self, endpoints: Sequence[str]) -> None:
        """Let hosts reach endpoints as this process does now."""
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

    def equip_again(self, endpoints: Sequence[str]) -> None: ...  # it uses the same clients

    async def stop(self) -> None: ...

    async def close(self) -> None: ...


class ClusterHands:
    """As many hosts on a Ray cluster as the work asks for.

    Args:
        endpoints: Gives what a host needs to open a model, and the secrets for it.
        baggage: What every host is given when it begins.
        secrets: Environment variables that the capabilities read.
        emit: Takes events.
        run: The run's id.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        baggage: Baggage,
        secrets: set[str],
        emit: Callable[[Event], None],
        run: str,
    ) -> None:
        self.hosts: Sequence[Host] = ()
        self._endpoints = endpoints
        self._baggage = baggage
        self._secrets = secrets
        self._emit = emit
        self._run = run
        self._unfit: set[str] = set()
        self._looks: dict[str, NodeLook] = {}
        self._fleet: Fleet | None = None
        self._asked: set[asyncio.Task[NodeLook]] = set()
        self._executor: Executor | None = None
        self._connected = False

    async def connect(self) -> None:
        cluster = await connect()
        self._connected = True
        self._emit(
            ClusterFound(
                cluster.address, cluster.dashboard, cluster.nodes, cluster.resources, cluster.local
            )
        )
        needs = await asyncio.to_thread(self._needs)
        looks, self._asked = await check_nodes(needs, self._hear_late)
        for look in looks:
            if look.words:
                self._emit(Trouble("cluster", look.words))
        self._looks = {look.node: look for look in looks}
        # hosts are kept from these; some may be added by those that answer late
        self._unfit.update(look.node for look in looks if not look.fit)
        if words := self._hopeless():
            raise RunFailed(
                words,
                cluster.address,
                "Have the same Python, Ray and apwa there, and what is missing, then resume.",
            )

    def _hear_late(self, look: NodeLook) -> None:
        """A node has said late what it has: hosts that are there already may have to go."""
        if look.words:
            self._emit(Trouble("cluster", look.words))
        if look.fit:
            return
        self._unfit.add(look.node)
        self._looks[look.node] = look
        if self._executor is None:
            return
        if words := self._hopeless():
            self._executor.stop(words)
        else:
            for host in self._executor.host_names():
                if self._executor.node_of(host) == look.node:
                    self._executor.retire(host)

    def _hopeless(self) -> str:
        """Why there can be no hosts, if no node that was asked can have any."""
        asked = [look for look in self._looks.values() if not look.gone]
        if not asked or any(look.fit for look in asked):
            return ""  # if all have gone, others may come
        return f"no node of the cluster can work: {asked[0].words}"

    async def start(self, executor: Executor) -> None:
        self._executor = executor
        self._fleet = Fleet(
            executor, self._baggage, self._equip, self._emit, self._run, self._unfit
        )
        await self._fleet.start()

    def equip_again(self, endpoints: Sequence[str]) -> None:
        if self._fleet is not None:
            self._fleet.equip_again(endpoints)

    async def stop(self) -> None:
        for task in self._asked:
            task.cancel()
        if self._fleet is not None:
            await self._fleet.close()

    async def close(self) -> None:
        if self._connected:
            self._connected = False
            with contextlib.suppress(Exception):
                await disconnect()

    def _needs(self) -> Needs:
        kits = self._endpoints.kits()
        only_there = sorted(self._secrets - self._baggage.variables.keys())
        # what cannot be reached from here either is the endpoint's trouble, not a node's
        addresses = [a for a in self._endpoints.addresses() if not unreachable(a)]
        named = [(kit, sorted(read)) for kit, read in kits]
        return Needs(named, self._baggage.modules, only_there, addresses)

    def _equip(self, endpoint: str) -> Equip | None:
        found = self._endpoints.kit(endpoint)
        return None if found is None else Equip(endpoint, *found)
