"""Jobs that a person planned and worked from what the prompts say, played again over the wire."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.recordings.jobs import JOBS, Job, chair, run


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_recorded_job_comes_to_its_answer(job: Job, tmp_path: Path) -> None:
    """Fails where a prompt, a tool or a report has changed: record the job anew, and read what
    the change makes of it (docs/by-hand.md)."""
    answer = tmp_path / "answer.jsonl"
    with chair("--replay", str(job.folder / "exchanges")) as url:
        ended = run(job, url, answer, tmp_path / "home")
        with urllib.request.urlopen(url.removesuffix("/v1") + "/health") as reply:
            health = json.load(reply)
    assert ended.returncode == 0
    assert _rows(answer) == _rows(job.folder / "answer.jsonl")
    assert health["answered"] == len(list((job.folder / "exchanges").iterdir()))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_recording_holds_a_plan_that_was_refused_and_mended(job: Job) -> None:
    """The words of errors must be enough to mend what was wrong: each job has some to prove it."""
    texts = "".join(path.read_text() for path in (job.folder / "exchanges").iterdir())
    assert "was not accepted" in texts  # an answer of a worker
    if job.name != "summary":
        assert "The plan has one problem" in texts
