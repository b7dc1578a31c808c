"""What all tests share: no deadline by the clock, and a canary for a key."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.canary import CANARY, find

settings.register_profile("apwa", deadline=None)
settings.load_profile("apwa")

os.environ["APWA_API_KEY"] = CANARY

_leaks: list[str] = []


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
