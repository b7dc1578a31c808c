"""Behaviours 3, 8 and 11: every row counted, types from the contract, answers at any moment."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apwa.runs import RunReader, list_runs
from apwa.vocabulary import RUN
from tests.wishes.conftest import Cli, Serve, read_rows, report, run_words, write_lines
from tests.wishes.endpoint import Reply, Request, fails, says

TYPED = """\
apwa: 1
steps:
  read:
    template: Read {{text}}.
    over: lines
    contract: {amount: "float?", note: "str?", tags: "list[str]"}
    limits: {attempts: 1, repairs: 0}
answer: read
"""


def number(request: Request) -> int:
    return int(request.user.split("line ")[1].split()[0])


def test_03_done_quarantined_and_skipped_make_the_rows_on_the_last_line_of_each_run(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 31)])
    served = serve(
        lambda r: fails(400, "not this one") if number(r) == 4 else says({"tone": "good"}, r)
    )
    ended = cli(*run_words(served.model, "--no-pilot", "--limit", "20"))
    assert ended.code == 3
    assert ended.last == "30 rows = 19 done + 1 quarantined + 10 skipped"
    capped = cli(*run_words(served.model, "--no-pilot", "--no-reuse", "--max-calls", "9"))
    assert capped.code == 4
    words = capped.last.replace(",", "").split()
    assert words[:5] == ["30", "rows", "of", "step", "tone"]
    assert int(words[6]) + int(words[9]) + int(words[12]) == 30 and 0 < int(words[6]) <= 9
    failed = cli(*run_words("http://127.0.0.1:9/v1#nobody", "--no-pilot"))
    assert failed.code == 4
    assert failed.last == "30 rows = 0 done + 0 quarantined + 30 skipped"


def test_03_an_empty_answer_is_no_success_unless_the_contract_allows_it(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 ."])
    served = serve(lambda r: says({"tone": ""}, r))
    ended = cli(*run_words(served.model, "--no-pilot", "-o", "out.jsonl"))
    assert ended.code == 3 and "1 quarantined" in ended.last
    assert str(read_rows(tmp_path / "out.jsonl")[0]["_error"]).startswith("empty")
    (tmp_path / "typed.yaml").write_text(TYPED)
    served.answer = lambda r: says({"amount": None, "note": None, "tags": []}, r)
    allowed = cli(*run_words(served.model, "--no-pilot", plan="typed.yaml"))
    assert allowed.code == 0 and "1 done" in allowed.last


@pytest.mark.parametrize("order", ["nulls first", "nulls last", "errors last"])
def test_08_no_row_order_late_null_or_late_error_changes_the_types_or_breaks_the_file(
    cli: Cli, serve: Serve, tmp_path: Path, order: str
) -> None:
    (tmp_path / "typed.yaml").write_text(TYPED)
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 41)])

    def answer(request: Request) -> Reply:
        first = number(request) <= 20
        if order == "errors last" and not first:
            return fails(400, f"row {number(request)} is not liked")
        bare = first == (order == "nulls first")
        amount, note, tags = (None, None, []) if bare else (1.5, "ok", ["a"])
        return says({"tags": tags, "note": note, "amount": amount}, request)

    served = serve(answer)
    ended = cli(
        *run_words(served.model, "--no-pilot", "-o", "out.parquet", plan="typed.yaml"),
        "--max-failures", "100%",
    )  # fmt: skip
    assert ended.code in (0, 3), ended.err
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 40
    types = {name: table.schema.field(name).type for name in ("amount", "note", "tags", "_error")}
    assert types == {
        "amount": pa.float64(),
        "note": pa.string(),
        "tags": pa.list_(pa.string()),
        "_error": pa.string(),
    }


def test_08_a_failure_to_write_the_answer_at_the_end_loses_no_answer(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 11)])
    folder = tmp_path / "there"
    folder.mkdir()

    def vanish(request: Request) -> Reply:
        if folder.exists():
            folder.rmdir()
        return says({"tone": "good"}, request)

    served = serve(vanish)
    ended = cli(*run_words(served.model, "--no-pilot", "-o", "there/out.jsonl"))
    assert ended.code != 0
    calls = len(served.rows)
    again = cli("resume", "-o", "out.jsonl")
    assert again.code == 0, again.err
    assert len(read_rows(tmp_path / "out.jsonl")) == 10 and len(served.rows) == calls


@pytest.fixture
def half_done(cli: Cli, serve: Serve, tmp_path: Path):
    """A run of 40 rows at work in another thread's server: 20 are answered, the rest waits."""
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 41)])
    go_on = threading.Event()

    def answer(request: Request) -> Reply:
        if len(served.rows) > 20:
            go_on.wait(250)
        return says({"tone": "good"}, request)

    served = serve(answer)
    return served, go_on


