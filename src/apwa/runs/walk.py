"""One walk through a plan in a scope: what takes part, what is closed already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from pyroaring import BitMap

from apwa.executor import StepEnd
from apwa.plan import CheckedPlan, TemplateStep
from apwa.runs.closing import done_ordinals
from apwa.runs.desk import Desk
from apwa.runs.state import StepState, load_state, save_state
from apwa.tables import Table, pilot_ordinals
from apwa.vocabulary import PILOT, RUN, Usage, WorkSpec
from apwa.vocabulary.events import StepClosed


class Stopped(Exception):
    """The executor stopped before the step's end; the words say why."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A step that has its table."""

    table: Table
    version: str  # names the table's content: what ranges over it compares this
    end: StepEnd
    subtasks: int = 0


@dataclass
class Walk:
    """What the steps of one execution share.

    Attributes:
        scope: ``run`` or ``pilot``.
        selection: Rows of each input table that take part; an absent table takes part whole.
        sample: In a pilot, how many rows each template ranges over at most.
        answered: Rows of inputs that earlier runs have answered, for every template over them.
        closed: The steps that have their tables, so far.
    """

    desk: Desk
    checked: CheckedPlan
    scope: str
    selection: Mapping[str, BitMap]
    sample: int | None = None
    answered: Mapping[str, BitMap] = field(default_factory=dict[str, BitMap])
    closed: dict[str, Closed] = field(default_factory=dict[str, Closed])

    def effective_scope(self, name: str) -> str:
        """Steps above every template are the same in a pilot as in the run, and made once."""
        return RUN if self.scope == RUN or self.is_free(name) else PILOT

    def is_free(self, name: str) -> bool:
        if name in self.desk.tables:
            return True
        if isinstance(self.checked.plan.steps[name], TemplateStep):
            return False
        return all(self.is_free(need) for need in self.checked.needs[name])

    def has(self, name: str) -> bool:
        """Whether a source has its table."""
        return name in self.desk.tables or name in self.closed

    def source(self, name: str) -> Closed:
        if name in self.desk.tables:
            table = self.desk.tables[name]
            return Closed(table, table.fingerprint, StepEnd(table.rows, 0, 0, Usage()))
        return self.closed[name]

    def allowed(self, name: str) -> BitMap:
        """Rows of a source that may be worked: selected, and done where a step made them."""
        table = self.source(name).table
        if name in self.desk.tables:
            return self.selection.get(name, BitMap(range(table.rows)))
        return done_ordinals(table)

    def sampled(self, name: str) -> BitMap:
        """What a template ranges over: all that is allowed, or in a pilot a sample of it."""
        allowed = self.allowed(name)
        if self.sample is None or len(allowed) <= self.sample:
            return allowed
        # rows that need a call tell what the run will cost
        allowed = (allowed - self.answered.get(name, BitMap())) or allowed
        table = self.source(name).table
        picked = BitMap(pilot_ordinals(table, self.sample, self.desk.settings.seed)) & allowed
        rest = allowed - picked
        missing = min(self.sample - len(picked), len(rest))
        # of a selection, or of what earlier runs have left: spread over it
        return picked | BitMap(rest[n * len(rest) // missing] for n in range(missing))

    def taken_up(self, name: str, step: TemplateStep, spec: WorkSpec) -> StepState:
        """The step's state under its template as it is now.

        In the full run, what one model has answered goes on to count when another one takes
        over; a pilot is there to try the model.
        """
        state = load_state(self.desk.reader, self.scope, name)
        template = self.desk.identity_of(step)
        return state.under(template, spec.prefix_hash, any_model=self.scope == RUN)

    async def close(
        self,
        name: str,
        table: Table,
        state: StepState,
        version: str,
        subtasks: BitMap,
        rows: int | None = None,
    ) -> Closed:
        """Keep a step's table, and say that the step is closed.

        ``rows``: how many subtasks there are, where those are not the table's rows.
        """
        reader, scope = self.desk.reader, self.scope
        if state.version != version or state.table != table.to_json():
            state = state.closed(version, table).trimmed(reader.generations(scope, name))
            await save_state(self.desk.journal, scope, name, state)
        done, quarantined = (len(b) for b in state.standing(reader, scope, name, subtasks))
        rows = table.rows if rows is None else rows
        skipped = rows - done - quarantined
        usage = reader.counts(scope, name).usage
        self.desk.emit(StepClosed(scope, name, rows, done, quarantined, skipped, usage))
        return Closed(
            table, f"{name}/v{state.number}", StepEnd(done, quarantined, skipped, usage), rows
        )


def digest(rows: BitMap) -> str:
    return hashlib.blake2b(rows.serialize(), digest_size=8).hexdigest()
