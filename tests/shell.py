"""The printed ``curl`` line, run by a real shell and a real curl."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="curl is not installed"
)


def sent_again(line: str, **env: str) -> str:
    """What came back. ``env``: the variables that the line names."""
    ended = subprocess.run(
        line, shell=True, capture_output=True, text=True, timeout=100,
        env={"PATH": "/usr/bin:/bin", **env},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
