"""What the journal needs of a database: SQL that both know, and the few things that differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from apwa.vocabulary import Paused

Row = tuple[Any, ...]


class Connection(Protocol):
    """A connection. Placeholders are ``?``; outside of a transaction each statement is its own.

    Attributes:
        by_key: What has a query read the index over keys, behind the table's name.
        by_kind: The same of the index over kinds.
        whole: The whole number at place {1} of the list that column {0} keeps as JSON.
    """

    by_key: str
    by_kind: str
    whole: str

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]: ...

    def pages(self, sql: str, values: Sequence[object] = ()) -> Iterator[list[Row]]:
        """A long answer in parts."""
        ...

    def run(self, sql: str, values: Sequence[object] = ()) -> None: ...

    def number(self, sql: str, values: Sequence[object]) -> int:
        """Insert, and give what stands behind RETURNING."""
        ...

    def insert_results(self, rows: Sequence[Row]) -> dict[int, int]:
        """Insert those rows of RESULT_COLUMNS whose key is new: key to id."""
        ...

    def begin(self) -> None:
        """Begin a transaction that no other driver's can run beside."""
        ...

    def commit(self) -> None: ...

    def rollback(self) -> None:
        """Undo what is open, if anything is. Never fails."""
        ...

    def close(self) -> None: ...


class Lock(Protocol):
    """Held by the one driver of a run."""

    def close(self) -> None: ...


class Store(Protocol):
    """Where one run's journal is."""

    @property
    def run(self) -> str:
        """The run's id, for messages."""
        ...

    @property
    def marks(self) -> bool:
        """Whether each batch leaves a mark, by which one whose answer was lost is known again."""
        ...

    def lock(self) -> Lock:
        """Take the run. Raises Locked if another driver has it."""
        ...

    def is_driven(self) -> bool: ...

    def connect(self, *, write: bool) -> Connection:
        """Raises Misuse if there is no journal; a writer makes it."""
        ...

    def again(self, error: BaseException) -> bool:
        """Whether the connection is lost, so that another may go on where it was."""
        ...

    def unwritable(self, error: BaseException) -> Paused | None:
        """The words for a journal that cannot be written now; None for another failure."""
        ...

    def unreadable(self, error: BaseException) -> Exception | None:
        """The words for a journal that cannot be read; None for another failure."""
        ...
