"""Where the parts of a plan stand in its YAML, so that each problem can say its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apwa.vocabulary import Problem

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column (from 1) of a value; ``indent`` is set for a literal block of text."""

    line: int
    column: int
    indent: int | None = None
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Places by path; empty for a plan that came as data and not as text."""

    marks: Mapping[Path, Place] = field(default_factory=dict[Path, Place])

    def of(self, path: Path) -> Place | None:
        """The place of a part, or of the nearest part that holds it."""
        for length in range(len(path), -1, -1):
            if (place := self.marks.get(path[:length])) is not None:
                return place
        return None

    def problem(self, path: Path, what: str, todo: str = "") -> Problem:
        place = self.of(path)
        if place is None:
            return Problem(what, path_text(path), todo=todo)
        return Problem(what, path_text(path), place.line, place.column, todo)

    def problem_inside(self, path: Path, line: int, column: int, what: str) -> Problem:
        """A problem at a line and column (from 1) of the text that stands at ``path``."""
        place = self.marks.get(path)
        if place is None:
            where = f" (line {line}, column {column} of the text)" if line else ""
            return self.problem(path, what + where)
        if line < 1:
            return self.problem(path, what)
        if place.indent is not None:
            return Problem(what, path_text(path), place.line + line, place.indent + max(column, 1))
        if line == 1:
            start = place.column + (1 if place.quoted else 0)
            return Problem(what, path_text(path), place.line, start + max(column, 1) - 1)
        return self.problem(path, what)


def path_text(path: Path) -> str:
    """``steps.mask.contract``, ``rows[2]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
