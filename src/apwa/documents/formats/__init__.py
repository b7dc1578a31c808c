"""Readers of formats. They run in the child process alone, over files of strangers.

A reader gives the parts that were asked for, in order. What is wrong with a file is Unreadable,
in words for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import cast

from apwa.documents.formats import onward
from apwa.documents.messages import Asked, Counted, Item

Reader = Callable[[Asked], Iterator[Item]]
Counter = Callable[[Asked], Counted]

_MODULES = {
    "text": "texts",
    "lines": "texts",
    "rows": "texts",
    "html": "html",
    "pdf": "pdf",
    "office": "office",
    "slides": "office",
    "mail": "mails",
    "mbox": "mails",
    "image": "pictures",
}


class Unreadable(Exception):
    """Why a file cannot be read, in words."""


def read(asked: Asked) -> Iterator[Item]:
    """The parts asked for. Raises Unreadable, or whatever a library raises."""
    return cast("Reader", _module(asked).read)(asked)


def count(asked: Asked) -> Counted:
    """How many parts the file has. Raises likewise."""
    return cast("Counter", _module(asked).count)(asked)


def _module(asked: Asked) -> ModuleType:  # each imports what it needs: a child of texts stays small
    onward.forget_others(asked.path)
    return import_module(f"apwa.documents.formats.{_MODULES[asked.reader]}")
