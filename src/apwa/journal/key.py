"""The journal's key of one result, packed into one integer that SQLite indexes fastest.

From the top: 11 bits step number (scope and step by name stand in the table ``steps``), 40 bits
ordinal, 12 bits generation; the sign bit stays free. The generation is lowest, so that a row's
generations are neighbours and the highest is the last of them.
"""

from __future__ import annotations

GENERATION_BITS = 12
ORDINAL_BITS = 40

MAX_STEP = (1 << 11) - 1
MAX_ORDINAL = (1 << 32) - 1  # what a bitmap of ordinals holds; the key has room for more
MAX_GENERATION = (1 << GENERATION_BITS) - 1

_STEP_SHIFT = GENERATION_BITS + ORDINAL_BITS
_ORDINAL_MASK = (1 << ORDINAL_BITS) - 1


def pack(step: int, ordinal: int, generation: int = 0) -> int:
    """The key of a result. The caller has checked the bounds."""
    return step << _STEP_SHIFT | ordinal << GENERATION_BITS | generation


def ordinal_of(key: int) -> int:
    return key >> GENERATION_BITS & _ORDINAL_MASK


def generation_of(key: int) -> int:
    return key & MAX_GENERATION


def step_of(key: int) -> int:
    return key >> _STEP_SHIFT


def span(step: int, start: int = 0, stop: int | None = None) -> tuple[int, int]:
    """The keys of a step's ordinals from ``start`` to before ``stop``: [first, past the last)."""
    return pack(step, start), pack(step + 1, 0) if stop is None else pack(step, stop)
