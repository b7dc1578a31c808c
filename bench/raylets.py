"""Clusters of real raylets on this machine that come to be although it is busy.

Ray gives a raylet 30 s to begin. One that is slower is ended here, and another begun.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from typing import Any

TRIES = 3


def begin_cluster(*, shutdown_at_exit: bool = True, **head: Any) -> Any:
    """A cluster of a head alone."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(shutdown_at_exit=shutdown_at_exit)
    add_node(cluster, **head)
    return cluster


def add_node(cluster: Any, **node: Any) -> Any:
    """A node that has begun. Raises what Ray raises, when it has been tried often enough."""
    for tried in range(1, TRIES + 1):
        before = cluster.list_all_nodes()
        try:
            return cluster.add_node(**node)
        except Exception as error:
            _end(cluster, before, error)
            if tried == TRIES:
                raise
    raise AssertionError("it is tried at least once")


def _end(cluster: Any, before: list[Any], error: Exception) -> None:
    """Leave nothing of a node that has begun by half."""
    from ray._private.node import Node

    ended: list[Any] = []
    for node in cluster.list_all_nodes():
        if node not in before:
            ended.append(node)
            with contextlib.suppress(Exception):
                cluster.remove_node(node, allow_graceful=False)
    # one that broke off in its making is known to nobody else
    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if isinstance(node, Node) and frame.f_code.co_name == "__init__":
            ended.append(node)
            with contextlib.suppress(Exception):
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    if cluster.head_node is not None:
        _wait_until_gone(cluster, {node.node_id for node in ended})


def _wait_until_gone(cluster: Any, nodes: set[str]) -> None:
    """Until the head takes them for dead, too; bounded."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        living = {node["NodeID"] for node in cluster.global_state.node_table() if node["Alive"]}
        if not living & nodes:
            return
        time.sleep(0.2)
