"""What follows when a subtask fails. Pure: a failure and its history in, a verdict out.

The kinds say what they are (``vocabulary.kinds``); here stand the numbers: how many attempts,
how long a pause between them, and how often a row may take a host down with it.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from apwa.vocabulary import ErrorKind, Follow, WorkLimits

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0
HOSTS_LOST = 8  # a row that was lost with its host so often is set aside, whatever the reason


class Verdict(NamedTuple):
    """What the scheduler does with the row."""

    follow: Follow  # RETRY, QUARANTINE or PAUSE
    delay_s: float = 0.0
    charged: bool = False


def verdict(
    kind: ErrorKind, charged: int, lost: int, limits: WorkLimits, chance: random.Random
) -> Verdict:
    """Judge a failure of a row.

    Args:
        kind: How it failed just now.
        charged: Attempts charged to the row before this one.
        lost: How often it was lost with its host, this time included.
        limits: The template's.
        chance: Jitter, so that rows that failed together do not come back together.
    """
    if kind.follow is Follow.PAUSE or kind.follow is Follow.QUARANTINE:
        return Verdict(kind.follow, charged=kind.charges)
    if kind is ErrorKind.HOST_LOST:
        return Verdict(Follow.QUARANTINE if lost >= HOSTS_LOST else Follow.RETRY)
    if kind.charges and charged + 1 >= limits.attempts:
        return Verdict(Follow.QUARANTINE, charged=True)
    return Verdict(Follow.RETRY, backoff_s(charged, chance), kind.charges)


def backoff_s(before: int, chance: random.Random) -> float:
    """Doubles with each failure before, with half of it left to chance."""
    whole = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(before, 16))
    return whole * chance.uniform(0.5, 1.0)
