"""Runs as people drive them: to the end, stopped, killed, resumed, retried, looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import PLAN, Apwa, read_rows, write_notes

JOB = "Replace every piece of personal information in the text with a tag such as [NAME]"


@pytest.fixture(autouse=True)
def plan(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)


def _start(tmp_path: Path, env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "apwa", *arguments],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def _wait_for_results(tmp_path: Path, least: int) -> None:
    """Until the run's journal holds so many results; bounded."""
    from apwa.runs import RunReader, list_runs
    from apwa.vocabulary import RUN

    end = time.monotonic() + 150
    while time.monotonic() < end:
        runs = list_runs(tmp_path / "home")
        if runs:
            with RunReader(runs[-1]) as reader:
                if reader.journal.counts(RUN, "redact").done >= least:
                    return
        time.sleep(0.05)
    raise AssertionError("the run makes no headway")


def test_a_job_in_words_ends_in_a_table_with_every_row(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 40)
    ended = apwa(
        "run", JOB, "--table", "notes=notes.jsonl", "--model", "practice", "--yes",
        "-o", "redacted.parquet",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().endswith("redacted.parquet")
    rows = pq.read_table(tmp_path / "redacted.parquet").to_pylist()
    assert [row["id"] for row in rows] == list(range(1, 41))
    assert all(row["_status"] == "done" and row["_error"] is None for row in rows)
    text = json.dumps(rows[0])
    assert "[NAME]" in text and "[EMAIL]" in text
    assert "practice model" in ended.stderr
    report = next((tmp_path / "home").glob("runs/*/report.md")).read_text()
    assert "40" in report and "practice model" in report


def test_a_plan_runs_again_with_no_manager(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 20)
    made = apwa(
        "plan", JOB, "--table", "notes=notes.jsonl", "--model", "practice", "-o", "mine.yaml"
    )
    assert made.returncode == 0, made.stderr
    ended = apwa(
        "run", "mine.yaml", "--table", "notes=notes.jsonl", "--model", "practice", "--yes",
        "-o", "out.csv", "--display", "json",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    kinds = {event["event"]["type"] for event in events}
    assert "RunEnded" in kinds and "ManagerSaid" not in kinds
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))


