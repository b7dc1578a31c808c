"""What all tests share: no test is measured by the clock, and no key is left behind by any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from tests.canary import CANARY, find, find_in_database
from tests.postgres import Server, binaries

settings.register_profile("apwa", deadline=None)
settings.load_profile("apwa")

os.environ["APWA_API_KEY"] = CANARY
# read when Ray is imported, which any test may do
os.environ["RAY_AUTH_MODE"] = "disabled"  # raylets of a test trust each other
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"

_leaks: list[str] = []


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of the session's own, searched for the canary at the end."""
    server = Server(binaries())
    yield server
    try:
        assert find_in_database(server.url) == []
    finally:
        server.stop()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search what all tests have left behind, once: in the process that started the others."""
    if hasattr(session.config, "workerinput"):
        return
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is None or factory._basetemp is None:
        return
    _leaks.extend(find(factory.getbasetemp()))
    if _leaks and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for place in _leaks:
        terminalreporter.write_line(f"the canary key stands in {place}", red=True)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than processors: a worker mostly waits, for a cluster or an endpoint."""
    return (os.cpu_count() or 1) + 1


class _FilesAndOneCluster(LoadFileScheduling):
    """A file's tests on one worker, and all tests of clusters on one: these wait for each other."""

    def _split_scope(self, nodeid: str) -> str:
        return "cluster" if nodeid.startswith("tests/cluster/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return _FilesAndOneCluster(config, log)
