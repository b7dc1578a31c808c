"""The journal: the durable record of a run, one SQLite file.

One driver writes, under the run's lock and epoch; any process reads. It never decides what a
result means, and nobody else speaks SQL to it.
"""

from apwa.journal.lock import is_driven
from apwa.journal.reader import open_reader
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
from apwa.journal.writer import open_journal

__all__ = [
    "Block",
    "Counts",
    "Journal",
    "JournalReader",
    "ManagerTurn",
    "PlanVersion",
    "Source",
    "StoredResult",
    "is_driven",
    "open_journal",
    "open_reader",
]
