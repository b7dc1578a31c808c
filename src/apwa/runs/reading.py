"""What front ends see of a run, from its directory alone: any process, while it runs or after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import pyarrow as pa

from apwa.journal import JournalReader, StoredResult, open_reader
from apwa.plan import Plan, RowsStep, Step, TemplateStep, load_plan
from apwa.runs.closing import HIDDEN, status_counts, template_batches, template_schema
from apwa.runs.delivery import quarantined_batches, write_table_to
from apwa.runs.desk import read_tables
from apwa.runs.directory import RunDirectory
from apwa.runs.ending import Ending
from apwa.runs.export import check_target, write_answer
from apwa.runs.requests import shell_line
from apwa.runs.settings import RunRequest, RunSettings
from apwa.runs.specs import KeptSpec, hides, kept_spec
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
        self.journal: JournalReader = open_reader(directory.journal)

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
        return [self._view(name, step) for name, step in plan.steps.items()] if plan else []

    def _view(self, name: str, step: Step) -> StepView:
        state = load_state(self.journal, RUN, name)
        table = state.closed_table() if state.version else None
        if not isinstance(step, TemplateStep):
            kind = "rows" if isinstance(step, RowsStep) else "query"
            rows = None if table is None else table.rows
            return StepView(name, kind, rows, rows or 0, 0, Usage(), table is not None)
        counts = self.journal.counts(RUN, name)
        done, quarantined = counts.done, counts.quarantined
        if step.reduce is not None:  # its subtasks are no rows
            rows = done + quarantined if table is not None else None
        elif table is not None:  # results of rows that take no part any more do not count
            rows, done, quarantined, _ = status_counts(table)
        else:
            over = read_tables(self.journal).get(step.over)
            rows = None if over is None else over.rows
        kind = "template" if step.reduce is None else "reduce"
        return StepView(name, kind, rows, done, quarantined, counts.usage, table is not None)

    # ---- one row

    def row(self, step: str, key: str) -> RowView:
        """What may be seen of one subtask. Raises Misuse or BadInput for no such row."""
        kept = self._spec(step)
        source = self.table(kept.over)
        values: dict[str, object] = {}
        if kept.spec.reduce:
            ordinal = self._node(key, step)
        else:
            ordinal = source.find([key])[0]
            shown = [c for c in kept.spec.columns if c not in source.sensitive]
            batches = source.take([ordinal], shown).combine_chunks().to_batches() if shown else []
            rows = [row for batch in batches for row in plain_rows(batch, shown)]
            values = dict(zip(shown, rows[0], strict=True)) if rows else {}
        story = self.journal.story(step, ordinal)
        if kept.over not in read_tables(self.journal) or kept.spec.reduce:
            # a pilot's table holds its sample alone: its rows have other numbers there
            story = [result for result in story if result.scope == RUN]
        line = ""
        if values and not kept.hidden:
            row = [values[c] for c in kept.spec.columns]
            line = shell_line(self.journal, kept.spec, kept.tools, row)
        grants = [] if kept.tools else [grant.name for grant in kept.spec.grants]
        return RowView(step, key, ordinal, values, kept.hidden, story, line, grants)

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
        kept = kept_spec(self.journal, RUN, name)
        if kept is None or kept.spec.reduce:
            return write_table_to(self.table(name), path, self.journal, name, stats=stats)
        source = self.table(kept.over)
        batches = template_batches(kept.spec, source, self.journal, RUN)
        write_answer(batches, template_schema(kept.spec, source), path)
        return [path]

    def quarantined(self, step: str) -> Iterator[pa.RecordBatch]:
        """Quarantined rows of a closed step, with their reasons."""
        return quarantined_batches(self.table(step))

    def failures(self, step: str, limit: int = 10) -> Sequence[StoredResult]:
        """Examples of quarantined results; no words of a step that reads sensitive columns."""
        scope = RUN if self.journal.counts(RUN, step).usage.calls else PILOT
        found = self.journal.failures(scope, step, limit)
        if not hides(self.journal, scope, step):
            return found
        return [msgspec.structs.replace(r, message=HIDDEN, raw="") for r in found]

    def _spec(self, step: str) -> KeptSpec:
        kept = kept_spec(self.journal, RUN, step) or kept_spec(self.journal, PILOT, step)
        if kept is None:
            raise Misuse(f"step {step!r} has no subtasks", "--step", "See: apwa show RUN")
        return kept

    def _kept(self, name: str, kind: type[T]) -> T | None:
        data = self.journal.fact(name)
        return None if data is None else msgspec.json.decode(data, type=kind)


@dataclass(frozen=True, slots=True)
class RowView:
    """One subtask: its values (none that are sensitive), and all its results, oldest first.

    ``hidden``: it reads sensitive columns, so what was answered is not to be shown. ``curl``: its
    first request for a shell; empty where there is none. ``grants``: those whose tools it lacks.
    """

    step: str
    key: str
    ordinal: int
    values: dict[str, object]
    hidden: bool
    story: list[StoredResult]
    curl: str = ""
    grants: list[str] = field(default_factory=list[str])
