"""Detached runs: driven inside a Ray cluster, begun and looked at from anywhere that reaches it.

A *keeper*, a named actor on the cluster's head, holds the runs' directory: it takes tables and
orders in, starts drivers as Ray jobs, reads the journals for whoever asks, and takes commands. It
outlives drivers, and holds nothing itself that is not on the head's disk.
"""

from apwa.runs.detached.client import Cluster, DetachedRun, detached_runs, find_detached, reach
from apwa.runs.detached.orders import Order

__all__ = ["Cluster", "DetachedRun", "Order", "detached_runs", "find_detached", "reach"]
