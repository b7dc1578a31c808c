"""What parent and child say to each other of one file: MessagePack, four bytes of length before."""

from __future__ import annotations

import struct

import msgspec

from apwa.documents.endings import Split

HEAD = struct.Struct(">I")
MOST_TEXT = 32 << 20  # characters of a row
MOST_FRAME = 160 << 20  # such a text in UTF-8, with room
BLOCK = 1000
"""Records are read by so many at once: their reader notes where each such block begins."""


class Asked(msgspec.Struct, frozen=True):
    """Read a file, or count what it can be split into.

    Attributes:
        first: Number of the first part wanted, from 1.
        parts: How many; 0: the file is one part.
        offset: Where in the file the first of them begins, for readers that can go there.
        size: The file's size when it was listed, and ``changed`` its time of change; below 0: it
            may have changed since.
    """

    path: bytes
    type: str
    reader: str
    split: Split = ""
    count: bool = False
    first: int = 1
    parts: int = 0
    offset: int = 0
    size: int = 0
    changed: int = 0
    cpu_s: int = 60


class Picture(msgspec.Struct, frozen=True):
    type: str
    width: int
    height: int
    data: bytes


class Item(msgspec.Struct, frozen=True, tag=True):
    """One part of a file. ``text`` None: it has only pictures, or a reason why not even those."""

    number: int
    text: str | None = None
    pictures: list[Picture] = []
    reason: str = ""


class Counted(msgspec.Struct, frozen=True, tag=True):
    """How many parts there are. ``offsets``: where each block of them begins."""

    parts: int
    offsets: list[int] = []


class Ended(msgspec.Struct, frozen=True, tag=True):
    """Nothing more comes. ``reason``: why not all of it; ``spoiled``: take another child."""

    reason: str = ""
    spoiled: bool = False


Said = Item | Counted | Ended

_encoder = msgspec.msgpack.Encoder()
asked = msgspec.msgpack.Decoder(Asked)
said = msgspec.msgpack.Decoder(Said)


def framed(message: Asked | Said) -> bytes:
    data = _encoder.encode(message)
    return HEAD.pack(len(data)) + data
