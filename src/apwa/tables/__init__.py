"""Tables: reads any source into immutable typed rows, looks at them, and queries them.

A table is a handle on files; nothing here ever holds all of a table's rows in memory, changes a
table once it is written, or calls a model. Queries and checks run in locked child processes.
"""

from apwa.tables.cards import TableCard, card, clipped, looked_at, pilot_ordinals, quoted
from apwa.tables.cells import LARGE_CHARS, CellPlaces, CellReader
from apwa.tables.content import CONTENT, CONTENT_FILE, UNREADABLE, is_content, is_images
from apwa.tables.extraction import Documents
from apwa.tables.read import read_table
from apwa.tables.sources import find_source, has_parts
from apwa.tables.sql_process import CheckProcess, SqlProcess
from apwa.tables.sql_rules import SqlProblem
from apwa.tables.table import Table, key_text, plain_rows, write_table
from apwa.tables.tokens import count_tokens

__all__ = [
    "CONTENT",
    "CONTENT_FILE",
    "LARGE_CHARS",
    "UNREADABLE",
    "CellPlaces",
    "CellReader",
    "CheckProcess",
    "Documents",
    "SqlProblem",
    "SqlProcess",
    "Table",
    "TableCard",
    "card",
    "clipped",
    "count_tokens",
    "find_source",
    "has_parts",
    "is_content",
    "is_images",
    "key_text",
    "looked_at",
    "pilot_ordinals",
    "plain_rows",
    "quoted",
    "read_table",
    "write_table",
]
