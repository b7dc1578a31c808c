"""Tables: reads any source into immutable typed rows, looks at them, and queries them.

A table is a handle on files; nothing here ever holds all of a table's rows in memory, changes a
table once it is written, or calls a model. Queries and checks run in locked child processes.
"""

from apwa.tables.cards import TableCard, card, clipped, pilot_ordinals, quoted
from apwa.tables.cells import LARGE_CHARS, CellPlaces, CellReader
from apwa.tables.read import read_table
from apwa.tables.sources import find_source
from apwa.tables.sql_process import CheckProcess, SqlProcess
from apwa.tables.sql_rules import SqlProblem
from apwa.tables.table import CONTENT, Table, key_text, plain_rows, write_table
from apwa.tables.tokens import count_tokens

__all__ = [
    "CONTENT",
    "LARGE_CHARS",
    "CellPlaces",
    "CellReader",
    "CheckProcess",
    "SqlProblem",
    "SqlProcess",
    "Table",
    "TableCard",
    "card",
    "clipped",
    "count_tokens",
    "find_source",
    "key_text",
    "pilot_ordinals",
    "plain_rows",
    "quoted",
    "read_table",
    "write_table",
]
