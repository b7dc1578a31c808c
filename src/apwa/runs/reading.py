"""What front ends see of a run, from its directory alone: any process, while it runs or after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa

from apwa.journal import JournalReader, StoredResult, open_reader
from apwa.plan import Plan, TemplateStep, load_plan
from apwa.runs.closing import template_batches, template_schema
from apwa.runs.delivery import quarantined_batches, write_table_to
from apwa.runs.desk import KeptSpec, read_tables
from apwa.runs.directory import RunDirectory
from apwa.runs.driver import Ending
from apwa.runs.export import check_target, write_answer
from apwa.runs.settings import RunRequest, RunSettings
from apwa.runs.state import load_state
from apwa.tables import Table, plain_rows
from apwa.vocabulary import PILOT, RUN, Misuse, Usage
from apwa.vocabulary.events import Numbered

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class StepView:
    """How one step stands: counts of its subtasks, and what they took."""

    name: str
    kind: str
    rows: int | None  # None: not known yet
    done: int
    quarantined: int
    usage: Usage
    closed: bool


class RunReader:
    """Reads one run. Close it, or use it in a ``with``.

    Raises Misuse where the directory holds no run.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.journal: JournalReader = open_reader(directory.journal_path)

    def __enter__(self) -> RunReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.journal.close()

    # ---- the whole

    @property
    def request(self) -> RunRequest | None:
        return self._kept("request", RunRequest)

    @property
    def settings(self) -> RunSettings | None:
        return self._kept("settings", RunSettings)

    @property
    def ending(self) -> Ending | None:
        """How the run last ended; None while it has not ended once."""
        return self._kept("ending", Ending)

    def plan(self) -> Plan | None:
        plans = self.journal.plans()
        return load_plan(plans[-1].text, "plan")[0] if plans else None

    def events(self, since: int = 0) -> Iterator[Numbered]:
        """Events after number ``since``, up to now."""
        while some := self.journal.events(since, 1000):
            yield from some
            since = some[-1].number

    def steps(self) -> list[StepView]:
        """All steps in the plan's order."""
        plan = self.plan()
        views: list[StepView] = []
        for name, step in plan.steps.items() if plan is not None else ():
            state = load_state(self.journal, RUN, name)
            table = state.closed_table() if state.version else None
            counts = self.journal.counts(RUN, name)
            rows = None if table is None else table.rows
            if isinstance(step, TemplateStep):
                kind = "template" if step.reduce is None else "reduce"
                if step.reduce is not None and table is not None:
                    rows = counts.done + counts.quarantined  # its subtasks are no rows
                view = StepView(
                    name, kind, rows, counts.done, counts.quarantined, counts.usage, bool(table)
                )
            else:
                kind = "rows" if "rows" in type(step).model_fields else "query"
                view = StepView(name, kind, rows, rows or 0, 0, Usage(), table is not None)
            views.append(view)
        return views

    # ---- one row

    def row(self, step: str, key: str) -> RowView:
        """Everything the run knows of one subtask. Raises Misuse or BadInput for no such row."""
        kept = self._spec(step)
        source = self._source(kept)
        if kept.spec.reduce:
            ordinal = self._node(key, step)
            values: dict[str, object] = {}
        else:
            ordinal = source.find([key])[0]
            shown = [c for c in kept.spec.columns if c not in source.sensitive]
            batches = source.take([ordinal], shown).combine_chunks().to_batches()
            rows = [row for batch in batches for row in plain_rows(batch, shown)]
            values = dict(zip(shown, rows[0], strict=True)) if rows else {}
        return RowView(step, key, ordinal, values, self.journal.story(step, ordinal))

    def _node(self, key: str, step: str) -> int:
        if not key.isdigit():
            raise Misuse(
                f"step {step!r} is a reduce: name a subtask by its number", "--row", "From 1."
            )
        return int(key) - 1

    # ---- tables

    def table(self, name: str) -> Table:
        """An input table, or the closed table of a step. Raises Misuse if it is not there yet."""
        inputs = read_tables(self.journal)
        if name in inputs:
            return inputs[name]
        table = load_state(self.journal, RUN, name).closed_table()
        if table is None:
            plan = self.plan()
            known = ", ".join([*inputs, *(plan.steps if plan is not None else ())]) or "none"
            raise Misuse(f"there is no table {name!r} yet", "table", f"Tables: {known}.")
        return table

    def export(self, name: str, path: Path, *, force: bool, stats: bool) -> list[Path]:
        """Write a table; of a step still at work, as it stands now. Gives the paths written."""
        check_target(path, force)
        state = load_state(self.journal, RUN, name)
        if name in read_tables(self.journal) or (state.version and state.closed_table()):
            return write_table_to(self.table(name), path, self.journal, name, stats=stats)
        kept = self._kept(f"spec:{RUN}:{name}", KeptSpec)
        if kept is None or kept.spec.reduce:
            return write_table_to(self.table(name), path, self.journal, name, stats=stats)
        source = self._source(kept)
        batches = template_batches(kept.spec, source, self.journal, RUN)
        write_answer(batches, template_schema(kept.spec, source), path)
        return [path]

    def quarantined(self, step: str) -> Iterator[pa.RecordBatch]:
        """Quarantined rows of a closed step, with their reasons."""
        return quarantined_batches(self.table(step))

    def failures(self, step: str, limit: int = 10) -> Sequence[StoredResult]:
        scope = RUN if self.journal.counts(RUN, step).usage.calls else PILOT
        return self.journal.failures(scope, step, limit)

    def _source(self, kept: KeptSpec) -> Table:
        return self.table(kept.over)

    def _spec(self, step: str) -> KeptSpec:
        kept = self._kept(f"spec:{RUN}:{step}", KeptSpec)
        kept = kept or self._kept(f"spec:{PILOT}:{step}", KeptSpec)
        if kept is None:
            raise Misuse(f"step {step!r} has no subtasks", "--step", "See: apwa show RUN")
        return kept

    def _kept(self, name: str, kind: type[T]) -> T | None:
        data = self.journal.fact(name)
        return None if data is None else msgspec.json.decode(data, type=kind)


@dataclass(frozen=True, slots=True)
class RowView:
    """One subtask: its values (none that are sensitive), and all its results, oldest first."""

    step: str
    key: str
    ordinal: int
    values: dict[str, object]
    story: list[StoredResult]
