"""What the run remembers of a step besides its results: its table's versions, and the rows
that are wanted in a higher generation than they have."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from pyroaring import BitMap

from apwa.journal import Journal, JournalReader
from apwa.tables import Table


class StepState(msgspec.Struct, frozen=True):
    """A small fact of the run, one for each scope and step.

    Attributes:
        number: Version of the step's table; 0 before the first.
        version: What the table was made from, when it was last closed; empty if open.
        made_of: Template and source that the results were last held against.
        wanted: Generation that a row must have, where that is above 0.
        table: The closed table, as JSON.
    """

    number: int = 0
    version: str = ""
    made_of: str = ""
    wanted: dict[int, int] = {}
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

    def closed(self, version: str, table: Table) -> StepState:
        return msgspec.structs.replace(
            self, number=self.number + 1, version=version, table=table.to_json()
        )

    def of(self, made_of: str) -> StepState:
        return msgspec.structs.replace(self, made_of=made_of)

    def wanting(self, rows: BitMap, generations: Mapping[int, int]) -> StepState:
        """Want these rows in a generation above the one they have; the table is open again."""
        wanted = dict(self.wanted)
        for ordinal in rows:
            wanted[ordinal] = generations.get(ordinal, 0) + 1
        return msgspec.structs.replace(self, wanted=wanted, version="" if rows else self.version)

    def settled(self, reader: JournalReader, scope: str, step: str) -> BitMap:
        """Rows that have a result in the generation that is wanted."""
        settled = reader.done(scope, step) | reader.quarantined(scope, step)
        if self.wanted:
            have = reader.generations(scope, step)
            settled -= BitMap(o for o, least in self.wanted.items() if have.get(o, 0) < least)
        return settled


def load_state(reader: JournalReader, scope: str, step: str) -> StepState:
    data = reader.fact(f"step:{scope}:{step}")
    return StepState() if data is None else msgspec.msgpack.decode(data, type=StepState)


async def save_state(journal: Journal, scope: str, step: str, state: StepState) -> None:
    await journal.put_fact(f"step:{scope}:{step}", msgspec.msgpack.encode(state))
