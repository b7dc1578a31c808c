"""Rows that are too long are said before anything is spent, and none is cut without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Apwa, Practice, read_rows

MEETINGS = Path(__file__).parents[1] / "examples" / "meetings.jsonl"
PLAN = """\
apwa: 1
steps:
  told:
    template: Summarise {{text}} in one sentence.
    over: SOURCE
    contract: {summary: str}
    limits: {output_tokens: 200}
answer: told
"""
PARTS = """\
  parts:
    query: SELECT id, unnest(chunk(text, 800)) AS text FROM notes
"""
SAID = "Step told: 2 of 32 rows are too long for the model's context of 2,000 tokens"


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """Two transcripts of meetings among short notes."""
    texts = [json.loads(line)["transcript"] for line in MEETINGS.read_text("utf-8").splitlines()]
    texts += [f"Note {n}: the meeting was long. Nothing was decided." for n in range(30)]
    rows = [{"id": n, "text": text} for n, text in enumerate(texts, 1)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "plan.yaml").write_text(PLAN.replace("SOURCE", "notes"))
    parts = PLAN.replace("SOURCE", "parts").replace("answer:", PARTS + "answer:")
    (tmp_path / "parts.yaml").write_text(parts)


def _run(plan: str, model: str, *more: str, context: int = 2000) -> tuple[str, ...]:
    return (
        "run", plan, "--table", "notes=notes.jsonl", "--model", model, "-v",
        "--context", str(context), *more,
    )  # fmt: skip


def test_a_dry_run_counts_them(apwa: Apwa) -> None:
    ended = apwa(*_run("plan.yaml", "practice", "--dry-run"))
    assert ended.returncode == 0, ended.stderr
    assert SAID in ended.stdout and "chunk(text, " in ended.stdout


@pytest.mark.parametrize("pilot", ["--pilot", "--no-pilot"])
def test_they_are_said_before_the_run_and_then_set_aside(
    apwa: Apwa, practice: Callable[..., Practice], tmp_path: Path, pilot: str
) -> None:
    served = practice(record=tmp_path / "sent")
    waiting = apwa(*_run("plan.yaml", served.model, pilot, "-o", "out.jsonl"))
    assert waiting.returncode == 4 and SAID in waiting.stderr, waiting.stderr
    assert "or lower limits.output_tokens." in " ".join(waiting.stderr.split())
    ended = apwa("resume", "--yes")
    assert ended.returncode == 3, ended.stderr
    aside = [row for row in read_rows(tmp_path / "out.jsonl") if row["_status"] != "done"]
    assert [row["id"] for row in aside] == [1, 2]
    assert all(str(row["_error"]).startswith("context_too_long") for row in aside)
    sent = [path.read_text() for path in (tmp_path / "sent").glob("*.exchange.json")]
    assert sent and all(len(text) < 10_000 for text in sent), "and not a part of them was sent"
    if pilot == "--pilot":
        report = next((tmp_path / "home").glob("runs/*/report.md")).read_text()
        assert "## Long rows" in report and SAID in report


def test_a_larger_context_is_named_when_the_run_goes_on(apwa: Apwa, tmp_path: Path) -> None:
    waiting = apwa(*_run("plan.yaml", "practice", "--no-pilot", "-o", "out.jsonl"))
    assert waiting.returncode == 4 and SAID in waiting.stderr, waiting.stderr
    refused = apwa("resume", "--context", "0")
    assert refused.returncode == 2 and "--context: the number must be above 0" in refused.stderr
    ended = apwa("resume", "--yes", "--context", "100000")
    assert ended.returncode == 0, ended.stderr
    assert {row["_status"] for row in read_rows(tmp_path / "out.jsonl")} == {"done"}


def test_cut_into_pieces_all_of_them_is_worked(apwa: Apwa, tmp_path: Path) -> None:
    ended = apwa(*_run("parts.yaml", "practice", "--yes", "-o", "out.jsonl"))
    assert ended.returncode == 0, ended.stderr
    assert "too long" not in ended.stderr
    made = read_rows(tmp_path / "out.jsonl")
    whole = {row["id"]: row["text"] for row in read_rows(tmp_path / "notes.jsonl")}
    for number in (1, 2):
        assert "".join(str(r["text"]) for r in made if r["id"] == number) == whole[number]
    report = next((tmp_path / "home").glob("runs/*/report.md")).read_text()
    assert "all rows fit the model's context" in report


def test_the_output_limit_of_all_templates_counts_where_one_names_none(
    apwa: Apwa, tmp_path: Path
) -> None:
    plan = PLAN.replace("SOURCE", "notes").replace("    limits: {output_tokens: 200}\n", "")
    (tmp_path / "plan.yaml").write_text(plan)
    refused = apwa(*_run("plan.yaml", "practice", "--no-pilot", "--yes"))
    words = " ".join(refused.stderr.split())
    assert refused.returncode == 2 and "an answer may have 2,048, which leaves no room" in words
    (tmp_path / "apwa.toml").write_text("output_tokens = 200\n")
    ended = apwa(*_run("plan.yaml", "practice", "--no-pilot", "--yes"))
    assert ended.returncode == 3, ended.stderr  # two rows are too long


def test_a_manager_is_told_of_them(
    apwa: Apwa, practice: Callable[..., Practice], tmp_path: Path
) -> None:
    manager = practice(record=tmp_path / "manager")
    job = "Summarise each text in one sentence"
    ended = apwa(*_run(job, "practice", "--manager-model", manager.model, "--yes", context=4000))
    assert ended.returncode == 3, ended.stderr
    bodies = [path.read_text() for path in (tmp_path / "manager").glob("*.exchange.json")]
    assert any("2 of 32 rows are too long" in b and "context_too_long" in b for b in bodies)
