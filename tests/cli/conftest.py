"""Runs the command line as people do: a process of its own, in an empty directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.canary import CANARY

Apwa = Callable[..., subprocess.CompletedProcess[str]]

PLAN = """\
apwa: 1
steps:
  redact:
    template: Replace every piece of personal information in {{text}} with a tag such as [NAME].
    over: notes
    contract: {redacted: str, replaced: "list[{text: str, tag: str}]"}
    quotes: {"replaced[].text": text}
answer: redact
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment without any setting of apwa's or any key."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("APWA_", "OPENAI_"))}
    return kept | {"APWA_HOME": str(tmp_path / "home"), "CI": "true", "APWA_API_KEY": CANARY}


@pytest.fixture
def apwa(tmp_path: Path, env: dict[str, str]) -> Apwa:
    """``apwa("run", …)``: the finished process. ``before`` is called in it first of all."""

    def run(
        *arguments: str,
        timeout: float = 250,
        before: Callable[[], None] | None = None,
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "apwa", *arguments],
            cwd=tmp_path,
            env=env | more,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            preexec_fn=before,
        )
        assert CANARY not in ended.stdout + ended.stderr
        return ended

    return run


def write_notes(path: Path, rows: int) -> None:
    """Notes with names and addresses in them, no two alike."""
    with path.open("w") as file:
        for number in range(1, rows + 1):
            text = (
                f"Note {number}: Peter Miller called from Berlin, mail peter{number}@example.com."
            )
            file.write(json.dumps({"id": number, "text": text}) + "\n")


def read_rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass
class Practice:
    """A practice model in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    @property
    def model(self) -> str:
        return f"{self.url}#apwa-practice"

    def answered(self) -> int:
        """How many chat completions it has answered so far."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/health") as reply:
            return json.load(reply)["answered"]


@pytest.fixture
def practice() -> Iterator[Callable[..., Practice]]:
    """``practice("429=0.5")`` serves with these faults until the test ends.

    ``record``: a folder for every request and its answer.
    """
    started: list[subprocess.Popen[str]] = []

    def serve(faults: str = "", port: int = 0, record: Path | None = None) -> Practice:
        process = subprocess.Popen(
            [sys.executable, "-m", "apwa.practice", "--port", str(port), "--until-eof",
             "--faults", faults, *(["--record", str(record)] if record else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return Practice(process.stdout.readline().strip(), process)

    yield serve
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
