"""The journal: the durable record of a run, one SQLite file.

One driver writes (``open_journal`` takes the run's lock and raises its epoch); any process reads
(``open_reader``). What an awaited write returned for is on disk. It never interprets answers,
never decides what to run, and never reads a whole run into memory: of three million results a
reader holds bitmaps.
"""

from apwa.journal.journal import open_journal
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
