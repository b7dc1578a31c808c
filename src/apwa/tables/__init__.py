"""Tables: reads any source into immutable typed rows, looks at them, and queries them.

A table is a handle on files; nothing here ever holds all of a table's rows in memory, changes a
table once it is written, or calls a model. Queries and checks run in locked child processes.
"""

from apwa.tables.cards import TableCard, card, clipped, is_small, looked_at, pilot_ordinals, quoted
from apwa.tables.cells import LARGE_CHARS, CellPlaces, CellReader
from apwa.tables.content import CONTENT, CONTENT_FILE, UNREADABLE, is_content, is_images
from apwa.tables.extraction import Documents
from apwa.tables.foreign import Stop
from apwa.tables.frames import frame_table, frame_words
from apwa.tables.read import COPIED, read_table
from apwa.tables.sources import find_source, has_known_ending, has_parts, split_part
from apwa.tables.sql_process import CheckProcess, SqlProcess
from apwa.tables.sql_rules import SqlProblem
from apwa.tables.table import Table, key_text, plain_rows, write_table
from apwa.tables.tokens import count_tokens

__all__ = [
    "CONTENT",
    "CONTENT_FILE",
    "COPIED",
    "LARGE_CHARS",
    "UNREADABLE",
    "CellPlaces",
    "CellReader",
    "CheckProcess",
    "Documents",
    "SqlProblem",
    "SqlProcess",
    "Stop",
    "Table",
    "TableCard",
    "card",
    "clipped",
    "count_tokens",
    "find_source",
    "frame_table",
    "frame_words",
    "has_known_ending",
    "has_parts",
    "is_content",
    "is_images",
    "is_small",
    "key_text",
    "looked_at",
    "pilot_ordinals",
    "plain_rows",
    "quoted",
    "read_table",
    "split_part",
    "write_table",
]
