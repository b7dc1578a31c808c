"""Detached runs: driven inside a Ray cluster, begun and looked at from anywhere that reaches it.

A *keeper*, a named actor on the cluster's head, holds the runs' directory: it takes tables and
orders in, starts drivers as Ray jobs, reads the journals for whoever asks, and takes commands. It
outlives drivers, and holds nothing itself that is not on the head's disk, but orders that no
driver has taken yet.
"""

from apwa.runs.detached.client import Cluster, Lost, reach
from apwa.runs.detached.orders import Order
from apwa.runs.detached.records import DetachedRun, detached_runs, find_detached

__all__ = ["Cluster", "DetachedRun", "Lost", "Order", "detached_runs", "find_detached", "reach"]
