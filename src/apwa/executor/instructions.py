"""What the core wants done: the shell does it for real, the simulator in virtual time.

Frozen data. Nothing comes back but what the core's own methods are then called with.
"""

from __future__ import annotations

from dataclasses import dataclass

from apwa.executor.budget import Amount, Closing
from apwa.vocabulary.events import Event
from apwa.vocabulary.messages import ToHost


@dataclass(frozen=True, slots=True)
class Send:
    host: str
    message: ToHost


@dataclass(frozen=True, slots=True)
class OpenBlock:
    """Journal a block, then call ``Core.block_opened`` with its number."""

    holder: str
    limit: Amount


@dataclass(frozen=True, slots=True)
class Say:
    event: Event


@dataclass(frozen=True, slots=True)
class CloseBlock:
    closing: Closing


Instruction = Send | OpenBlock | CloseBlock | Say
