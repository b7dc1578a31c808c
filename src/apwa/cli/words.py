"""Words for people on stderr, with nothing in them that a terminal would obey."""

from __future__ import annotations

import re
import sys

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    """Text of models and data without control characters: they could rewrite the screen."""
    return _CONTROL.sub("�", text)


def say(text: str = "") -> None:
    """Print words to stderr."""
    print(safe(text), file=sys.stderr, flush=True)


def say_error(what: str, where: str, todo: str) -> None:
    """Print an error in its three parts."""
    say(f"error: {where}: {what}" if where else f"error: {what}")
    if todo:
        say(f"  {todo}")
