"""How much context, and how many conversations at once, fit into the memory of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from apwa.local.gguf import ModelHead, NoModel

_WANTED_CONTEXT = 8192  # more is rarely used by a subtask, and costs memory from the first token
_LEAST_CONTEXT = 1024
_MOST_SLOTS = 8
_SHARE = 0.7  # of the free memory: the rest is for apwa itself, its tables and queries
_GRAPH_BYTES = 256 << 20  # what a computation needs besides the weights and the context


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of context for each of ``slots`` conversations at once."""

    context: int
    slots: int


def fit(head: ModelHead, free_bytes: int, cores: int, context: int | None = None) -> Sizes:
    """Choose sizes: slots are given up first, then context.

    Args:
        head: The model.
        free_bytes: Memory that may be used.
        cores: Processor cores; more conversations than a few for each only share them.
        context: The user's wish; the model's own bound holds all the same.

    Raises:
        NoModel: It does not fit.
    """
    left = int(free_bytes * _SHARE) - head.file_bytes - _GRAPH_BYTES
    wanted = min(head.context, context or _WANTED_CONTEXT)
    slots = max(1, min(_MOST_SLOTS, cores * 2))
    while slots > 1 and slots * wanted * head.bytes_per_token > left:
        slots //= 2
    size = wanted
    while context is None and size > _LEAST_CONTEXT and size * head.bytes_per_token > left:
        size //= 2
    if size * head.bytes_per_token > left:
        needed = head.file_bytes + _GRAPH_BYTES + size * head.bytes_per_token
        raise NoModel(
            f"it needs about {needed / _SHARE / 1e9:.1f} GB of free memory with {size:,} tokens of"
            f" context, and {free_bytes / 1e9:.1f} GB are free"
        )
    return Sizes(size, slots)


def free_memory() -> int:
    """Bytes that this process may still take: the machine's, or its control group's."""
    free = _machine()
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    used = _number(Path("/sys/fs/cgroup/memory.current"))
    if limit is not None and used is not None:
        free = min(free, max(0, limit - used))
    return free


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    # where the system does not say what is free, half of what there is
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such group, or no limit ("max")
        return None
