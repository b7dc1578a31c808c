"""The seam to the journal: the durable record of a run.

One driver writes (it holds the run's lock and epoch); any number of readers read. Results are
committed in batches, one transaction each; the first writer of a key wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
from pyroaring import BitMap

from apwa.vocabulary import Attempt, ErrorKind, Usage
from apwa.vocabulary.control import Command
from apwa.vocabulary.events import Event, Numbered

Source = Literal["model", "code", "reuse", "batch", "person"]


class StoredResult(msgspec.Struct, frozen=True, gc=False):
    """One row's committed result. ``kind`` None: done, with ``answer``; else quarantined."""

    scope: str
    step: str
    ordinal: int
    generation: int
    reuse_key: bytes
    source: Source
    kind: ErrorKind | None
    answer: bytes  # JSON of the contract's object; empty when quarantined
    raw: str  # the model's own text, kept for changed contracts; "" where equal to answer
    message: str
    attempts: list[Attempt]  # empty where the result is shared: the cost stands with its leader
    duration_s: float
    host: str
    transcript: bytes = b""


class Counts(msgspec.Struct, frozen=True):
    done: int
    quarantined: int
    usage: Usage


class Block(msgspec.Struct, frozen=True):
    """Budget journaled before use. An open block counts as spent whole.

    Closed ones of a holder are kept as one for each epoch, with what all of them have spent.
    """

    id: int
    holder: str
    limit: Usage
    spent: Usage | None = None  # None while open


class PlanVersion(msgspec.Struct, frozen=True):
    version: int
    text: str  # the plan's YAML
    reason: str
    at: float


class ManagerTurn(msgspec.Struct, frozen=True):
    """One message of the manager's conversation, in order. ``message``: JSON of models.Message."""

    number: int
    message: bytes
    usage: Usage
    plan_version: int  # the version in force when it was said


class Journal(Protocol):
    """The driver's side. Methods that write return after the transaction is durable."""

    @property
    def epoch(self) -> int: ...

    @property
    def reader(self) -> JournalReader: ...

    async def append(self, results: Sequence[StoredResult]) -> list[bool]:
        """Commit a batch; for each, whether it was the first of its key.

        Raises Locked if a newer epoch holds the run.
        """
        ...

    async def add_event(self, event: Event) -> Numbered: ...

    async def add_plan(self, text: str, reason: str) -> PlanVersion: ...

    async def add_turn(self, message: bytes, usage: Usage, plan_version: int) -> None: ...

    async def open_block(self, holder: str, limit: Usage) -> int: ...

    async def close_block(self, block: int, spent: Usage) -> None: ...

    async def add_spent(self, spent: Mapping[str, Usage]) -> None:
        """Add what holders have spent that no block was opened for, in one transaction."""
        ...

    async def take_command(self, command: Command) -> None: ...

    async def put_fact(self, name: str, value: bytes) -> None:
        """Keep a small named fact of the run (settings, endpoint traits, table versions)."""
        ...

    async def close(self) -> None: ...


class JournalReader(Protocol):
    """What front ends and the driver read. Read-only, short transactions, any process."""

    def done(self, scope: str, step: str) -> BitMap:
        """Ordinals whose highest generation with a result is done."""
        ...

    def quarantined(self, scope: str, step: str) -> BitMap: ...

    def generations(self, scope: str, step: str) -> dict[int, int]:
        """Ordinal to its highest generation with a result, where that is above 0."""
        ...

    def reuse_keys(self, scope: str, step: str) -> Iterator[tuple[int, bytes]]:
        """(ordinal, reuse key) of each row's counting result, in ordinal order."""
        ...

    def results(
        self, scope: str, step: str, start: int = 0, stop: int | None = None
    ) -> Iterator[StoredResult]:
        """Counting results in ordinal order, paged inside; without transcripts."""
        ...

    def story(self, step: str, ordinal: int) -> list[StoredResult]:
        """All results of one row, every scope and generation, with transcripts."""
        ...

    def failures(self, scope: str, step: str, limit: int) -> list[StoredResult]:
        """Up to ``limit`` quarantined results, spread over the kinds."""
        ...

    def failure_counts(self, scope: str, step: str) -> dict[ErrorKind, int]: ...

    def counts(self, scope: str, step: str) -> Counts: ...

    def events(self, since: int = 0, limit: int = 1000) -> list[Numbered]:
        """Events after number ``since``, without progress that later events have made needless."""
        ...

    def plans(self) -> list[PlanVersion]: ...

    def turns(self) -> list[ManagerTurn]: ...

    def blocks(self) -> list[Block]: ...

    def spent(self) -> Usage:
        """All closed blocks' spending and all open blocks' limits."""
        ...

    def fact(self, name: str) -> bytes | None: ...

    def close(self) -> None: ...
