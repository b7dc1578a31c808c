"""Word lists, self-made and small: names, places, tone, words that carry little.

They are what the rules know of the world; nothing is fetched. Each list is a text file of
lower-case words, read at first use.
"""

from __future__ import annotations

import functools
from importlib import resources


@functools.cache
def words(name: str) -> frozenset[str]:
    """The words of the list ``name`` (``given_names``, ``surnames``, ``common`` and so on)."""
    return frozenset(_read(name).split())


@functools.cache
def lines(name: str) -> frozenset[str]:
    """The lines of a list whose entries may be of several words (``places``)."""
    return frozenset(line for line in _read(name).splitlines() if line)


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8")
