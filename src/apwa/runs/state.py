"""What the run remembers of a step besides its results: its table's versions, the templates that
its results may come from, and the rows that are wanted in a higher generation than they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from pyroaring import BitMap

from apwa.journal import Journal, JournalReader
from apwa.tables import Table


class Standing(NamedTuple):
    """Rows whose result counts, by how it went. The rest is still to be worked."""

    done: BitMap
    quarantined: BitMap

    @property
    def settled(self) -> BitMap:
        return self.done | self.quarantined


class StepState(msgspec.Struct, frozen=True):
    """A small fact of the run, one for each scope and step.

    Attributes:
        number: Version of the step's table; 0 before the first.
        version: What the table was made from, when it was last closed; empty if open.
        template: The step as the plan has it, as a hash.
        prefixes: Hashes of that template compiled, one for each model it has been worked with: a
            result made with any of them counts.
        made_of: Template and source that the results were last held against.
        wanted: Generation that a row must have, where that is above 0.
        again: Rows of these that a person wants anew, whatever is known of their requests.
        table: The closed table, as JSON.
    """

    number: int = 0
    version: str = ""
    template: str = ""
    prefixes: list[bytes] = []
    made_of: str = ""
    wanted: dict[int, int] = {}
    again: list[int] = []
    table: bytes = b""

    def table_if(self, version: str) -> Table | None:
        """The closed table, if it was made from just this."""
        return self.closed_table() if self.version == version else None

    def closed_table(self) -> Table | None:
        """The last closed table, if there is one and its files are whole."""
        if not self.table:
            return None
        table = Table.from_json(self.table)
        return table if all(path.exists() for path in table.files) else None

    def opened(self) -> StepState:
        """Before new results are made: the closed table is not the step's any more."""
        return msgspec.structs.replace(self, version="")

    def closed(self, version: str, table: Table) -> StepState:
        return msgspec.structs.replace(
            self, number=self.number + 1, version=version, table=table.to_json()
        )

    def under(self, template: str, prefix: bytes, *, any_model: bool) -> StepState:
        """The template as it is now. ``any_model``: what another model has answered to the same
        template goes on to count."""
        kept = any_model and (self.template == template or prefix in self.prefixes)
        prefixes = list(dict.fromkeys([*self.prefixes, prefix])) if kept else [prefix]
        return msgspec.structs.replace(self, template=template, prefixes=prefixes)

    def of(self, made_of: str) -> StepState:
        return msgspec.structs.replace(self, made_of=made_of)

    def wanting(
        self, rows: BitMap, generations: Mapping[int, int], *, again: bool = False
    ) -> StepState:
        """Want these rows in a generation above the one they have; the table is open again."""
        if not rows:
            return self
        wanted = self.wanted | {o: generations.get(o, 0) + 1 for o in rows}
        anew = sorted({*self.again, *rows}) if again else self.again
        return msgspec.structs.replace(self, wanted=wanted, again=anew, version="")

    def content_with(self, rows: BitMap) -> StepState:
        """Take it back for rows that turn out to have the result they need."""
        drop = rows - BitMap(self.again)
        wanted = {o: least for o, least in self.wanted.items() if o not in drop}
        return msgspec.structs.replace(self, wanted=wanted)

    def trimmed(self, generations: Mapping[int, int]) -> StepState:
        """Forget the wants that are met."""
        wanted = {o: w for o, w in self.wanted.items() if generations.get(o, 0) < w}
        again = [ordinal for ordinal in self.again if ordinal in wanted]
        return msgspec.structs.replace(self, wanted=wanted, again=again)

    def standing(self, reader: JournalReader, scope: str, step: str, rows: BitMap) -> Standing:
        """How these rows stand: those with a result in the generation that is wanted."""
        done = reader.done(scope, step) & rows
        quarantined = reader.quarantined(scope, step) & rows
        if self.wanted:
            have = reader.generations(scope, step)
            waiting = BitMap(o for o, least in self.wanted.items() if have.get(o, 0) < least)
            done -= waiting
            quarantined -= waiting
        return Standing(done, quarantined)


def load_state(reader: JournalReader, scope: str, step: str) -> StepState:
    data = reader.fact(f"step:{scope}:{step}")
    return StepState() if data is None else msgspec.msgpack.decode(data, type=StepState)


async def save_state(journal: Journal, scope: str, step: str, state: StepState) -> None:
    await journal.put_fact(f"step:{scope}:{step}", msgspec.msgpack.encode(state))
