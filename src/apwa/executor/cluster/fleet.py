"""The hosts of a run on a Ray cluster: begun as the work asks for them, given back in the tail.

It watches what the executor could use (``Executor.demands``) and keeps so many actors. Where one
goes is Ray's choice, by the resources that a template asks for; with an autoscaler, an actor that
finds no room makes the cluster grow.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from apwa.executor.cluster.actor import Equip, HostActor
from apwa.executor.cluster.connection import alive_nodes, draining_nodes, need_ray
from apwa.executor.cluster.host import Baggage, RayHost
from apwa.executor.core import FROZEN_S, Demand
from apwa.executor.executor import Executor
from apwa.vocabulary.events import Event, Trouble

SLOTS = 64  # calls at once that one host is begun for
_LOOK_S = 0.5
_MANY_ROWS = 64  # of a step, from which on every node gets a host
_PENDING = 2  # hosts at most that wait for a place, beside one where none is yet
_SPARE_S = 10.0  # how long a host may be one too many before it is given back
_SAY_S = 10.0  # without any host, before it is said that there is no room
_PAUSE_S = 300.0  # ... before the run is paused: an autoscaler takes minutes
_MOST_FAILURES = 6  # hosts in a row that end before they have begun

Equipment = Callable[[str], Equip | None]


@dataclass(eq=False, slots=True)
class _Member:
    host: RayHost
    joined: bool = False


@dataclass(slots=True)
class _Wing:
    """The hosts of one kind: those that are given the same resources."""

    resources: dict[str, float]
    members: list[_Member] = field(default_factory=list["_Member"])
    short_since: float | None = None  # no host works, and there is work
    said: bool = False
    spare_since: float | None = None
    failures: int = 0


class Fleet:
    """Keeps as many hosts as the executor's work asks for.

    Args:
        executor: Is given the hosts.
        baggage: What every host is given when it begins.
        equip: Gives what a host needs to open an endpoint's model.
        emit: Takes events.
        run: The run's id: hosts are named after it.
        unfit: Nodes that cannot work.
    """

    def __init__(
        self,
        executor: Executor,
        baggage: Baggage,
        equip: Equipment,
        emit: Callable[[Event], None],
        run: str,
        unfit: set[str],
    ) -> None:
        self._executor = executor
        self._baggage = baggage
        self._equip = equip
        self._emit = emit
        self._run = run
        self._unfit = unfit
        self._wings: dict[str, _Wing] = {}
        self._left: set[str] = set()  # nodes that are drained
        self._numbers = itertools.count(1)
        self._task: asyncio.Task[None] | None = None
        self._actor_class: Any = None

    async def start(self) -> None:
        ray = need_ray()
        self._actor_class = ray.remote(HostActor)
        self._task = self._executor.task(self._keep(), "fleet")

    async def close(self) -> None:
        """Begin and end no more hosts. The executor ends those that it has."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def equip_again(self, endpoints: Sequence[str]) -> None:
        """Give all hosts what they need now to open the models of endpoints."""
        for wing in self._wings.values():
            for member in wing.members:
                for endpoint in endpoints:
                    member.host.equip(endpoint)

    # ---- keeping

    async def _keep(self) -> None:
        while True:
            if demands := self._executor.demands():  # between two steps all are kept
                await self._look(demands)
            else:
                for wing in self._wings.values():
                    wing.short_since = None
            await asyncio.sleep(_LOOK_S)

    async def _look(self, demands: dict[str, Demand]) -> None:
        for name in self._executor.frozen():
            await self._executor.end(name, f"nothing was heard of it for {FROZEN_S:.0f} s")
        nodes = await asyncio.to_thread(alive_nodes)
        leaving = await asyncio.to_thread(draining_nodes)
        self._leave(leaving)
        nodes = [node for node in nodes if node["NodeID"] not in leaving]
        for profile, demand in demands.items():
            wing = self._wings.setdefault(profile, _Wing(demand.resources))
            await self._tend(profile, wing, demand, nodes)
        for wing in [wing for profile, wing in self._wings.items() if profile not in demands]:
            wing.short_since = None
            self._count(wing)
            await self._give_back(wing, 0, time.monotonic())

    def _leave(self, nodes: set[str]) -> None:
        """Let the hosts of nodes that will end soon finish what they have begun."""
        for node in nodes - self._left:
            self._left.add(node)
            here = [n for n in self._executor.host_names() if self._executor.node_of(n) == node]
            self._emit(
                Trouble("cluster", f"node {node[:6]} is drained: its {len(here)} hosts end first")
            )
            for host in here:
                self._executor.retire(host)

    async def _tend(
        self, profile: str, wing: _Wing, demand: Demand, nodes: list[dict[str, Any]]
    ) -> None:
        now = time.monotonic()
        self._count(wing)
        wanted = self._wanted(wing, demand, nodes)
        working = [member for member in wing.members if member.joined]
        pending = len(wing.members) - len(working)
        allowed = _PENDING if working else max(1, min(wanted, len(nodes)))
        for _ in range(min(wanted - len(wing.members), allowed - pending)):
            await self._begin(profile, wing)
        await self._give_back(wing, wanted, now)
        self._look_for_room(wing, bool(working), now)

    async def _give_back(self, wing: _Wing, wanted: int, now: float) -> None:
        """Let a host go that has long been one too many, or all: others may want their places."""
        spare = [member for member in wing.members if member.joined or not wanted]
        if len(spare) <= wanted:
            wing.spare_since = None
            return
        wing.spare_since = wing.spare_since or now
        if now - wing.spare_since > _SPARE_S:
            wing.spare_since = None
            for member in spare[-1:] if wanted else spare:
                if member.joined:
                    self._executor.retire(member.host.name)
                else:
                    await self._executor.end(member.host.name, "it is not needed any more")

    def _count(self, wing: _Wing) -> None:
        """Find out which hosts have come, and which have gone."""
        names = self._executor.host_names()
        for member in list(wing.members):
            state = names.get(member.host.name)
            if state is None:  # it has ended
                wing.members.remove(member)
                wing.failures = 0 if member.joined else wing.failures + 1
            elif state and not member.joined:
                member.joined = True
                wing.failures = 0
                # what is wrong with its node may have come out while it began
                if self._executor.node_of(member.host.name) in self._left | self._avoided():
                    self._executor.retire(member.host.name)

    def _avoided(self) -> set[str]:
        return self._executor.sick_nodes() | self._unfit

    def _wanted(self, wing: _Wing, demand: Demand, nodes: list[dict[str, Any]]) -> int:
        wanted = math.ceil(demand.slots / SLOTS)
        fitting = sum(_fits(wing.resources, node["Resources"]) for node in nodes)
        if demand.rows >= _MANY_ROWS * max(1, len(nodes)):
            wanted = max(wanted, sum(_fits(wing.resources, n["Resources"]) > 0 for n in nodes))
        # two more than there is room for: an autoscaler makes room for them
        return max(1, min(wanted, fitting + _PENDING))

    async def _begin(self, profile: str, wing: _Wing) -> None:
        name = f"{self._run[-6:]}-h{next(self._numbers)}"
        options: dict[str, Any] = {
            **_options(wing.resources),
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": 64,
            "scheduling_strategy": "SPREAD",
        }
        if avoid := self._avoided():
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(avoid))})"}
            del options["scheduling_strategy"]
        actor = self._actor_class.options(**options).remote(name, profile)
        is_dead = _NodeOf(self._executor, name).is_dead
        host = RayHost(name, actor, self._baggage, self._equip, is_dead)
        wing.members.append(_Member(host))
        await self._executor.add(host)

    def _others_work(self, wing: _Wing) -> bool:
        others = (other for other in self._wings.values() if other is not wing)
        return any(member.joined for other in others for member in other.members)

    def _look_for_room(self, wing: _Wing, working: bool, now: float) -> None:
        if working:
            wing.short_since, wing.said = None, False
            return
        wing.short_since = wing.short_since or now
        asked = _in_words(wing.resources)
        if wing.failures >= _MOST_FAILURES:
            self._executor.stop(
                f"{wing.failures} hosts in a row ended before they had begun: see the logs of the"
                " cluster (ray logs). Check that every node has the same apwa and Ray, then resume"
            )
        elif now - wing.short_since > _PAUSE_S and not self._others_work(wing):
            self._executor.stop(
                f"no host with {asked} has begun on the cluster for {_PAUSE_S / 60:.0f} min."
                " Free some room or add nodes, then resume"
            )
        elif now - wing.short_since > _SAY_S and not wing.said:
            wing.said = True
            free = _in_words(dict(need_ray().available_resources()), ray_names=True)
            self._emit(
                Trouble(
                    "cluster",
                    f"a host wants {asked}: the cluster has no room for it yet, or is slow to"
                    f" start it (free: {free})",
                )
            )


