"""The four identities of a subtask, never mixed.

*Row key*: for people, unique in its table: named columns, else the position counted from 1.
*Ordinal*: dense integer order in a table, from 0; what the journal and the scheduler use.
*Generation*: per row, from 0; raised when a row is worked anew. The highest one counts.
*Reuse key*: a hash of the canonical request; equal keys mean equal work. It holds no ids,
order, time or secrets.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import NamedTuple

RUN = "run"  # the scope of the full run
PILOT = "pilot"  # the pilot is a scope of its own

RowKey = str | int
"""A row key as people write it: ``17``, ``inv-004``, or ``1990/2`` for several key columns."""


class ResultKey(NamedTuple):
    """The journal's key of one result."""

    scope: str
    step: str
    ordinal: int
    generation: int


def reuse_key(prefix: bytes, values: bytes) -> bytes:
    """Hash a canonical request, 16 bytes.

    Args:
        prefix: What all subtasks of a template share, hashed once: see ``WorkSpec.prefix_hash``.
        values: The row's values in canonical bytes.
    """
    return hashlib.blake2b(values, key=prefix[:64], digest_size=16).digest()


def new_run_id() -> str:
    """A run's id: sorts by time to about a millisecond, can be typed: ``20261126-090115-k3f9a``."""
    alphabet = "23456789abcdefghjkmnpqrstuvwxyz"
    now = time.time()
    part = int(now % 1 * len(alphabet) ** 2)
    tail = "".join(secrets.choice(alphabet) for _ in range(3))
    high, low = divmod(part, len(alphabet))
    second = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now))
    return f"{second}{alphabet[high]}{alphabet[low]}{tail}"
