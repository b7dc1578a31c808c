"""Rows of a run's answer as they finish, while the run goes on in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pyroaring import BitMap

from apwa.runs.aside import Aside
from apwa.runs.closing import batches_of
from apwa.runs.directory import RunDirectory
from apwa.runs.ending import Ending
from apwa.runs.handle import Run
from apwa.runs.reading import RunReader
from apwa.runs.specs import kept_spec
from apwa.runs.stream import Listener
from apwa.tables import plain_rows
from apwa.vocabulary import RUN, Misuse, RunFailed
from apwa.vocabulary.events import Numbered, RunStarted

_LOOK_EACH_S = 0.3
_ROWS_AT_ONCE = 500


class Rows:
    """Iterate it, once, for rows as dicts: done or quarantined, in the order they finish.

    An answer that is made by a query or a reduce comes when it is there, as a whole. Whoever leaves
    the loop before its end stops the run, which is kept and can be resumed. A run that stops before
    its own end raises RunFailed after the rows that it has done: who comes to the end has them all.

    Args:
        home: Directory of runs.
        work: Runs the job, and tells the listener its events.
    """

    def __init__(self, home: Path, work: Callable[[Listener], Coroutine[Any, Any, Run]]) -> None:
        self._home, self._work = home, work
        self._directory: RunDirectory | None = None
        self._aside: Aside[Run] | None = None
        self._seen = BitMap()

    @property
    def run(self) -> Run:
        """The run, once all rows have gone by or the loop was left. Raises what ended it, or Misuse
        before that."""
        if self._aside is None or not self._aside.wait(0):
            raise Misuse("the run has not ended yet", "rows", "Iterate to the end first.")
        try:
            return self._aside.result()
        except asyncio.CancelledError:
            return self._left()

    def _left(self) -> Run:
        """The run of which the caller has left the loop."""
        if self._directory is None:
            raise Misuse("the run was left before it had begun", "rows")
        with RunReader(self._directory) as reader:
            ending = reader.ending or Ending("stopped")
            return Run(self._directory, ending, reader.journal.spent())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._aside is not None:
            raise Misuse("these rows can be iterated only once", "rows", "See .run.answer.")
        self._aside = Aside(lambda: self._work(self._hear), "apwa rows")
        reader: RunReader | None = None
        try:
            while not self._aside.wait(_LOOK_EACH_S):
                if reader is None and self._directory is not None:
                    reader = RunReader(self._directory)
                if reader is not None:
                    yield from self._finished(reader)
            run = self._aside.result()
            yield from self._rest(run)
            if run.state != "done":
                e = run.ending
                raise RunFailed(f"the run is {e.state}: {e.reason}", run.id, e.remedy)
        finally:
            self._aside.cancel()
            if reader is not None:
                reader.close()

    def _hear(self, numbered: Numbered) -> None:
        if isinstance(numbered.event, RunStarted):
            self._directory = RunDirectory(self._home / "runs" / numbered.event.run)

    def _finished(self, reader: RunReader) -> Iterator[dict[str, Any]]:
        """Rows that have finished since the last look."""
        plan = reader.plan()
        kept = None if plan is None else kept_spec(reader.journal, RUN, plan.answer)
        if kept is None or kept.spec.reduce:
            return
        step = kept.spec.step
        found = reader.journal.done(RUN, step) | reader.journal.quarantined(RUN, step)
        new = iter(found - self._seen)
        source = None
        while some := BitMap(islice(new, _ROWS_AT_ONCE)):
            source = source or reader.table(kept.over)
            self._seen |= some
            for batch in batches_of(kept.spec, source, reader.journal, RUN, some):
                names = batch.schema.names
                for row in plain_rows(batch, names):
                    yield dict(zip(names, row, strict=True))

    def _rest(self, run: Run) -> Iterator[dict[str, Any]]:
        """What has finished since the last look, or all of an answer that no template made."""
        with RunReader(run.directory) as reader:
            yield from self._finished(reader)
            plan = reader.plan()
            kept = None if plan is None else kept_spec(reader.journal, RUN, plan.answer)
        if run.state == "done" and (kept is None or kept.spec.reduce):
            yield from run.answer
