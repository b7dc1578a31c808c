"""The way to a Ray cluster: found, joined or begun."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

from apwa.executor.cluster.reach import unreachable
from apwa.vocabulary import Misuse, RunFailed

NAMESPACE = "apwa"


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


def alive_nodes() -> list[dict[str, Any]]:
    ray = need_ray()
    return [node for node in ray.nodes() if node["Alive"]]


def draining_nodes() -> set[str]:
    """Nodes that Ray has been told will end soon: a spot notice, a node given back."""
    need_ray()
    from ray._private.state import state

    try:
        return set(state.get_draining_nodes())
    except Exception:  # it is no public call, and without it such a node is met when it ends
        return set()


def _init(ray: Any) -> Cluster:
    """Join a cluster, or begin one where there is none."""
    # what Ray has to say stays out of the run's own words, as long as it is no error
    logging.getLogger("ray").setLevel(logging.ERROR)
    # it prints the ends of workers to stdout, which is for answers, and has no setting for it
    vars(ray._private.worker)["_worker_logs_enabled"] = False
    quiet = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    address = _address()
    context = ray.init(address or "local", namespace=NAMESPACE, **quiet)
    url = context.dashboard_url
    return _look(context.address_info["gcs_address"], f"http://{url}" if url else "", not address)


def _address() -> str:
    """The cluster to join: the one that is named, else this machine's own; empty: there is none.

    It is asked for an answer first: Ray would wait a minute for a cluster that has ended, and then
    end this process. Raises ConnectionError if nobody answers at the one that is named.
    """
    from ray._private.services import find_gcs_addresses
    from ray._private.utils import read_ray_address

    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return ""
    if named and named != "auto":
        if trouble := unreachable(f"ray://{named}"):
            raise ConnectionError(trouble)
        return named
    for found in (read_ray_address(), *find_gcs_addresses()):
        if found and not unreachable(f"ray://{found}"):
            return found
    return ""


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
