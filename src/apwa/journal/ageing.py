"""Events of progress come once a second and grow coarser with age; all other events stay.

Without it a day's run would keep 86,400 of them for each step, which nobody reads.
"""

from __future__ import annotations

import sqlite3

from apwa.vocabulary.events import Event, StepProgress

_COARSER = ((600.0, 10), (7200.0, 60), (86_400.0, 600))
"""From this age in seconds on, one event for each so many seconds."""

_SWEEP_EVERY = 60  # progress events between two sweeps of a step's older ones


def subject_of(event: Event) -> str | None:
    """What an event reports the progress of; None for events that stay."""
    return f"{event.scope}/{event.step}" if isinstance(event, StepProgress) else None


class Ageing:
    """Thins the events of progress as new ones come in. Forgets nothing that it must not lose:
    the newest event of each period is the one that stays."""

    def __init__(self) -> None:
        self._since_sweep: dict[str, int] = {}

    def thin(self, connection: sqlite3.Connection, subject: str, number: int, at: float) -> None:
        """Make room for event ``number`` of ``subject``, which has just been written."""
        connection.execute(
            "DELETE FROM events WHERE progress = ? AND at >= ? AND number < ?",
            (subject, float(int(at)), number),
        )
        count = self._since_sweep.get(subject, _SWEEP_EVERY) + 1
        if count > _SWEEP_EVERY:
            count = 0
            for age, period in _COARSER:
                old = at - age
                connection.execute(
                    "DELETE FROM events WHERE progress = ? AND at < ? AND number NOT IN"
                    " (SELECT max(number) FROM events WHERE progress = ? AND at < ?"
                    "  GROUP BY CAST(at / ? AS INTEGER))",
                    (subject, old, subject, old, period),
                )
        self._since_sweep[subject] = count
