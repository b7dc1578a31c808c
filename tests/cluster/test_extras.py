"""A fresh environment with the extra for clusters works its rows on a Ray of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.environments.conftest import Make, make, run, uv, wheel
from tests.environments.test_environments import LABELS

pytestmark = pytest.mark.timeout(900)


def test_an_extra_installs_and_works_rows_on_ray(make: Make, tmp_path: Path) -> None:
    """``ray-jobs`` is ``ray`` and what submits a driver to a cluster elsewhere."""
    environment = make("ray-jobs")
    code = "from ray.job_submission import JobSubmissionClient; import ray.util.client, apwa"
    imported = run([environment.python, "-c", code])
    assert imported.returncode == 0, imported.stderr
    (tmp_path / "plan.yaml").write_text(LABELS)
    (tmp_path / "lines.jsonl").write_text('{"text": "a fine film"}\n{"text": "a dull one"}\n')
    ended = environment.apwa(
        "run", "plan.yaml", "-t", "lines=lines.jsonl", "-m", "practice", "--executor", "ray",
        "--yes", "--no-pilot", "-o", "out.jsonl", cwd=tmp_path, APWA_HOME=str(tmp_path / "home"),
        RAY_ADDRESS="local",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["_status"] for row in rows] == ["done", "done"]
