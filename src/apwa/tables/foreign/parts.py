"""The tables of a database, or the sheets of a spreadsheet, of which one is to be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from apwa.vocabulary import BadInput

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Part:
    """One table or sheet.

    Attributes:
        rows: How many; None where counting them takes too long, or may never end.
        only_named: It is read where it is named, and never chosen by itself: a view, a hidden or
            an empty sheet.
        about: What it is, where it is no plain table or sheet.
    """

    name: str
    rows: int | None
    only_named: bool = False
    about: str = ""


class Opened(Protocol):
    """A file that is open for reading."""

    word: str  # what its parts are called: table, sheet

    def parts(self) -> list[Part]: ...

    def read(self, part: Part) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]: ...


def choose(path: Path, word: str, parts: Sequence[Part], wanted: str) -> Part:
    """The part that is named, or the only one. Raises BadInput listing those that are there."""
    if not parts:
        raise BadInput(f"there is no {word} in the file", str(path))
    if wanted:
        found = [p for p in parts if p.name == wanted] or [
            p for p in parts if p.name.casefold() == wanted.casefold()
        ]
        if len(found) == 1:
            return found[0]
        raise BadInput(f"there is no {word} {wanted!r}", str(path), _there_are(word, parts))
    candidates = [p for p in parts if not p.only_named]
    if not candidates:  # an empty sheet is chosen where there is no other
        candidates = [p for p in parts if not p.about]
    if len(candidates) == 1:
        return candidates[0]
    some = candidates or list(parts)
    what = f"the file has {len(some):,} {word}s" if candidates else f"no {word} speaks for itself"
    todo = f"Name one, such as {path.name}#{some[0].name}. {_there_are(word, parts)}"
    raise BadInput(what, str(path), todo)


def _there_are(word: str, parts: Sequence[Part]) -> str:
    shown = [_words(part) for part in parts[:_SHOWN]]
    rest = f" and {len(parts) - _SHOWN:,} more" if len(parts) > _SHOWN else ""
    return f"Its {word}s: {', '.join(shown)}{rest}."


def _words(part: Part) -> str:
    rows = "" if part.rows is None else f"{part.rows:,} row{'' if part.rows == 1 else 's'}"
    return f"{part.name!r} ({', '.join(w for w in (part.about, rows) if w) or 'table'})"


def check_columns(names: Sequence[str], where: str) -> None:
    """Raises BadInput for a column without a name, or two with the same."""
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if name == "":
            raise BadInput(f"column {number} has no name", where, "Give it a name.")
        if name in first:
            raise BadInput(
                f"columns {first[name]} and {number} are both named {name!r}",
                where,
                "Rename one of them.",
            )
        first[name] = number
