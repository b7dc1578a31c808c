"""Records that are reached from their file's beginning only: read once, block after block.

Of one file the iterator is kept where the last block ended; a block further on goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from apwa.documents.messages import Asked, Item

_Identity = tuple[bytes, int, int, int, int]


@dataclass(slots=True)
class _Kept:
    file: _Identity
    next: int
    texts: Iterator[str]


_kept: list[_Kept] = []  # one at most


def block(asked: Asked, begin: Callable[[], Iterator[str]]) -> Iterator[Item]:
    """The parts asked for, of the texts that ``begin`` gives from the first on."""
    about = os.stat(asked.path)  # noqa: PTH116 the name may be no text
    file = (asked.path, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    going = _kept.pop() if _kept else None  # what breaks off is not gone on with
    if going is None or going.file != file or going.next > asked.first:
        going = _Kept(file, 1, begin())
    for _ in islice(going.texts, asked.first - going.next):
        pass
    for number, text in enumerate(islice(going.texts, asked.parts), asked.first):
        yield Item(number, text)
    going.next = asked.first + asked.parts
    _kept.append(going)


def forget_others(path: bytes) -> None:
    """Let go of a file that is not asked for any more: it may hold much memory."""
    if _kept and _kept[0].file[0] != path:
        _kept.clear()
