"""A journal in either database."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apwa.journal import Journal, JournalPlace, open_journal


@pytest.fixture(params=["sqlite", "postgres"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a journal may be made: in a file, or where the directory names a database."""
    return _place(request, tmp_path)


def _place(request: pytest.FixtureRequest, base: Path) -> Path:
    path = base / f"run-{uuid.uuid4().hex[:12]}" / "run.db"
    path.parent.mkdir()
    if request.param == "postgres":
        JournalPlace(path).keep_url(request.getfixturevalue("postgres").url)
    return path


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    opened = open_journal(path)
    yield opened
    await opened.close()
