"""Hosts on a Ray cluster: the actor and its near end, how many there are, the way to the cluster.

Ray is imported only when a cluster is asked for. It gives placement, transport and failure
detection; leases, pace, budget and retries stay the driver's.
"""

from apwa.executor.cluster.actor import Equip, HostActor
from apwa.executor.cluster.connection import (
    Cluster,
    connect,
    disconnect,
    need_ray,
)
from apwa.executor.cluster.fleet import Fleet
from apwa.executor.cluster.host import Baggage, RayHost
from apwa.executor.cluster.nodes import Needs, NodeLook, check_nodes
from apwa.executor.cluster.reach import unreachable
from apwa.executor.cluster.sharing import Mark, is_here, mark_of

__all__ = [
    "Baggage",
    "Cluster",
    "Equip",
    "Fleet",
    "HostActor",
    "Mark",
    "Needs",
    "NodeLook",
    "RayHost",
    "check_nodes",
    "connect",
    "disconnect",
    "is_here",
    "mark_of",
    "need_ray",
    "unreachable",
]