@dataclass(frozen=True, slots=True)
class _NodeOf:
    """Whether the node of a host has ended, as far as Ray knows."""

    executor: Executor
    host: str

    def is_dead(self) -> bool:
        node = self.executor.node_of(self.host)
        return bool(node) and all(n["NodeID"] != node for n in alive_nodes())


def _options(resources: dict[str, float]) -> dict[str, Any]:
    """A template's resources as an actor's options."""
    known = {"cpu": "num_cpus", "gpu": "num_gpus", "memory": "memory"}
    options: dict[str, Any] = {"num_cpus": 1.0}
    own: dict[str, float] = {}
    for name, amount in resources.items():
        if name in known:
            options[known[name]] = int(amount) if name == "memory" else amount
        else:
            own[name] = amount
    return {**options, "resources": own} if own else options


def _fits(resources: dict[str, float], node: dict[str, float]) -> int:
    """How many hosts with these resources have room on a node, were it empty."""
    names = {"cpu": "CPU", "gpu": "GPU"}
    asked = {"cpu": 1.0, **resources}
    return min(
        int(node.get(names.get(name, name), 0.0) // amount)
        for name, amount in asked.items()
        if amount > 0
    )


def _in_words(resources: dict[str, float], *, ray_names: bool = False) -> str:
    if not ray_names:
        resources = {"cpu": 1.0, **resources}
    words = {"CPU": "cpu", "GPU": "gpu"}
    parts: list[str] = []
    for name, amount in sorted(resources.items()):
        if ":" in name or (ray_names and name == "object_store_memory"):
            continue  # Ray's own names of nodes
        if name == "memory":
            parts.append(f"{amount / 2**30:.1f} GiB of memory")
        else:
            parts.append(f"{words.get(name, name)} {amount:g}")
    return ", ".join(parts) or "nothing"