def start(tmp_path: Path, *arguments: str):
    import os
    import subprocess
    import sys

    return subprocess.Popen(
        [sys.executable, "-m", "apwa", *arguments],
        cwd=tmp_path, env=os.environ | {"APWA_HOME": str(tmp_path / "home"), "CI": "true"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def committed(tmp_path: Path) -> int:
    """Rows of the last run that its journal has."""
    with RunReader(list_runs(tmp_path / "home")[-1]) as reader:
        return reader.journal.counts(RUN, "tone").done


def wait_for(what, least: int) -> None:
    for _ in range(3000):
        if len(what()) >= least:
            return
        time.sleep(0.05)
    raise AssertionError("the run makes no headway")


def test_11_export_works_while_the_run_goes_on_and_finish_ends_it_well_with_what_it_has(
    cli: Cli, half_done, tmp_path: Path
) -> None:
    served, go_on = half_done
    process = start(
        tmp_path, *run_words(served.model, "--no-pilot", "--concurrency", "4", "-o", "out.jsonl")
    )
    wait_for(lambda: served.rows, 22)
    wait_for(lambda: range(committed(tmp_path)), 16)
    exported = cli("export", "last", "tone", "-o", "so_far.jsonl")
    assert exported.code == 0, exported.err
    status = [row["_status"] for row in read_rows(tmp_path / "so_far.jsonl")]
    assert len(status) == 40 and 15 <= status.count("done") <= 20
    assert cli("finish").code == 0
    taken = '"command":"Finish"'
    wait_for(lambda: [1] * cli("show", "last", "--events").out.count(taken), 1)
    go_on.set()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 3, errors
    rows = read_rows(tmp_path / "out.jsonl")
    missing = [str(row["id"]) for row in rows if row["_status"] == "skipped"]
    done = [row for row in rows if row["_status"] == "done"]
    assert len(rows) == 40 and len(done) + len(missing) == 40 and len(missing) >= 12
    assert f"missing     {len(missing)} rows: {', '.join(missing[:12])}" in errors
    assert f"Step tone: {', '.join(missing)}" in report(tmp_path)
    assert errors.rstrip().endswith(f"{len(done)} done + 0 quarantined + {len(missing)} skipped")
    before = len(served.rows)
    again = cli("resume", "-o", "all.jsonl")
    assert again.code == 0, again.err
    assert len(served.rows) - before == len(missing), "resume works the missing rows, and no other"
    assert [row["_status"] for row in read_rows(tmp_path / "all.jsonl")] == ["done"] * 40


def test_11_a_run_that_stands_still_is_finished_without_a_call(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 41)])
    (tmp_path / "two.yaml").write_text(
        "apwa: 1\nsteps:\n"
        "  tone: {template: 'Tone of {{text}}?', over: lines, contract: {tone: str}}\n"
        "  short: {template: 'Shorten {{tone}}.', over: tone, contract: {short: str}}\n"
        "answer: short\n"
    )
    served = serve(lambda r: says({"tone": "good"}, r))
    capped = cli(*run_words(served.model, "--no-pilot", "--max-calls", "12", plan="two.yaml"))
    assert capped.code == 4
    calls = len(served.requests)
    ended = cli("finish", "-o", "out.jsonl")
    assert ended.code == 3, ended.err
    assert len(served.requests) == calls
    rows = read_rows(tmp_path / "out.jsonl")
    assert len(rows) == 40 and {row["_status"] for row in rows} == {"skipped"}
    assert sum(row["tone"] == "good" for row in rows) >= 10, "what the first step has, it gives"
    assert json.dumps(rows[0])


def test_11_a_job_in_words_is_finished_though_its_manager_may_ask_no_more(
    cli: Cli, practice, tmp_path: Path
) -> None:
    served = practice("latency=300")
    write_lines(tmp_path / "notes.jsonl", [f"Peter Miller called {n} times." for n in range(400)])
    job = "Replace every piece of personal information in the text with a tag such as [NAME]"
    process = start(
        tmp_path, "run", job, "--table", "notes=notes.jsonl", "--model", served.model, "--yes",
        "--concurrency", "4", "-o", "out.jsonl",
    )  # fmt: skip
    wait_for(lambda: range(served.answered()), 30)  # past planning and pilot
    assert cli("finish").code == 0
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 3, errors
    status = [row["_status"] for row in read_rows(tmp_path / "out.jsonl")]
    assert len(status) == 400 and set(status) == {"done", "skipped"}
    again = cli("resume", "--concurrency", "32", "-o", "all.jsonl")
    assert again.code == 0, again.err
    assert {row["_status"] for row in read_rows(tmp_path / "all.jsonl")} == {"done"}


def test_11_a_run_that_waits_for_approval_has_nothing_to_finish(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 21)])
    served = serve(lambda r: says({"tone": "good"}, r))
    waiting = cli("run", "plan.yaml", "--table", "lines=lines.jsonl", "--model", served.model)
    assert waiting.code == 4
    ended = cli("finish", "-o", "out.jsonl")
    assert ended.code == 4 and "the full run has not begun" in ended.err
    assert cli("resume", "--yes").code == 0
