"""The journal: the durable record of a run, one SQLite file or a schema in PostgreSQL.

One driver writes, under the run's lock and epoch; any process reads. It never decides what a
result means, and nobody else speaks SQL to it.
"""

from apwa.journal.places import (
    VARIABLE,
    JournalPlace,
    check_url,
    is_driven,
    open_journal,
    open_reader,
)
from apwa.journal.seam import (
    Block,
    Counts,
    Journal,
    JournalReader,
    ManagerTurn,
    PlanVersion,
    Source,
    StoredResult,
)

__all__ = [
    "VARIABLE",
    "Block",
    "Counts",
    "Journal",
    "JournalPlace",
    "JournalReader",
    "ManagerTurn",
    "PlanVersion",
    "Source",
    "StoredResult",
    "check_url",
    "is_driven",
    "open_journal",
    "open_reader",
]
