"""What all tests share: no test is measured by the clock, least of all on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import Server, binaries

settings.register_profile("apwa", deadline=None)
settings.load_profile("apwa")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of the session's own."""
    server = Server(binaries())
    yield server
    server.stop()
