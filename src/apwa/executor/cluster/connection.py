"""The way to a Ray cluster: found, joined or begun; what is there and what is missing, in words."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

from apwa.executor.cluster.actor import Versions, versions_here
from apwa.vocabulary import Misuse, RunFailed

NAMESPACE = "apwa"
_LOOK_S = 10.0  # for all nodes to say what they run


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as it was found.

    Attributes:
        address: Of its head.
        dashboard: Ray's own page; empty if there is none.
        nodes: How many nodes live.
        resources: All that they have, by Ray's names.
        local: Whether it was begun here and ends with this process.
    """

    address: str
    dashboard: str
    nodes: int
    resources: dict[str, float]
    local: bool


def need_ray(extra: str = "ray") -> Any:
    """Ray, or Misuse naming the extra that brings what is needed of it."""
    # Ray under `uv run` would start each worker through uv again
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise Misuse(
            "Ray is not installed",
            "--executor ray",
            f"Install it with: pip install 'apwa[{extra}]'",
        ) from None
    return ray


async def connect() -> Cluster:
    """Join the cluster that ``RAY_ADDRESS`` names or this machine is a node of, or begin one.

    Raises Misuse if Ray is missing or does not fit, RunFailed if the cluster cannot be reached.
    """
    ray = need_ray()
    if ray.is_initialized():
        address = ray.get_runtime_context().gcs_address
        return await asyncio.to_thread(_look, address, "", False)
    with _SignalsKept():
        try:
            return await asyncio.to_thread(_init, ray)
        except Exception as error:
            where = os.environ.get("RAY_ADDRESS", "")
            todo = "Check RAY_ADDRESS and that the cluster runs: ray status"
            words = str(error).strip().splitlines() or [type(error).__name__]
            if isinstance(error, RuntimeError) and "ersion" in str(error):
                words = [" ".join(str(error).split())]
                todo = "Use the same Python and Ray here as on the cluster."
            raise RunFailed(f"no Ray cluster: {words[0]}", where, todo) from error


async def disconnect() -> None:
    ray = need_ray()
    with _SignalsKept():
        await asyncio.to_thread(ray.shutdown)


@dataclass(frozen=True, slots=True)
class NodeLook:
    """What a node said of itself. ``words`` is what does not fit, empty if all does."""

    node: str
    words: str
    fit: bool


async def check_nodes() -> list[NodeLook]:
    """Ask every node what it runs, all at once and for a few seconds at most."""
    ray = need_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(versions_here)
    here = versions_here()
    looks: list[Any] = []
    for node in await asyncio.to_thread(alive_nodes):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeID'][:6]} ({node['NodeManagerHostname']})"
        ref = ask.options(scheduling_strategy=there).remote()
        looks.append(_node_look(node["NodeID"], name, ref, here))
    return await asyncio.gather(*looks)


async def _node_look(node: str, name: str, ref: Any, here: Versions) -> NodeLook:
    from ray.exceptions import RayError

    try:
        there: Versions = await asyncio.wait_for(ref, _LOOK_S)
    except TimeoutError:
        words = f"node {name} has not said within {_LOOK_S:g} s what it runs"
        return NodeLook(node, words, True)  # it may be busy
    except RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return NodeLook(node, f"node {name} cannot work: {lines[-1]}", False)
    differs = [
        f"{what} {theirs or 'is missing'} there, {ours} here"
        for what, theirs, ours in zip(
            ("Python", "Ray", "apwa"), _each(there), _each(here), strict=True
        )
        if theirs != ours
    ]
    words = f"node {name} differs: {'; '.join(differs)}" if differs else ""
    return NodeLook(node, words, there.apwa == here.apwa)


def _each(versions: Versions) -> tuple[str, str, str]:
    return versions.python, versions.ray, versions.apwa


def alive_nodes() -> list[dict[str, Any]]:
    ray = need_ray()
    return [node for node in ray.nodes() if node["Alive"]]


def _init(ray: Any) -> Cluster:
    """Join a cluster, or begin one where there is none."""
    # what Ray has to say stays out of the run's own words, as long as it is no error
    logging.getLogger("ray").setLevel(logging.ERROR)
    # it prints the ends of workers to stdout, which is for answers, and has no setting for it
    vars(ray._private.worker)["_worker_logs_enabled"] = False
    quiet = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    try:
        context = ray.init("auto", namespace=NAMESPACE, **quiet)
        began = False
    except ConnectionError:
        if os.environ.get("RAY_ADDRESS"):
            raise  # it was named: another would not do
        context = ray.init("local", namespace=NAMESPACE, **quiet)
        began = True
    url = context.dashboard_url
    return _look(context.address_info["gcs_address"], f"http://{url}" if url else "", began)


def _look(address: str, dashboard: str, began: bool) -> Cluster:
    import ray

    found = ray.cluster_resources().items()
    resources = {str(name): float(n) for name, n in found if ":" not in name}
    return Cluster(address, dashboard, len(alive_nodes()), resources, began)


class _SignalsKept:
    """Ray takes SIGTERM for itself; the run's own handling of it stays."""

    def __enter__(self) -> None:
        self._kept = None
        if threading.current_thread() is threading.main_thread():
            self._kept = signal.getsignal(signal.SIGTERM)

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            signal.signal(signal.SIGTERM, self._kept)
