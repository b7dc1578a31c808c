"""What each node of a cluster has of what a run needs, and what is missing there, in words."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from apwa.capabilities import UserModule, load_module
from apwa.executor.cluster.connection import alive_nodes, need_ray
from apwa.executor.cluster.reach import unreachable
from apwa.models import ModelKit, open_kit
from apwa.vocabulary import ApwaError

_LOOK_S = 10.0  # for all nodes to say what they have


class Needs(msgspec.Struct, frozen=True):
    """What a host needs to work, without any secret.

    Attributes:
        kits: The models, each with the names of the variables that opening it reads.
        modules: The user's.
        variables: Names of environment variables that only the nodes can have.
        addresses: Of endpoints that can be reached from the driver.
    """

    kits: list[tuple[ModelKit, list[str]]] = []
    modules: list[UserModule] = []
    variables: list[str] = []
    addresses: list[str] = []


class NodeSays(msgspec.Struct, frozen=True):
    """What a node says of itself.

    ``apwa``: its version there; empty if there is none. ``missing``: why no host can work there.
    """

    python: str
    ray: str
    apwa: str
    missing: list[str] = []


@dataclass(frozen=True, slots=True)
class NodeLook:
    """How a node looks from here.

    Attributes:
        words: What does not fit; empty if all does.
        fit: Whether hosts can work there.
        gone: Whether it could not be asked: it has ended, as far as Ray knows.
    """

    node: str
    words: str
    fit: bool
    gone: bool = False


def look_here(needs: Needs) -> NodeSays:
    """What there is in this process of what a host needs."""
    missing: list[str] = []
    for kit, variables in needs.kits:
        try:
            open_kit(kit, dict.fromkeys(variables, "x"))
        except ApwaError as error:
            missing.append(f"the model {kit.spec}: {_in_line(error)}")
    missing += filter(None, map(unreachable, needs.addresses))
    for module in needs.modules:
        try:
            load_module(module)
        except ApwaError as error:
            missing.append(_in_line(error))
    unset = [name for name in needs.variables if name not in os.environ]
    missing += [f"{name} is not set" for name in unset]
    return NodeSays(platform.python_version(), version("ray"), _own_version(), missing)


async def check_nodes(
    needs: Needs, late: Callable[[NodeLook], None]
) -> tuple[list[NodeLook], set[asyncio.Task[NodeLook]]]:
    """Ask every node what it has, all at once.

    Gives how they look after a few seconds, and tasks that wait for those that have not answered
    by then: these are told to ``late``.
    """
    ray = need_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(look_here)
    asked: list[tuple[str, str, asyncio.Task[NodeLook]]] = []
    for node in await asyncio.to_thread(alive_nodes):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeID'][:6]} ({node['NodeManagerHostname']})"
        ref = ask.options(scheduling_strategy=there).remote(needs)
        asked.append((node["NodeID"], name, asyncio.create_task(_look(node["NodeID"], name, ref))))
    if asked:
        await asyncio.wait([task for _, _, task in asked], timeout=_LOOK_S)
    looks: list[NodeLook] = []
    waiting: set[asyncio.Task[NodeLook]] = set()
    for node, name, task in asked:
        if task.done():
            looks.append(task.result())
            continue
        words = f"node {name} has not said within {_LOOK_S:g} s what it has"
        looks.append(NodeLook(node, words, True))  # it may be busy
        task.add_done_callback(lambda done: None if done.cancelled() else late(done.result()))
        waiting.add(task)
    return looks, waiting


async def _look(node: str, name: str, ref: Any) -> NodeLook:
    from ray.exceptions import RayError

    try:
        there: NodeSays = await ref
    except RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return NodeLook(node, f"node {name} cannot work: {lines[-1]}", False, gone=True)
    here = NodeSays(platform.python_version(), version("ray"), _own_version())
    words = [
        f"{what} {theirs or 'is missing'} there, {ours} here"
        for what, theirs, ours in (
            ("Python", there.python, here.python),
            ("Ray", there.ray, here.ray),
            ("apwa", there.apwa, here.apwa),
        )
        if theirs != ours
    ]
    said = [f"differs: {'; '.join(words)}"] if words else []
    if there.missing:
        said.append(f"cannot work: {'; '.join(there.missing)}")
    fit = there.apwa == here.apwa and not there.missing
    return NodeLook(node, f"node {name} {', and '.join(said)}" if said else "", fit)


def _own_version() -> str:
    try:
        return version("apwa")
    except PackageNotFoundError:
        return ""


def _in_line(error: ApwaError) -> str:
    place = f"{error.where}: " if error.where else ""
    return f"{place}{error.what}" + (f" ({error.todo})" if error.todo else "")
