"""Quotes: a field that must be copied from a source column, put into the source's own words.

Texts are compared after Unicode compatibility decomposition (NFKD, so that each character folds
by itself and its place is known), with runs of white space as one space and typographic quotes
and dashes as plain ones, since models straighten them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

_LEAST = 2
_PLAIN = str.maketrans("“”„«»‘’‚–—‑−", '"""""\'\'\'----', "\u00ad\u200b\ufeff")
_RUN = re.compile(r"(?P<plain>[!-~]+)|(?P<space>\s+)|.", re.S)
_STEP = re.compile(r"([^.\[\]]+)(\[\])?(?:\.|$)|(\[\])(?:\.|$)")

QuotePath = tuple[str, ...]
"""Property names, with ``[]`` for the items of a list."""


class NotQuoted(Exception):
    """A text that does not stand in its source; says why."""


def quote_path(text: str) -> QuotePath | None:
    """``replaced[].text`` → ("replaced", "[]", "text"); None if it is no such path."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or found.end() == at:
            return None
        parts += [part for part in found.groups() if part]
        at = found.end()
    return tuple(parts) if parts and not text.endswith(".") else None


class Source:
    """The texts that one field may be copied from; folded once, and only if need be."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._folded: list[tuple[str, list[int]]] | None = None

    def find(self, quote: str) -> str:
        """The source's own words for a quote. Raises NotQuoted."""
        stripped = quote.strip()
        shortest = min(_LEAST, max((len(text.strip()) for text in self._texts), default=0))
        if len(stripped) < max(shortest, 1):
            raise NotQuoted(f"{quote!r} is too short to be a quotation")
        if any(stripped in text for text in self._texts):
            return stripped
        words = re.compile(r"\s+".join(re.escape(word) for word in stripped.split()))
        for text in self._texts:
            if found := words.search(text):
                return found.group()
        needle = fold(stripped)[0].strip()
        if self._folded is None:
            self._folded = [fold(text) for text in self._texts]
        for text, (folded, places) in zip(self._texts, self._folded, strict=True):
            start = folded.find(needle) if needle else -1
            if start >= 0:
                return text[places[start] : places[start + len(needle) - 1] + 1]
        raise NotQuoted(f"{clipped(quote)} does not stand in the data word for word")


def fold(text: str) -> tuple[str, list[int]]:
    """The folded text, and for each of its characters the place of the original one."""
    folded: list[str] = []
    places: list[int] = []
    for found in _RUN.finditer(text):
        start, stop = found.span()
        run = found.group()
        if found.lastgroup == "plain":
            folded.append(run)
            places.extend(range(start, stop))
            continue
        if found.lastgroup == "space":
            if not folded or folded[-1] != " ":  # one was there before a character that folds away
                folded.append(" ")
                places.append(start)
            continue
        for part in unicodedata.normalize("NFKD", run.translate(_PLAIN)):
            folded.append(" " if part.isspace() else part)
            places.append(start)
    return "".join(folded), places


def replace_at(value: Any, path: QuotePath, put: Callable[[str, str], str], where: str = "") -> Any:
    """``value`` with each text at ``path`` replaced by what ``put(where, text)`` gives."""
    if value is None:
        return None
    if not path:
        return put(where, value) if isinstance(value, str) else value
    step, rest = path[0], path[1:]
    if step == "[]":
        if not isinstance(value, list):
            return value
        return [replace_at(v, rest, put, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict) and step in value:
        inner = f"{where}.{step}" if where else step
        return {**value, step: replace_at(value[step], rest, put, inner)}
    return value


def clipped(value: Any, most: int = 80) -> str:
    """A value as people see it in a message, cut where it is long."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"
