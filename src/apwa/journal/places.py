"""Where a run's journal is: its own file, or a database that its directory names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from apwa.journal.postgres import PostgresStore, without_password
from apwa.journal.reader import SqlReader
from apwa.journal.seam import Journal, JournalReader
from apwa.journal.sqlite import SqliteStore
from apwa.journal.store import Store
from apwa.journal.writer import begin_journal
from apwa.vocabulary import Misuse

SCHEMES = ("postgresql://", "postgres://")
VARIABLE = "APWA_JOURNAL"


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where a run's journal is.

    Attributes:
        path: The journal's file; beside it, ``journal.url`` names a database instead.
    """

    path: Path

    @property
    def url(self) -> str:
        """The database's address; empty for the file. With its password, where that is given."""
        named = self.path.with_name("journal.url")
        if not named.exists():
            return ""
        url = named.read_text().strip()
        given = os.environ.get(VARIABLE, "")
        return given if given and without_password(given) == url else url

    @property
    def shown(self) -> str:
        """The database's address without a password; empty for the file."""
        return without_password(self.url)

    @property
    def exists(self) -> bool:
        return self.path.exists() or self.path.with_name("journal.url").exists()

    def keep_url(self, url: str) -> None:
        """Have the journal in a database, of which the password is not kept."""
        self.path.with_name("journal.url").write_text(without_password(url) + "\n")

    def remove(self) -> None:
        """Remove what is not in the run's directory."""
        if url := self.url:
            PostgresStore(url, self.path.parent.name).remove()

    @property
    def store(self) -> Store:
        url = self.url
        return PostgresStore(url, self.path.parent.name) if url else SqliteStore(self.path)


def check_url(url: str) -> None:
    """Raises Misuse for an address that is none of a database."""
    if not url.startswith(SCHEMES):
        raise Misuse(
            f"{without_password(url)!r} is no place for a journal", "--journal",
            "Give postgresql://USER@HOST:PORT/DATABASE.",
        )  # fmt: skip


def open_journal(place: JournalPlace | Path) -> Journal:
    """Take the run: its lock, a new epoch, its journal (made if it is not there).

    Raises:
        Locked: Another process drives the run.
        Misuse: There is something else in its place, or it cannot be reached.
        Paused: The disk is full.
    """
    return begin_journal(_place(place).store)


def open_reader(place: JournalPlace | Path) -> JournalReader:
    """Open a run's journal for reading, from any process, while it is written or after.

    Raises Misuse where there is no journal.
    """
    return SqlReader(_place(place).store)


def is_driven(place: JournalPlace | Path) -> bool:
    """Whether some process drives the run now."""
    return _place(place).store.is_driven()


def _place(place: JournalPlace | Path) -> JournalPlace:
    return JournalPlace(place) if isinstance(place, Path) else place
