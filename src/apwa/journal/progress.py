"""What the journal keeps of events that come every second.

A step's progress is kept for ten minutes, and of what is older one event in ten seconds. What the
hosts do is as large as the cluster: of the same hosts only the last word is kept, for each end of
a step. So the last of every host stays, also of those that have left, and what is kept grows with
the changes among the hosts and not with the time.
"""

from __future__ import annotations

import hashlib

from apwa.journal.store import Connection
from apwa.vocabulary.events import Event, HostsSeen, StepClosed, StepProgress, encode_event

_RECENT_S = 600.0
_COARSE_S = 10
_PRUNE_EVERY = 200


class EventLog:
    """Writes one driver's events, inside of transactions that the caller begins and ends."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._closed = 0  # steps

    def progress_of(self, event: Event) -> str:
        """What an event tells the progress of; empty for one that is kept for good.

        Asked once for each event, in their order.
        """
        match event:
            case StepProgress(scope=scope, step=step):
                return f"{scope} {step}"
            case HostsSeen(hosts=hosts):
                names = "\n".join(sorted(load.host for load in hosts)).encode()
                these = hashlib.blake2b(names, digest_size=8).hexdigest()
                return f"hosts {these} {self._epoch} {self._closed}"
            case StepClosed():
                self._closed += 1
                return ""
            case _:
                return ""

    def write(self, connection: Connection, at: float, event: Event, progress: str) -> int:
        """Add an event, drop what it makes needless, and give its number."""
        number = connection.number(
            "INSERT INTO events (at, progress, event) VALUES (?, ?, ?) RETURNING number",
            (at, progress, encode_event(event)),
        )
        if isinstance(event, HostsSeen):
            connection.run(
                "DELETE FROM events WHERE progress <> '' AND progress = ? AND number < ?",
                (progress, number),
            )
        if progress and number % _PRUNE_EVERY == 0:
            _coarsen(connection, at)
        return number


def _coarsen(connection: Connection, now: float) -> None:
    """Of a step's progress older than ten minutes, keep one event in ten seconds."""
    connection.run(
        "DELETE FROM events WHERE progress <> '' AND at < ? AND number NOT IN (SELECT max(number)"
        " FROM events WHERE progress <> '' AND at < ?"
        f" GROUP BY progress, CAST(at AS BIGINT) / {_COARSE_S})",
        (now - _RECENT_S, now - _RECENT_S),
    )