def test_without_a_terminal_and_without_yes_the_plan_waits(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 20)
    ended = apwa("run", JOB, "--table", "notes=notes.jsonl", "--model", "practice")
    assert ended.returncode == 4, ended.stderr
    assert "apwa resume" in ended.stderr
    again = apwa("resume", "last", "--yes", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert len(read_rows(tmp_path / "out.jsonl")) == 20


def test_a_cap_above_the_forecast_approves(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 20)
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", "practice",
        "--max-cost", "1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_a_cap_that_is_too_small_pauses_and_a_higher_one_goes_on(
    apwa: Apwa, tmp_path: Path
) -> None:
    write_notes(tmp_path / "notes.jsonl", 300)
    capped = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", "practice", "--yes",
        "--max-calls", "100", "--no-pilot",
    )  # fmt: skip
    assert capped.returncode == 4, capped.stderr
    assert "cap" in capped.stderr
    shown = apwa("show", "last")
    assert " 100 calls" in shown.stdout or int(_calls(shown.stdout)) <= 100
    again = apwa("resume", "last", "--max-calls", "1000", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert {row["_status"] for row in read_rows(tmp_path / "out.jsonl")} == {"done"}


def _calls(text: str) -> str:
    line = next(line for line in text.splitlines() if "calls" in line)
    return line.split()[1].replace(",", "")


def test_kill_9_and_resume_give_every_row_once(
    apwa: Apwa, tmp_path: Path, env: dict[str, str], practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 600)
    model = practice("latency=50").model
    process = _start(
        tmp_path, env, "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", model,
        "--yes", "--concurrency", "16", "-o", "out.jsonl",
    )  # fmt: skip
    for least in (50, 200, 400):
        _wait_for_results(tmp_path, least)
        process.kill()
        process.communicate()
        process = _start(tmp_path, env, "resume", "last")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == list(range(1, 601))
    assert {row["_status"] for row in rows} == {"done"}


def test_ctrl_c_keeps_what_is_in_flight_and_says_how_to_go_on(
    apwa: Apwa, tmp_path: Path, env: dict[str, str], practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 400)
    served = practice("latency=1000")
    process = _start(
        tmp_path, env, "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", served.model,
        "--yes", "--concurrency", "8",
    )  # fmt: skip
    _wait_for_results(tmp_path, 30)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert "apwa resume" in errors
    served.process.kill()
    served.process.wait()
    practice(port=int(served.url.rsplit(":", 1)[1].split("/")[0]))  # the rest at once
    again = apwa("resume", "last", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert {row["_status"] for row in read_rows(tmp_path / "out.jsonl")} == {"done"}


def test_a_second_driver_is_refused_and_cancel_stops_the_first(
    apwa: Apwa, tmp_path: Path, env: dict[str, str], practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 3000)
    model = practice("latency=600").model
    process = _start(
        tmp_path, env, "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", model,
        "--yes", "--concurrency", "8",
    )  # fmt: skip
    _wait_for_results(tmp_path, 20)
    second = apwa("resume", "last")
    assert second.returncode == 2
    assert "another process drives this run" in second.stderr
    exported = apwa("export", "last", "redact", "-o", "part.jsonl")
    assert exported.returncode == 0, exported.stderr
    part = read_rows(tmp_path / "part.jsonl")
    assert len(part) == 3000
    assert {row["_status"] for row in part} == {"done", "skipped"}
    assert "running" in apwa("runs").stdout
    assert apwa("cancel", "last").returncode == 0
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 4, errors
    assert "cancelled" in errors


def test_quarantined_rows_go_beside_the_answer_and_can_be_retried(
    apwa: Apwa, tmp_path: Path
) -> None:
    write_notes(tmp_path / "notes.jsonl", 30)
    (tmp_path / "strict.yaml").write_text(
        PLAN.replace("answer: redact", "").rstrip()
        + '\n    checks: ["input.id <> 7"]\nanswer: redact\n'
    )
    ended = apwa(
        "run", "strict.yaml", "--table", "notes=notes.jsonl", "--model", "practice", "--yes",
        "-o", "out.jsonl",
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    assert "apwa retry" in ended.stderr
    beside = read_rows(tmp_path / "out.quarantined.jsonl")
    assert [row["id"] for row in beside] == [7]
    assert str(beside[0]["_error"]).startswith("contract:")
    shown = apwa("show", "last", "--row", "7")
    assert "input.id <> 7" in shown.stdout and "generation 0" in shown.stdout
    assert apwa("retry", "last").returncode == 3
    assert "generation 1" in apwa("show", "last", "--row", "7").stdout
    mended = apwa(
        "run", "plan.yaml", "--table", "notes=out.quarantined.jsonl", "--model", "practice",
        "--yes", "-o", "mended.jsonl",
    )  # fmt: skip
    assert mended.returncode == 0, mended.stderr
    assert len(read_rows(tmp_path / "mended.jsonl")) == 1


def test_hostile_rows_harm_nobody_else(apwa: Apwa, tmp_path: Path, practice) -> None:
    rows = [{"id": n, "text": f"Note {n} of Peter Miller."} for n in range(1, 21)]
    rows[3]["text"] = "x" * 10_000_000
    rows[5]["text"] = ""
    rows[7]["text"] = "Here stands BADREQUEST."
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--yes", "--no-pilot",
        "--model", practice("marker=BADREQUEST").model, "-o", "out.jsonl",
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    answers = read_rows(tmp_path / "out.jsonl")
    bad = {row["id"]: str(row["_error"]) for row in answers if row["_status"] != "done"}
    assert bad[4].startswith("context_too_long"), bad
    assert bad[8].startswith("bad_request")
    assert set(bad) <= {4, 6, 8}
    assert len(answers) == 20


@pytest.mark.parametrize(
    ("faults", "words"),
    [("401", "key"), ("quota", "credit"), ("gone", "model"), ("reset", "endpoint")],
)
def test_trouble_of_the_whole_endpoint_pauses_with_its_remedy_and_charges_no_row(
    apwa: Apwa, tmp_path: Path, practice, faults: str, words: str
) -> None:
    write_notes(tmp_path / "notes.jsonl", 200)
    # the first calls go well, then all fail until so many have
    served = practice(f"{faults},after=40,latency=5")
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", served.model, "--yes",
        "--no-pilot", timeout=250,
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    assert words in ended.stderr.lower()
    assert "0 quarantined" in apwa("show", "last").stdout
    served.process.kill()
    served.process.wait()
    practice(port=int(served.url.rsplit(":", 1)[1].split("/")[0]))
    again = apwa("resume", "last", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert {row["_status"] for row in read_rows(tmp_path / "out.jsonl")} == {"done"}


def test_half_of_all_calls_answered_429_lose_no_row(apwa: Apwa, tmp_path: Path, practice) -> None:
    write_notes(tmp_path / "notes.jsonl", 60)
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--yes", "--no-pilot",
        "--model", practice("429=0.5,retry_after=0.1").model, "-o", "out.jsonl",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert {row["_status"] for row in read_rows(tmp_path / "out.jsonl")} == {"done"}


def test_limit_and_rows_leave_the_rest_skipped(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 20)
    common = ("run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", "practice", "--yes")
    ended = apwa(*common, "--limit", "5", "-o", "five.jsonl")
    assert ended.returncode == 0, ended.stderr
    status = [row["_status"] for row in read_rows(tmp_path / "five.jsonl")]
    assert status == ["done"] * 5 + ["skipped"] * 15
    ended = apwa(*common, "--rows", "3,17", "-o", "two.jsonl")
    assert ended.returncode == 0, ended.stderr
    done = [row["id"] for row in read_rows(tmp_path / "two.jsonl") if row["_status"] == "done"]
    assert done == [3, 17]


def test_the_stats_of_all_rows_add_up_to_what_was_spent(apwa: Apwa, tmp_path: Path) -> None:
    """Those that the pilot has answered, and one that shares another's answer, too."""
    rows = [{"id": n, "text": f"Note {n}: Peter Miller called."} for n in range(1, 31)]
    rows.append({"id": 31, "text": rows[4]["text"]})
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = apwa(
        "run", "plan.yaml", "-t", "notes=notes.jsonl", "-m", "practice", "--yes", "--with-stats",
        "-o", "out.jsonl",
    )  # fmt: skip
    assert "spent       30 calls" in ended.stderr, ended.stderr
    out = read_rows(tmp_path / "out.jsonl")
    assert sum(row["_attempts"] for row in out) == 30
    assert sorted(row["_attempts"] for row in out)[:2] == [0, 1]
    assert all(row["_model"] == "apwa-practice" for row in out if row["_attempts"])


def test_a_dry_run_shows_prompts_and_works_no_row(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 20)
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", "practice", "--dry-run"
    )
    assert ended.returncode == 0, ended.stderr
    assert "Note 1: Peter Miller" in ended.stdout and "Note 3" not in ended.stdout
    assert "20 subtasks" in ended.stdout
    assert "spent       0 calls" in ended.stderr, "not for a pilot either"
    assert "0 done" in apwa("show", "last").stdout


def test_purge_leaves_no_trace(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 12)
    apwa("run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", "practice", "--yes")
    run = next((tmp_path / "home").glob("runs/*")).name
    assert apwa("purge", run).returncode == 0
    assert not list((tmp_path / "home").glob("runs/*"))
