"""Databases and spreadsheets as tables: files that other programs own, read once, never written.

Each is read by a child process of its own, which has no key in its environment and bounded memory,
and hands rows on as a stream of Arrow batches: a file that breaks, blows up or never ends takes
nothing with it, and reading can be stopped at any moment.
"""

from apwa.tables.foreign.reading import foreign_table
from apwa.tables.foreign.stopping import Stop

__all__ = ["Stop", "foreign_table"]
