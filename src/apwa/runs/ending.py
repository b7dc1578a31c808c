"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from apwa.runs.closing import StatusCounts
from apwa.runs.directory import RunDirectory
from apwa.vocabulary import ApwaError, JobRefused, Paused, Usage, named


class Ending(msgspec.Struct, frozen=True):
    """How a run ended, kept with it.

    ``state``: done, planned, paused, cancelled, failed, refused; stopped, while it goes on or
    after a kill. Counts are the answer step's, or before its time those of ``step``, the last
    that was worked; ``quarantined_before`` counts those of earlier steps, and parts of a reduce.
    """

    state: str
    reason: str = ""
    remedy: str = ""
    answer: str = ""
    words: str = ""
    rows: int = 0
    done: int = 0
    quarantined: int = 0
    skipped: int = 0
    quarantined_before: int = 0
    outputs: list[str] = []
    exit_code: int = 0
    step: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    directory: RunDirectory
    ending: Ending
    usage: Usage


def done_ending(
    answer: str, counts: StatusCounts, words: str, before: int, outputs: list[str]
) -> Ending:
    """The end of a run that came to its answer; ``before``: quarantined in earlier steps,
    or as parts of a reduce."""
    return Ending(
        "done",
        answer=answer,
        words=words,
        rows=counts.rows,
        done=counts.done,
        quarantined=counts.quarantined,
        skipped=counts.skipped,
        quarantined_before=before,
        outputs=outputs,
        step=answer,
        exit_code=3 if counts.quarantined + before else 0,
    )


def ending_of(error: ApwaError | OSError) -> Ending:
    """The end that an error makes, for people."""
    if isinstance(error, OSError):
        error = named(error)
    if isinstance(error, Paused):
        state = "paused"
    elif isinstance(error, JobRefused):
        state = "refused"
    else:
        state = "failed"
    place = f"{error.where}: " if error.where else ""
    return Ending(state, place + error.what, error.todo, exit_code=error.exit_code)
