"""Runs that go on: after a retry, with another model, from another place, with changed sources.

How much is asked anew is counted at the endpoint.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import PLAN, Apwa, Practice, read_rows, write_notes

CHAIN = """\
apwa: 1
steps:
  tagged:
    template: Replace every piece of personal information in {{text}} with a tag such as [NAME].
    over: notes
    contract: {redacted: str}
  chosen:
    query: SELECT id, redacted FROM tagged WHERE redacted IS NOT NULL ORDER BY id
    key: [id]
  short:
    template: Summarise {{redacted}} in one sentence.
    over: chosen
    contract: {summary: str}
  together:
    template: Merge the summaries into one of a few sentences. {{summary}}
    over: short
    contract: {summary: str}
    reduce: {fan_in: 4}
answer: %s
"""


def answered(practice: Practice) -> int:
    """Calls that the endpoint has answered with an answer."""
    with urllib.request.urlopen(practice.url.removesuffix("/v1") + "/health") as reply:
        return json.load(reply)["answered"]


def port_of(practice: Practice) -> int:
    return int(practice.url.rsplit(":", 1)[1].split("/")[0])


def chain(answer: str) -> str:
    plan = CHAIN % answer
    if answer == "short":
        head, _, tail = plan.partition("  together:\n")
        plan = head + tail[tail.index("answer:") :]
    return plan


def run_arguments(plan: str, model: str, *more: str) -> list[str]:
    return [
        "run", plan, "--table", "notes=notes.jsonl", "--key", "id", "--model", model, "--yes",
        "--no-pilot", *more,
    ]  # fmt: skip


def write_with_a_marked_row(path: Path, rows: int, marked: int) -> None:
    write_notes(path, rows)
    lines = path.read_text().splitlines()
    row = json.loads(lines[marked - 1])
    row["text"] += " BADREQUEST"
    lines[marked - 1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")


def test_a_retried_row_flows_into_the_steps_after_it_and_no_other_is_asked_again(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    write_with_a_marked_row(tmp_path / "notes.jsonl", 10, 5)
    (tmp_path / "plan.yaml").write_text(chain("together"))
    first = practice("marker=BADREQUEST")
    ended = apwa(*run_arguments("plan.yaml", first.model, "-o", "out.jsonl"))
    assert ended.returncode == 3, ended.stderr
    (whole,) = read_rows(tmp_path / "out.jsonl")
    assert whole["items"] == 9
    assert [row["id"] for row in read_rows(tmp_path / "out.quarantined.tagged.jsonl")] == [5]
    port = port_of(first)
    first.process.kill()
    first.process.wait()
    second = practice(port=port)
    again = apwa("retry", "last", "-o", "again.jsonl")
    assert again.returncode == 0, again.stderr
    (whole,) = read_rows(tmp_path / "again.jsonl")
    assert (whole["items"], whole["missing"]) == (10, [])
    # the row itself, its summary, and the merges that have another item now; not one row more
    assert answered(second) <= 1 + 1 + 4
    assert apwa("export", "last", "short", "-o", "short.jsonl").returncode == 0
    assert [row["id"] for row in read_rows(tmp_path / "short.jsonl")] == list(range(1, 11))


def test_a_row_that_is_named_is_worked_anew_though_it_was_done(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 8)
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice()
    assert apwa(*run_arguments("plan.yaml", served.model)).returncode == 0
    before = answered(served)
    again = apwa("retry", "last", "--rows", "3", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert answered(served) == before + 1
    assert "generation 1" in apwa("show", "last", "--row", "3").stdout
    assert "generation 1" not in apwa("show", "last", "--row", "4").stdout


def test_another_model_goes_on_where_the_first_one_stopped(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 60)
    (tmp_path / "plan.yaml").write_text(PLAN)
    first = practice("latency=5")
    ended = apwa(*run_arguments("plan.yaml", first.model, "--max-calls", "25"))
    assert ended.returncode == 4, ended.stderr
    with_first = answered(first)
    second = practice("latency=5")
    other = f"{second.url}#another-name"
    again = apwa(
        "resume", "last", "--model", other, "--max-calls", "1000", "-o", "out.jsonl", "--with-stats"
    )
    assert again.returncode == 0, again.stderr
    rows = read_rows(tmp_path / "out.jsonl")
    assert len(rows) == 60 and {row["_status"] for row in rows} == {"done"}
    assert with_first >= 20
    # each row has been asked of one of them alone, and each was probed
    assert with_first + answered(second) <= 60 + 2 * 2


def test_a_selection_of_rows_holds_through_a_chain_of_steps(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 12)
    (tmp_path / "plan.yaml").write_text(chain("short"))
    served = practice()
    ended = apwa(*run_arguments("plan.yaml", served.model, "--rows", "2,9", "-o", "two.jsonl"))
    assert ended.returncode == 0, ended.stderr
    assert [row["id"] for row in read_rows(tmp_path / "two.jsonl")] == [2, 9]
    (tmp_path / "merge.yaml").write_text(chain("together"))
    ended = apwa(*run_arguments("merge.yaml", served.model, "--limit", "5", "-o", "five.jsonl"))
    assert ended.returncode == 0, ended.stderr
    (whole,) = read_rows(tmp_path / "five.jsonl")
    assert whole["items"] == 5


def test_a_selection_holds_through_a_join(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 10)
    (tmp_path / "places.jsonl").write_text(
        "".join(json.dumps({"id": n, "place": f"town {n}"}) + "\n" for n in range(1, 11))
    )
    (tmp_path / "plan.yaml").write_text(
        "apwa: 1\nsteps:\n"
        "  joined: {query: 'SELECT id, text, place FROM notes JOIN places USING (id) ORDER BY id',"
        " key: [id]}\n"
        "  short: {template: 'Summarise {{text}} of {{place}}.', over: joined,"
        " contract: {summary: str}}\n"
        "answer: short\n"
    )
    ended = apwa(
        *run_arguments("plan.yaml", "practice", "--limit", "4", "-o", "out.jsonl"),
        "--table", "places=places.jsonl", "--key", "places=id",
    )  # fmt: skip
    assert ended.returncode == 2  # --key id alone is of two tables now
    assert "of which table" in ended.stderr
    arguments = run_arguments("plan.yaml", "practice", "--limit", "4", "-o", "out.jsonl")
    arguments[arguments.index("--key") + 1] = "notes=id"
    ended = apwa(*arguments, "--table", "places=places.jsonl", "--key", "places=id")
    assert ended.returncode == 0, ended.stderr
    assert [row["id"] for row in read_rows(tmp_path / "out.jsonl")] == [1, 2, 3, 4]


def test_a_timeout_pauses_and_the_run_goes_on(apwa: Apwa, tmp_path: Path, practice) -> None:
    write_notes(tmp_path / "notes.jsonl", 600)
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice("latency=400")
    ended = apwa(*run_arguments("plan.yaml", served.model, "--concurrency", "8", "--timeout", "8"))
    begun = 1
    while True:
        assert ended.returncode == 4, ended.stderr
        assert "apwa resume" in ended.stderr
        assert not (tmp_path / "out.jsonl").exists()
        # the limit counts from the begin, and the probe comes before any row
        if answered(served) > 5 or begun == 5:
            break
        ended = apwa("resume", "last", "--timeout", "8", "--concurrency", "8")
        begun += 1
    done = answered(served)
    again = apwa("resume", "last", "--timeout", "200", "--concurrency", "64", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert len(read_rows(tmp_path / "out.jsonl")) == 600
    assert answered(served) <= 600 + 1 + begun and done > 5


def test_a_mended_plan_goes_on_with_what_it_does_not_change(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 12)
    plan = chain("short")
    # a query that fails only when it meets the rows
    broken = plan.replace("SELECT id, redacted FROM", "SELECT id, error(redacted) AS redacted FROM")
    (tmp_path / "plan.yaml").write_text(broken)
    served = practice()
    failed = apwa(*run_arguments("plan.yaml", served.model))
    assert failed.returncode == 1, failed.stderr
    assert "step chosen" in failed.stderr and "apwa resume --plan" in failed.stderr
    before = answered(served)
    (tmp_path / "bad.yaml").write_text(plan.replace("{{redacted}}", "{{redactd}}"))
    refused = apwa("resume", "last", "--plan", "bad.yaml")
    assert refused.returncode == 2, refused.stderr
    assert "line" in refused.stderr and "did you mean 'redacted'?" in refused.stderr
    (tmp_path / "mended.yaml").write_text(plan)
    again = apwa("resume", "last", "--plan", "mended.yaml", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert len(read_rows(tmp_path / "out.jsonl")) == 12
    assert answered(served) == before + 12  # the summaries alone
    (tmp_path / "other.yaml").write_text(plan.replace("in one sentence", "in two sentences"))
    other = apwa("resume", "last", "--plan", "other.yaml", "-o", "other.jsonl")
    assert other.returncode == 0, other.stderr
    assert answered(served) == before + 24
    assert "generation 1" in apwa("show", "last", "--step", "short", "--row", "3").stdout


def test_a_finished_run_is_only_said_again(apwa: Apwa, tmp_path: Path, practice) -> None:
    write_notes(tmp_path / "notes.jsonl", 6)
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice()
    assert apwa(*run_arguments("plan.yaml", served.model, "-o", "out.jsonl")).returncode == 0
    before, content = answered(served), (tmp_path / "out.jsonl").read_bytes()
    again = apwa("resume", "last")
    assert again.returncode == 0, again.stderr
    assert answered(served) == before
    assert (tmp_path / "out.jsonl").read_bytes() == content
    to_another = apwa("resume", "last", "-o", "other.jsonl")
    assert to_another.returncode == 0, to_another.stderr
    assert (tmp_path / "other.jsonl").read_bytes() == content


def test_a_planned_run_is_run_by_resume(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 20)
    job = "Replace every piece of personal information in the text with a tag such as [NAME]"
    planned = apwa("plan", job, "--table", "notes=notes.jsonl", "--model", "practice")
    assert planned.returncode == 0, planned.stderr
    ended = apwa("resume", "last", "--yes", "-o", "out.jsonl")
    assert ended.returncode == 0, ended.stderr
    assert {row["_status"] for row in read_rows(tmp_path / "out.jsonl")} == {"done"}


def test_a_refused_job_stays_refused(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 3)
    refused = apwa(
        "run", "Delete all files on this machine", "--table", "notes=notes.jsonl",
        "--model", "practice", "--yes",
    )  # fmt: skip
    assert refused.returncode == 1, refused.stderr
    again = apwa("resume", "last")
    assert again.returncode == 1, again.stderr
    assert "Traceback" not in again.stderr


def test_a_changed_source_is_said_and_the_snapshot_goes_on(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 40)
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice()
    ended = apwa(*run_arguments("plan.yaml", served.model, "--max-calls", "15"))
    assert ended.returncode == 4, ended.stderr
    write_notes(tmp_path / "notes.jsonl", 3)
    again = apwa("resume", "last", "--max-calls", "100", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("notes.jsonl has changed since") == 1
    assert len(read_rows(tmp_path / "out.jsonl")) == 40
    (tmp_path / "notes.jsonl").unlink()
    gone = apwa("resume", "last", "-o", "again.jsonl")
    assert gone.returncode == 0, gone.stderr
    assert len(read_rows(tmp_path / "again.jsonl")) == 40


@pytest.mark.parametrize("how", ["cancel --now", "ctrl-c twice"])
def test_a_run_stopped_at_once_loses_nothing_that_was_done(
    apwa: Apwa, tmp_path: Path, env: dict[str, str], practice, how: str
) -> None:
    write_notes(tmp_path / "notes.jsonl", 600)
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice("latency=400")
    process = subprocess.Popen(
        [sys.executable, "-m", "apwa", *run_arguments("plan.yaml", served.model),
         "--concurrency", "4"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 150
    while answered(served) < 10:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    if how == "cancel --now":
        assert apwa("cancel", "last", "--now").returncode == 0
        code = 4
    else:
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        code = 130
    _, errors = process.communicate(timeout=200)
    assert process.returncode == code, errors
    assert "Traceback" not in errors and "apwa resume" in errors
    asked = answered(served)
    served.process.kill()
    served.process.wait()
    served = practice(port=port_of(served))  # the rest at once
    again = apwa("resume", "last", "--concurrency", "32", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert {row["_status"] for row in read_rows(tmp_path / "out.jsonl")} == {"done"}
    # what was in flight is asked again, and nothing that had been answered before
    assert answered(served) <= 600 - (asked - 1) + 4 + 1
