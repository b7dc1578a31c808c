"""Amounts of resources as people write them: ``2``, ``0.5``, ``4GB``, ``512MiB``."""

from __future__ import annotations

import re
from typing import Any

_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?B|B)\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def amount_of(value: Any) -> Any:
    """A text with a unit of bytes as its number of bytes; anything else as it is.

    Raises ValueError for a text that is no amount.
    """
    if not isinstance(value, str):
        return value
    found = _AMOUNT.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no amount; write a number, or bytes such as 4GB or 512MiB")
    unit = found[2].upper().removesuffix("B")
    base = 1024 if unit.endswith("I") else 1000
    return float(found[1]) * base ** _POWERS[unit.removesuffix("I")]
