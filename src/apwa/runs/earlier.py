"""Answers of earlier runs to the very requests of this one.

The runs beside this one are the only index there is: a run that has worked the same template (the
same prefix hash: model, endpoint, parameters, instruction, contract, capabilities and their
versions) may have answered rows with the same values. Which ones is worked out in a scratch
database, so that memory does not grow with the rows; the answers are read from those runs'
journals on the way. A run that is purged takes its answers with it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from pyroaring import BitMap

from apwa.executor import Work
from apwa.journal import JournalReader, StoredResult, open_reader
from apwa.plan import TemplateStep, load_plan
from apwa.runs.directory import RunDirectory, list_runs
from apwa.runs.expand import canonical_rows
from apwa.runs.specs import kept_spec
from apwa.tables import Table
from apwa.vocabulary import PILOT, RUN, ApwaError, WorkSpec, reuse_key

_MOST_RUNS = 100  # the newest are looked at
_TABLES = """
CREATE TABLE have (key BLOB PRIMARY KEY, place INTEGER, ordinal INTEGER) WITHOUT ROWID;
CREATE TABLE found (row INTEGER PRIMARY KEY, place INTEGER, ordinal INTEGER);
"""


Read = Callable[[Table, BitMap], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where answers stand: a step of an earlier run."""

    run: str
    scope: str
    step: str
    reader: JournalReader


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier runs have answered of one step.

    Attributes:
        rows: The step's rows that are answered.
        runs: How many of them each run has, the newest run first.
    """

    rows: BitMap
    runs: Mapping[str, int]
    _places: list[Place]
    _database: sqlite3.Connection

    def answering(self, batches: Iterator[list[Work]], but: BitMap) -> Iterator[list[Work]]:
        """The same work, with its answer where there is one; not for the rows of ``but``."""
        for batch in batches:
            open_rows = [work.ordinal for work in batch if work.refused is None]
            wanted = self.rows & BitMap(open_rows) - but
            answers = self._answers(wanted) if wanted else {}
            yield [
                replace(work, answered=answers[work.ordinal]) if work.ordinal in answers else work
                for work in batch
            ]

    def _answers(self, rows: BitMap) -> dict[int, StoredResult]:
        span = (rows.min(), rows.max())
        query = "SELECT row, place, ordinal FROM found WHERE row BETWEEN ? AND ?"
        answers: dict[int, StoredResult] = {}
        for row, place, ordinal in self._database.execute(query, span):
            if row in rows:
                there = self._places[place]
                results = there.reader.results(there.scope, there.step, ordinal, ordinal + 1)
                result = next(results, None)
                if result is not None and result.kind is None:
                    answers[row] = result
        return answers


class EarlierRuns:
    """The runs beside this one. Each template is looked for once."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._found: dict[tuple[str, bytes, tuple[Path, ...]], Earlier | None] = {}
        self._worked: list[Worked] | None = None
        self._open: list[JournalReader] = []
        self._databases: list[sqlite3.Connection] = []

    def find(
        self, spec: WorkSpec, table: Table, rows: BitMap, read: Read
    ) -> tuple[Earlier | None, bool]:
        """What earlier runs have answered of these rows (None for nothing), and whether the
        template has just been looked for. Not for the loop.

        ``read`` reads what documents hold: it is called if there is anything to be found.
        """
        name = (spec.step, spec.prefix_hash, tuple(table.files))
        first = name not in self._found
        if first:
            self._found[name] = self._look(spec, table, rows, read)
        return self._found[name], first

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for opened in (*self._databases, *self._open):
            opened.close()
        self._databases, self._open, self._found = [], [], {}

    def _look(self, spec: WorkSpec, table: Table, rows: BitMap, read: Read) -> Earlier | None:
        places = list(self._places(spec.prefix_hash))
        if not places:
            return None
        read(table, rows)
        path = self._directory.scratch / f"earlier-{len(self._databases)}.db"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = _scratch(path)
        self._databases.append(database)
        for number, place in enumerate(places):
            done = place.reader.done(place.scope, place.step)
            keys = place.reader.reuse_keys(place.scope, place.step)
            database.executemany(
                "INSERT OR IGNORE INTO have VALUES (?, ?, ?)",
                ((key, number, ordinal) for ordinal, key in keys if ordinal in done),
            )
        found = BitMap()
        for ordinal, canonical in canonical_rows(spec, table, rows):
            there = database.execute(
                "SELECT place, ordinal FROM have WHERE key = ?",
                (reuse_key(spec.prefix_hash, canonical),),
            ).fetchone()
            if there is not None:
                database.execute("INSERT INTO found VALUES (?, ?, ?)", (ordinal, *there))
                found.add(ordinal)
        counts: dict[str, int] = {}
        query = "SELECT place, count(*) FROM found GROUP BY place ORDER BY place"
        for number, count in database.execute(query):
            run = places[number].run
            counts[run] = counts.get(run, 0) + count
        return Earlier(found, counts, places, database) if found else None

    def _places(self, prefix: bytes) -> Iterator[Place]:
        """Steps of earlier runs that have worked the same template, the newest run first."""
        if self._worked is None:
            self._worked = list(_steps_worked(self._directory))
        readers: dict[str, JournalReader] = {}
        for run, scope, step, worked in self._worked:
            if worked != prefix:
                continue
            if run.name not in readers:
                try:
                    readers[run.name] = open_reader(run.journal)
                except ApwaError:
                    continue  # purged since
                self._open.append(readers[run.name])
            yield Place(run.name, scope, step, readers[run.name])


Worked = tuple[RunDirectory, str, str, bytes]
"""A step of a run: its scope, its name, the prefix hash of its template."""


def _steps_worked(own: RunDirectory) -> Iterator[Worked]:
    """The template steps of the other runs, the newest run first."""
    others = (
        run
        for run in reversed(list_runs(own.home))
        # another database need not be reachable
        if run.name != own.name and run.journal.shown in ("", own.journal.shown)
    )
    for run in islice(others, _MOST_RUNS):
        try:
            reader = open_reader(run.journal)
            try:
                yield from list(_steps_of(run, reader))
            finally:
                reader.close()
        except (ApwaError, OSError, sqlite3.Error):
            continue  # of another version, or half removed: it has nothing to give


def _steps_of(run: RunDirectory, reader: JournalReader) -> Iterator[Worked]:
    plans = reader.plans()
    plan = load_plan(plans[-1].text, "plan")[0] if plans else None
    for name, step in plan.steps.items() if plan is not None else ():
        if isinstance(step, TemplateStep) and step.reduce is None:
            for scope in (RUN, PILOT):
                kept = kept_spec(reader, scope, name)
                if kept is not None:
                    yield run, scope, name, kept.spec.prefix_hash


def _scratch(path: Path) -> sqlite3.Connection:
    """A database that nobody needs after a crash; used by one thread at a time."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES)
    database.execute("BEGIN")
    return database
