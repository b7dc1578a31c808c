"""The head of a GGUF file, as far as it says how much memory the model will take.

The format: a magic number, a version, counts, then key-value pairs of typed values, all little
endian. Long lists (the vocabulary) are passed over, so this takes milliseconds where a full
reader takes seconds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_MOST_PAIRS = 100_000
_LONGEST_TEXT = 64 << 20
_LONGEST_LIST = 4096  # of numbers that are kept: one for each layer


class NoModel(Exception):
    """The file is no model that can be served; the message says why."""


@dataclass(frozen=True, slots=True)
class ModelHead:
    """What a model file says of itself.

    Attributes:
        name: The model's own name, perhaps empty.
        context: The tokens that it was trained for.
        bytes_per_token: What one token of context takes in memory, in 16-bit numbers.
        file_bytes: The file's size.
    """

    name: str
    context: int
    bytes_per_token: int
    file_bytes: int


def read_head(path: Path) -> ModelHead:
    """Raises NoModel for a file that is no language model in GGUF."""
    try:
        with path.open("rb") as file:
            pairs = _pairs(file)
    except (struct.error, UnicodeDecodeError, KeyError, MemoryError, OverflowError):
        raise NoModel("the file is broken: its head cannot be read") from None
    kind = pairs.get("general.architecture")
    layers, context = _count(pairs, f"{kind}.block_count"), _count(pairs, f"{kind}.context_length")
    heads: Any = pairs.get(f"{kind}.attention.head_count")
    own = _each(heads, layers)
    kept = _each(pairs.get(f"{kind}.attention.head_count_kv", heads), layers)
    across = _count(pairs, f"{kind}.embedding_length") // max(1, max(own, default=1))
    key = pairs.get(f"{kind}.attention.key_length", across)
    value = pairs.get(f"{kind}.attention.value_length", across)
    return ModelHead(
        str(pairs.get("general.name", "")),
        context,
        sum(kept) * (key + value) * 2,
        path.stat().st_size,
    )


def _count(pairs: dict[str, Any], name: str) -> int:
    value: Any = pairs.get(name)
    if not isinstance(value, int) or value < 1:
        raise NoModel("it holds no language model")
    return value


def _each(value: Any, layers: int) -> list[int]:
    """One number for all layers, or one for each."""
    if isinstance(value, list):
        return [int(number) for number in cast("list[Any]", value)]
    return [int(value or 1)] * layers


def _pairs(file: BinaryIO) -> dict[str, Any]:
    if file.read(4) != b"GGUF":
        raise NoModel("it is no GGUF file")
    version, _tensors, count = struct.unpack("<IQQ", _exactly(file, 20))
    if version not in (2, 3):
        raise NoModel(f"it is a GGUF file of version {version}, which is not read here")
    pairs: dict[str, Any] = {}
    for _ in range(min(count, _MOST_PAIRS)):
        key = _text(file)
        (kind,) = struct.unpack("<I", _exactly(file, 4))
        pairs[key] = _value(file, kind)
    return pairs


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _TEXT:
        return _text(file)
    if kind != _LIST:
        return struct.unpack(f"<{_FORMS[kind]}", _exactly(file, _SIZES[kind]))[0]
    inner, length = struct.unpack("<IQ", _exactly(file, 12))
    if inner == _TEXT:
        for _ in range(length):
            file.seek(struct.unpack("<Q", _exactly(file, 8))[0], 1)
        return None
    if inner == _LIST or length > _LONGEST_LIST:
        if inner == _LIST:
            raise NoModel("its head holds lists of lists, which are not read here")
        file.seek(length * _SIZES[inner], 1)
        return None
    return [
        struct.unpack(f"<{_FORMS[inner]}", _exactly(file, _SIZES[inner]))[0] for _ in range(length)
    ]


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    if length > _LONGEST_TEXT:
        raise NoModel("the file is broken: a text in its head is longer than any")
    return _exactly(file, length).decode("utf-8", "replace")


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise NoModel("the file ends within its head: it was not copied whole")
    return data
