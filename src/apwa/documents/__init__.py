"""Reads files of strangers, documents and pictures, in locked child processes.

A file that breaks its reader, or takes too much time or memory, is its own row's trouble and
nobody else's. Nothing here knows of tables; the child imports this folder and little more, so
that it is small and quickly there.
"""

from apwa.documents.endings import ENDINGS, Kind, Split, check_installed, kind_of
from apwa.documents.messages import BLOCK, Asked, Counted, Item, Picture
from apwa.documents.readers import Limits, Readers

__all__ = [
    "BLOCK",
    "ENDINGS",
    "Asked",
    "Counted",
    "Item",
    "Kind",
    "Limits",
    "Picture",
    "Readers",
    "Split",
    "check_installed",
    "kind_of",
]
