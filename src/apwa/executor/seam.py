"""The seam to hosts, and what the executor is asked to do.

A host takes messages and gives messages back (``vocabulary.messages``); where it lives is its
own affair. ``StepJob`` is one step's worth of work; the executor knows nothing of prompts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pyroaring import BitMap

from apwa.journal.seam import StoredResult
from apwa.vocabulary import Cell, Usage, Values, WorkSpec
from apwa.vocabulary.messages import FromHost, ToHost


class Host(Protocol):
    """A place where workers run."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None:
        """Make ready. The first message out is ``Described``."""
        ...

    def send(self, message: ToHost) -> None:
        """Take a message; never blocks, never fails (a dead host is seen by its silence)."""
        ...

    def messages(self) -> AsyncIterator[FromHost]:
        """What the host says, until it is shut down."""
        ...

    async def stop(self) -> None:
        """End at once, whatever is in flight."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """One expanded subtask on its way to the scheduler.

    ``cells``: values that are null here and stand in the table's files, for a host to read.

    ``refused`` is set for a row that cannot be worked (unreadable, too long): the executor
    quarantines it as it stands, without a call: (kind, message). ``answered``: an answer that is
    known to do, from an earlier run or an earlier contract: the row takes it, without a call.
    """

    ordinal: int
    generation: int
    reuse_key: bytes
    values: Values
    size_bytes: int
    refused: tuple[str, str] | None = None  # (ErrorKind value, message)
    cells: list[Cell] = field(default_factory=list[Cell])
    answered: StoredResult | None = None


@dataclass(frozen=True, slots=True)
class StepJob:
    """What the executor needs to work one step of one scope.

    Attributes:
        rows: How many rows the step has in all, for counts and progress.
        todo: Ordinals to work now. The rest are done, quarantined or skipped already.
        expand: Gives the work of ``todo`` in ordinal order, in bounded batches; called in a
            thread, so it may read files.
        known: Results that answer equal requests (by reuse key), for instance the pilot's.
        share: Whether equal requests in flight share one call.
        hidden: What its failures say may quote sensitive values, and is not to be shown.
    """

    scope: str
    spec: WorkSpec
    rows: int
    todo: BitMap
    expand: Iterator[list[Work]]
    done: int = 0
    quarantined: int = 0
    known: Mapping[bytes, StoredResult] = field(default_factory=dict)
    share: bool = True
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How a step ended. ``paused`` is why, in words, if it stopped before its end."""

    done: int
    quarantined: int
    skipped: int
    usage: Usage
    paused: str = ""
