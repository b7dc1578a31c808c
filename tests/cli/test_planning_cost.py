"""The manager's cost does not grow with the rows."""

from __future__ import annotations

import json
from pathlib import Path

from apwa.practice import sample
from apwa.runs import RunReader, find_run
from tests.cli.conftest import Apwa

JOB = "Replace every piece of personal information in the text with a tag such as [NAME]"


def _planning_tokens(apwa: Apwa, tmp_path: Path, rows: int) -> int:
    lines = sample("notes.jsonl").read_text().splitlines()[:100]
    texts = [json.loads(line)["text"] for line in lines]
    block = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    with (tmp_path / "notes.jsonl").open("w") as file:
        for _ in range(rows // 100):
            file.write(block)
    ended = apwa(
        "plan", JOB, "--table", "notes=notes.jsonl", "--model", "practice", "--no-pilot",
        "-o", "plan.yaml", "--force",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with RunReader(find_run(tmp_path / "home", "last")) as reader:
        return sum(turn.usage.tokens for turn in reader.journal.turns())


def test_planning_over_a_million_rows_costs_what_it_costs_over_a_hundred(
    apwa: Apwa, tmp_path: Path
) -> None:
    few = _planning_tokens(apwa, tmp_path, 100)
    many = _planning_tokens(apwa, tmp_path, 1_000_000)
    assert few > 1000
    assert abs(many - few) <= 0.02 * few
