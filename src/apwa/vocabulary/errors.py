"""The errors a person sees: what was wrong, where, and what to do about it.

Raised at the border where the trouble can still be named well. The command line prints the
three parts and ends with the error's exit code; no traceback reaches a user unless asked.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class ApwaError(Exception):
    """Base of all errors that apwa raises on purpose.

    Args:
        what: What was wrong, a sentence without a full stop.
        where: The place: file, line, column, row, step. Empty if there is none.
        todo: What to do about it. Empty if there is nothing to say.
    """

    exit_code = 1

    def __init__(self, what: str, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  {self.todo}" if self.todo else ""
        return f"{place}{self.what}{advice}"


class Misuse(ApwaError):
    """A wrong flag, a bad setting, an unknown run: the command cannot begin."""

    exit_code = 2


class BadInput(ApwaError):
    """An input table or file that cannot be read as what it claims to be."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a plan, with its place in the YAML (lines and columns from 1)."""

    what: str
    path: str = ""
    line: int = 0
    column: int = 0
    todo: str = ""

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}: " if self.line else ""
        path = f"{self.path}: " if self.path else ""
        return f"{place}{path}{self.what}" + (f" ({self.todo})" if self.todo else "")


class PlanError(ApwaError):
    """A plan with problems, all of them found before the first call."""

    exit_code = 2

    def __init__(self, problems: list[Problem], where: str = "plan") -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"the plan has {count}\n{lines}", where)
        self.problems = problems


class RunFailed(ApwaError):
    """The run cannot reach its end, for instance because a query of its plan fails."""

    exit_code = 1


class JobRefused(ApwaError):
    """The manager will not plan this job; ``what`` is its reason in words."""

    exit_code = 1


class Paused(ApwaError):
    """The run stopped before its end and can be resumed."""

    exit_code = 4


class Locked(ApwaError):
    """Another driver holds the run, or has taken it over."""

    exit_code = 2


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: OSError) -> bool:
    """Whether the disk, a quota or a limit leaves no room."""
    return error.errno in _FULL or "No space left" in str(error) or "File too large" in str(error)


def named(error: OSError, path: Path | None = None) -> Paused:
    """What the system says about a file, as an error for people.

    Such trouble passes, and what is done stays: the run can go on.
    """
    where = str(path or error.filename or "")
    words = error.strerror or str(error)
    if is_full(error):
        what = "the disk is full"
        return Paused(what, where, "Free some space, then try again: nothing done is lost.")
    return Paused(
        f"the file cannot be used: {words}",
        where,
        "See to it, then try again: nothing done is lost.",
    )


def above_zero(numbers: Mapping[str, float | None]) -> None:
    """Raises Misuse, with the setting's or flag's name, for a number that cannot be meant."""
    for name, number in numbers.items():
        if number is not None and not 0 < number < math.inf:
            raise Misuse("the number must be above 0", name)
