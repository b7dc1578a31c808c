"""A finished or stopped run in Python: its answer, failures and cost, read from its directory."""

from __future__ import annotations

import html
import importlib
import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from apwa.runs.closing import STATUS
from apwa.runs.directory import RunDirectory
from apwa.runs.ending import Ending
from apwa.runs.reading import RunReader
from apwa.tables import Table, plain_rows
from apwa.vocabulary import NUSD_PER_USD, Misuse, RunFailed, Usage
from apwa.vocabulary.numbers import counted


class Answer:
    """A run's table: iterate it for rows as dicts, or take it whole."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return self.table.rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = self.table.schema.names
        for _, batch in self.table.batches():
            for row in plain_rows(batch, names):
                yield dict(zip(names, row, strict=True))

    def to_arrow(self) -> pa.Table:
        return pa.Table.from_batches([b for _, b in self.table.batches()], self.table.schema)

    def to_pandas(self) -> Any:
        """As a pandas data frame. Raises Misuse where pandas is not installed."""
        _need("pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """As a Polars data frame. Raises Misuse where Polars is not installed."""
        return _need("polars").from_arrow(self.to_arrow())

    def _repr_html_(self) -> str:
        """The first rows; of sensitive columns the name only."""
        names = self.table.schema.names
        head = "".join(f"<th>{html.escape(n)}</th>" for n in names)
        rows: list[str] = []
        for row in itertools.islice(self, 5):
            shown = ("(sensitive)" if n in self.table.sensitive else row[n] for n in names)
            cells = "".join(f"<td>{html.escape(str(v)[:200])}</td>" for v in shown)
            rows.append(f"<tr>{cells}</tr>")
        return (
            f"<p>{html.escape(self.table.name)}: {counted(self.table.rows, 'row')}</p>"
            f"<table><tr>{head}</tr>{''.join(rows)}</table>"
        )


def _need(library: str) -> Any:
    """A library that apwa does not need for itself."""
    try:
        return importlib.import_module(library)
    except ImportError as missing:
        raise Misuse(
            f"{missing.name or library} is not installed", f"to_{library}",
            f"Install it with: pip install {library}",
        ) from missing  # fmt: skip


class PlanText(str):
    """A plan as YAML, shown as such in notebooks."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self)}</pre>"


class Run:
    """How a run ended, and what it made.

    Attributes:
        ending: State, reason, counts.
        usage: All that was spent on it, the manager and lost calls too.
    """

    def __init__(self, directory: RunDirectory, ending: Ending, usage: Usage) -> None:
        self.directory = directory
        self.ending = ending
        self.usage = usage

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def state(self) -> str:
        return self.ending.state

    @property
    def cost(self) -> float | None:
        """US dollars; None if a price is unknown."""
        return None if self.usage.cost_nusd is None else self.usage.cost_nusd / NUSD_PER_USD

    @property
    def words(self) -> str:
        """The manager's answer in words, where it gave one."""
        return self.ending.words

    @property
    def answer(self) -> Answer:
        """The answer table. Raises RunFailed where the run has not come to it."""
        if self.ending.state != "done":
            raise RunFailed(
                f"the run is {self.ending.state}: {self.ending.reason}", self.id, self.ending.remedy
            )
        return self.table(self.ending.answer)

    @property
    def plan(self) -> PlanText:
        """The plan that was run; empty where it never came to one."""
        with RunReader(self.directory) as reader:
            plans = reader.journal.plans()
        return PlanText(plans[-1].text if plans else "")

    def table(self, name: str) -> Answer:
        """Any table of the run by name."""
        with RunReader(self.directory) as reader:
            return Answer(reader.table(name))

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Quarantined rows of the answer's step, with ``_error``."""
        if STATUS not in self.answer.table.schema.names:
            return []
        return [row for row in self.answer if row[STATUS] == "quarantined"]

    def _repr_html_(self) -> str:
        e = self.ending
        words = f"run {self.id}: {e.state}, {e.done:,} done, {e.quarantined:,} quarantined"
        return f"<p>{html.escape(words)}</p>"

    def __repr__(self) -> str:
        e = self.ending
        return f"<Run {self.id} {e.state}: {e.done:,} done, {e.quarantined:,} quarantined>"
