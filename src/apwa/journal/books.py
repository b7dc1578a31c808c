"""Running totals of each step, kept beside the results in the same transaction.

So a resume and a front end know counts and costs at once, without reading a single result.
"""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, dataclass, field, replace

from apwa.journal.key import MAX_GENERATION, MAX_STEP
from apwa.journal.schema import USAGE_COLUMNS
from apwa.vocabulary import Attempt, RunFailed

_COLUMNS = f"number, done, quarantined, top_generation, {USAGE_COLUMNS}"
_MARKS = ", ".join("?" * 10)


@dataclass(slots=True)
class StepBook:
    """Totals of one step: rows by their counting result, usage of all results."""

    number: int
    done: int = 0
    quarantined: int = 0
    top_generation: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int | None = 0

    def charge(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            usage = attempt.usage
            self.calls += usage.calls
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
            self.cached_tokens += usage.cached_tokens
            self.reasoning_tokens += usage.reasoning_tokens
            if usage.cost_nusd is None or self.cost_nusd is None:
                self.cost_nusd = None
            else:
                self.cost_nusd += usage.cost_nusd

    def count(
        self,
        connection: sqlite3.Connection,
        key: int,
        failed: bool,
        newest: int,
        here: dict[int, tuple[int, bool]],
    ) -> None:
        """Count a result that was just written, in place of the one it supersedes.

        ``newest`` is the last result's id before this batch; ``here`` holds each row of the batch
        that was counted so far, by its key of generation 0, with what counts for it now.
        """
        generation = key & MAX_GENERATION
        row = key - generation
        counted = here.get(row)
        if counted is None and (generation or self.top_generation):
            counted = connection.execute(
                "SELECT key, kind IS NOT NULL FROM results"
                " WHERE key >= ? AND key <= ? AND id <= ? ORDER BY key DESC LIMIT 1",
                (row, row + MAX_GENERATION, newest),
            ).fetchone()
        self.top_generation = max(self.top_generation, generation)
        if counted is not None:
            if counted[0] > key:
                return  # a latecomer: a higher generation counts
            self._add(counted[1], -1)
        self._add(failed, 1)
        here[row] = (key, failed)

    def _add(self, failed: bool, by: int) -> None:
        if failed:
            self.quarantined += by
        else:
            self.done += by


@dataclass(slots=True)
class Books:
    """The totals of all steps. A transaction works on a fork, which it keeps if it commits."""

    steps: dict[tuple[str, str], StepBook] = field(default_factory=dict[tuple[str, str], StepBook])
    changed: dict[tuple[str, str], StepBook] = field(
        default_factory=dict[tuple[str, str], StepBook]
    )

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> Books:
        rows = connection.execute(f"SELECT scope, step, {_COLUMNS} FROM steps")
        return cls({(scope, step): StepBook(*rest) for scope, step, *rest in rows})

    def fork(self) -> Books:
        return Books(self.steps)

    def settled(self) -> Books:
        return Books({**self.steps, **self.changed})

    def of(self, scope: str, step: str) -> StepBook:
        """The step's book, to be written in."""
        book = self.changed.get((scope, step))
        if book is None:
            known = self.steps.get((scope, step))
            number = len({**self.steps, **self.changed}) + 1
            if known is None and number > MAX_STEP:
                raise RunFailed(f"a run can have {MAX_STEP} steps in all its plans", step)
            book = StepBook(number) if known is None else replace(known)
            self.changed[scope, step] = book
        return book

    def save(self, connection: sqlite3.Connection) -> None:
        connection.executemany(
            f"INSERT OR REPLACE INTO steps (scope, step, {_COLUMNS}) VALUES (?, ?, {_MARKS})",
            [(*names, *astuple(book)) for names, book in self.changed.items()],
        )
