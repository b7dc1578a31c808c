"""Telling that two messages of an endpoint say the same. Pure."""

from __future__ import annotations

import re

_DIGIT = re.compile(r"\d")


def without_ids(message: str) -> str:
    """A message without what differs between equal ones: request ids, times, counts."""
    return " ".join(word for word in message.split() if not _DIGIT.search(word))
