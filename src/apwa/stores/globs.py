"""Globs over the names of objects, with the same meaning as over files."""

from __future__ import annotations

import glob
import re

_TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def fixed_part(pattern: str) -> str:
    """The folders of a pattern before its first wildcard."""
    fixed: list[str] = []
    for part in pattern.split("/")[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return "/".join(fixed)


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern for whole names: ``**`` is any number of folders, ``*`` stays within one."""
    words: list[str] = []
    parts = pattern.split("/")
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            words.append(".*" if last else "(?:[^/]+/)*")
        else:
            words.append(_within(part) + ("" if last else "/"))
    return re.compile("".join(words), re.DOTALL)


def _within(part: str) -> str:
    """The wildcards of one name, none of which goes on past a slash."""
    return _TOKEN.sub(lambda found: _meaning(found[0]), part)


def _meaning(token: str) -> str:
    if token.startswith("*"):
        return "[^/]*"
    if token == "?":
        return "[^/]"
    if len(token) > 2:  # a set of characters
        inside = token[1:-1].replace("\\", r"\\")
        return f"[^/{inside[1:]}]" if inside.startswith("!") else f"(?!/)[{inside}]"
    return re.escape(token)
