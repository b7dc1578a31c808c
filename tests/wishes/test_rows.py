"""Behaviours 18 and 20: single rows, the request as it was sent, each answer with its own row."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import apwa
from tests.wishes.conftest import PLAN, Cli, Serve, read_rows, run_words, write_lines
from tests.wishes.endpoint import Reply, Request, fails, says, serving
from tests.wishes.test_results import number

TOOL = """\
import apwa

@apwa.capability(pure=True)
def stars_of(words: str) -> int:
    \"\"\"How many stars a review gives.\"\"\"
    return 3
"""
GRANT = "over: lines\n    grant: {calculator: {}, stars_of: {}}"


def test_18_single_rows_are_tried_and_show_prints_the_request_exactly_as_it_was_sent(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f'line {n} . it\'s "fine" $HOME' for n in range(1, 31)])
    served = serve(lambda r: says({"tone": "good"}, r))
    ended = cli(*run_words(served.model, "--no-pilot", "--rows", "17,9", "-o", "out.jsonl"))
    assert ended.code == 0, ended.err
    assert sorted(number(r) for r in served.rows) == [9, 17]
    status = {row["id"]: row["_status"] for row in read_rows(tmp_path / "out.jsonl")}
    assert {key for key, word in status.items() if word == "done"} == {9, 17}
    shown = cli("show", "last", "--row", "17").out
    line = shown[shown.index("curl ") :]
    sent = next(r for r in served.rows if number(r) == 17)
    words = shlex.split(line)
    assert words[words.index("--data-raw") + 1].encode() == sent.raw, "to the byte"
    assert "Authorization: Bearer $APWA_API_KEY".lower() in line.lower()
    again = subprocess.run(line, shell=True, capture_output=True, timeout=100, check=True,
                           env={"PATH": "/usr/bin:/bin", "APWA_API_KEY": "a-key"})  # fmt: skip
    assert json.loads(again.stdout)["choices"]
    assert served.rows[-1].raw == sent.raw
    assert served.rows[-1].headers["authorization"] == "Bearer a-key"
    assert {"content-type", "accept"} <= set(sent.headers)


def test_18_a_request_with_tools_is_shown_with_them(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 .", "line 2 ."])
    (tmp_path / "tools.py").write_text(TOOL)
    (tmp_path / "plan.yaml").write_text(PLAN.replace("over: lines", GRANT))
    served = serve(lambda r: says({"tone": "good"}, r))
    words = run_words(served.model, "--no-pilot", "--grant", "calculator", "--module", "tools.py")
    ended = cli(*words)
    assert ended.code == 0, ended.err
    line = cli("show", "last", "--row", "2").out.partition("curl ")[2]
    sent = next(r for r in served.rows if number(r) == 2)
    assert {tool["function"]["name"] for tool in sent.body["tools"]} == {"calculate", "stars_of"}
    words = shlex.split(line)
    assert words[words.index("--data-raw") + 1].encode() == sent.raw, "to the byte"


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), twins=st.booleans(), kills=st.booleans())
def test_20_whatever_goes_wrong_on_the_wire_each_answer_stays_with_its_own_row(
    tmp_path_factory: pytest.TempPathFactory, seed: int, twins: bool, kills: bool
) -> None:
    """Refusals, errors, broken answers and slow ones at random; equal rows; a stop on the way.

    Lost hosts and late duplicates, in 300 seeds: tests/simulate. Batches of several rows and twins
    on purpose come with those features.
    """
    folder = tmp_path_factory.mktemp("rows")
    chance = random.Random(seed)
    numbers = [n % 20 if twins else n for n in range(1, 41)]
    write_lines(folder / "lines.jsonl", [f"line {n} ." for n in numbers])
    (folder / "plan.yaml").write_text(PLAN)

    def answer(request: Request) -> Reply:
        time.sleep(chance.random() * 0.02)
        fault = chance.random()
        if fault < 0.15:
            return fails(429, "slow down", retry_after="0.02")
        if fault < 0.3:
            return fails(500, "fell over")
        if fault < 0.4:
            return says("{broken", request)
        return says({"tone": f"tone {number(request)}"}, request)

    with serving(answer) as served:
        run = apwa.run(
            plan=folder / "plan.yaml", tables={"lines": folder / "lines.jsonl"}, yes=True,
            model=served.model, home=folder / "home", pilot=False, reuse=False, max_failures=1.0,
            max_calls=15 if kills else None,
        )  # fmt: skip
        if kills:
            assert run.state == "paused"
            run = apwa.run(
                plan=folder / "plan.yaml", tables={"lines": folder / "lines.jsonl"}, yes=True,
                model=served.model, home=folder / "home", pilot=False, max_failures=1.0,
            )  # fmt: skip
    rows = run.answer.to_arrow().to_pylist()
    assert len(rows) == 40
    for row, n in zip(rows, numbers, strict=True):
        assert row["text"] == f"line {n} ."
        assert (row["tone"] == f"tone {n}") == (row["_status"] == "done")
    assert sum(row["_status"] == "done" for row in rows) >= 20


def test_20_attempts_model_and_cost_are_columns_where_they_are_wanted(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 .", "line 2 ."])
    served = serve(lambda r: says({"tone": "good"}, r, cost=0.5))
    stats = {"_attempts", "_model", "_tokens", "_cost"}
    assert cli(*run_words(served.model, "--no-pilot", "-o", "out.jsonl")).code == 0
    assert not stats & set(read_rows(tmp_path / "out.jsonl")[0])
    assert cli("export", "last", "tone", "-o", "stats.jsonl", "--with-stats").code == 0
    for row in read_rows(tmp_path / "stats.jsonl"):
        assert (row["_attempts"], row["_model"], row["_cost"]) == (1, "scripted-1", 0.5)
