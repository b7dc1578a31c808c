"""A sensitive value goes to the worker whose template names it, and is shown nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Apwa, read_rows

CANARY = "zebra-canary"  # in every sensitive value, and in nothing else
JOB = "Replace every piece of personal information in the text with a tag such as [NAME]"

# what is replaced is the address, and the contract refuses it with words that quote it
PLAN = """\
apwa: 1
tables:
  notes: {sensitive: [text, unread]}
steps:
  redact:
    template: Replace every piece of personal information in {{text}} with a tag such as [EMAIL].
    over: notes
    contract:
      type: object
      properties:
        redacted: {type: string}
        replaced:
          type: array
          items:
            type: object
            properties: {text: {type: string, maxLength: 26}, tag: {type: string}}
            required: [text, tag]
      required: [redacted, replaced]
answer: redact
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    rows = [
        {
            "id": n,
            "text": f"Mail {CANARY}{n % 10}{'x' * 9 if n <= 3 else ''}@example.com back.",
            "unread": f"{CANARY} unread {n}",
        }
        for n in range(1, 13)
    ]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _told_the_manager(tmp_path: Path, step: str) -> str:
    """What a manager hears of a step's failures, of which the journal holds every word."""
    from apwa.journal import open_reader
    from apwa.runs.reporting import failures_shown, failures_text
    from apwa.vocabulary import RUN

    reader = open_reader(next((tmp_path / "home").glob("runs/*/run.db")))
    try:
        kept = reader.failures(RUN, step, 10)
        assert any(CANARY in result.message for result in kept), "else this tries nothing"
        more = failures_shown(reader, RUN, step, answers=True)
        return failures_text(reader, RUN, step) + more
    finally:
        reader.close()


def _shown(apwa: Apwa, tmp_path: Path, step: str) -> dict[str, str]:
    """Everything that shows a run, by name."""
    looks = {
        "show": ("show", "last"),
        "show --step": ("show", "last", "--step", step),
        "show --row 1": ("show", "last", "--step", step, "--row", "1"),
        "show --row 9": ("show", "last", "--step", step, "--row", "9"),
        "show --events": ("show", "last", "--events"),
        "runs": ("runs",),
    }
    shown: dict[str, str] = {}
    for name, arguments in looks.items():
        ended = apwa(*arguments)
        assert ended.returncode == 0, ended.stderr
        shown[name] = ended.stdout + ended.stderr
    shown["report.md"] = next((tmp_path / "home").glob("runs/*/report.md")).read_text()
    shown["plan.yaml"] = next((tmp_path / "home").glob("runs/*/plan.yaml")).read_text()
    return shown


def test_a_failure_that_quotes_a_sensitive_value_is_shown_without_its_words(
    apwa: Apwa, tmp_path: Path
) -> None:
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", "practice", "--yes",
        "--display", "json", "-o", "out.jsonl",
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    shown = _shown(apwa, tmp_path, "redact") | {
        "--display json": ended.stderr + ended.stdout,
        "manager": _told_the_manager(tmp_path, "redact"),
    }
    assert [name for name, text in shown.items() if CANARY in text] == []
    assert all("contract" in shown[name] for name in ("report.md", "show --step", "manager"))
    assert "hidden" in shown["show --row 1"] and "hidden" in shown["show --row 9"]

    rows = read_rows(tmp_path / "out.jsonl")
    beside = read_rows(tmp_path / "out.quarantined.jsonl")
    assert [row["id"] for row in beside] == [1, 2, 3]
    assert CANARY in str(beside[0]["text"]), "the row itself is the user's own, and can be mended"
    errors = [str(row["_error"]) for row in [*rows, *beside] if row["_status"] != "done"]
    assert len(errors) == 6
    assert all(e.startswith("contract: (hidden") and CANARY not in e for e in errors)
    tables = (tmp_path / "home").glob("runs/*/tables/**/*.parquet")
    kept = [str(e) for t in tables for e in pq.read_table(t).column("_error").to_pylist()]
    assert any(e.startswith("contract") for e in kept)
    assert not any(CANARY in e for e in kept)


def test_only_the_worker_is_sent_it_and_only_what_its_template_names(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    model = practice(record=tmp_path / "sent").model
    ended = apwa(
        "run", JOB, "--table", "notes=notes.jsonl", "--sensitive", "text,unread", "--model", model,
        "--yes", "-v",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    sent = [
        json.loads(path.read_text())["request"]
        for path in sorted((tmp_path / "sent").glob("*.exchange.json"))
    ]
    of_manager = [json.dumps(request) for request in sent if request.get("tools")]
    of_workers = [json.dumps(request) for request in sent if not request.get("tools")]
    assert len(of_manager) >= 4 and len(of_workers) >= 12
    assert not any(CANARY in text for text in of_manager)
    assert "sensitive, content not shown" in of_manager[0]
    assert sum(CANARY in text for text in of_workers) >= 12
    assert not any(f"{CANARY} unread" in text for text in of_workers)
    assert CANARY not in ended.stderr
    assert CANARY not in next((tmp_path / "home").glob("runs/*/report.md")).read_text()


def test_a_run_and_its_answer_show_nothing_sensitive_of_themselves_in_python(
    tmp_path: Path, env: dict[str, str]
) -> None:
    code = """
import apwa
run = apwa.run(
    plan="plan.yaml", tables={"notes": "notes.jsonl"}, model="practice", yes=True,
)
print(len(run.answer), len(run.failures))
for shown in (run, run.answer, run.table("notes")):
    print(repr(shown), str(shown), shown._repr_html_())
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("12 3\n")
    assert "(sensitive)" in ended.stdout
    assert CANARY not in ended.stdout + ended.stderr
