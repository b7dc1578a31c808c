"""Behaviours 1, 2 and 13: failures that are nobody's row, waiting, errors that are all alike."""

from __future__ import annotations

import itertools
import random
import threading
import time
from pathlib import Path

import pytest

from apwa.executor.gate import Gate
from apwa.vocabulary import ErrorKind
from apwa.vocabulary.messages import PaceSample
from tests.wishes.conftest import Cli, Serve, read_rows, run_words, write_lines
from tests.wishes.endpoint import Reply, Request, fails, says

ROWS = [f"line {n}: a fine film" for n in range(1, 41)]


@pytest.mark.parametrize(
    ("broken", "remedy"),
    [
        (fails(402, "You are out of credits."), "credit"),
        (fails(429, "You exceeded your current quota.", "insufficient_quota"), "credit"),
        (fails(401, "Incorrect API key provided.", "invalid_api_key"), "key"),
        (fails(404, "The model `scripted` does not exist.", "model_not_found"), "model"),
    ],
    ids=["credit", "quota in a 429", "key", "model gone"],
)
def test_01_an_account_failure_pauses_the_run_charges_no_row_says_the_remedy_and_resume_goes_on(
    cli: Cli, serve: Serve, tmp_path: Path, broken: Reply, remedy: str
) -> None:
    write_lines(tmp_path / "lines.jsonl", ROWS)
    served = serve(lambda r: broken if len(served.rows) > 10 else says({"tone": "good"}, r))
    ended = cli(*run_words(served.model, "--no-pilot", "--concurrency", "4"))
    assert ended.code == 4 and remedy in ended.err.lower()
    assert len(served.rows) <= 10 + 4, "no more than what was in flight hears of it"
    assert "0 quarantined" in ended.last
    served.answer = lambda r: says({"tone": "good"}, r)
    again = cli("resume", "-o", "out.jsonl", "--with-stats")
    assert again.code == 0, again.err
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["_attempts"] for row in rows] == [1] * 40, "the failure is no attempt of a row's"


def test_01_a_429_with_a_reset_time_stays_a_wait(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", ROWS[:6])
    wait = fails(429, "Your quota resets in 1s; billing is fine.", retry_after="1")
    served = serve(lambda r: wait if len(served.rows) in (2, 3) else says({"tone": "good"}, r))
    ended = cli(*run_words(served.model, "--no-pilot", "-o", "out.jsonl"))
    assert ended.code == 0, ended.err
    assert len(served.rows) == 8


def test_02_under_429_to_half_of_all_calls_no_row_is_lost_and_concurrency_falls(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n}" for n in range(1, 201)])
    chance = random.Random(7)
    first, together = itertools.count(), threading.Barrier(6)

    def half(request: Request) -> Reply:
        if next(first) < 6:
            together.wait(60)
        time.sleep(0.05)
        if chance.random() < 0.5:
            return fails(429, "Rate limit reached.", "rate_limit_exceeded", retry_after="0.05")
        return says({"tone": "good"}, request)

    served = serve(half)
    ended = cli(*run_words(served.model, "--no-pilot", "-o", "out.jsonl", "--with-stats"))
    assert ended.code == 0, ended.err
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["_status"] for row in rows] == ["done"] * 200
    assert [row["_attempts"] for row in rows] == [1] * 200, "waiting is never an attempt"
    at_once = [request.at_once for request in served.rows]
    assert max(at_once[:20]) >= 6, "it began with more"
    assert max(at_once[-100:]) <= 4, "the concurrency falls, not only the delay"


def test_02_ten_minutes_of_it_leave_few_calls_at_once_and_never_none() -> None:
    """In virtual time: the gate of a real run. That no row is lost in ten minutes of refusals is
    simulated in tests/simulate: test_a_storm_of_429_costs_no_row."""
    gate, chance = Gate(), random.Random(1)
    late: list[int] = []
    for tenths in range(6000):
        now = tenths / 10
        samples = [
            PaceSample(ErrorKind.RATE_LIMITED, 0.01, 1.0, "429")
            if chance.random() < 0.5
            else PaceSample(None, 0.5)
            for _ in range(gate.slots if now >= gate.hold_until else 0)
        ]
        gate.sampled(now, samples, gate.slots, more=True)
        late += [gate.slots] * (now > 60)
        assert gate.hold_until - now <= 1.01, "it goes on as soon as the endpoint said"
    assert min(late) >= 1 and max(late) <= 4


def test_13_one_probe_call_comes_before_expansion(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", ROWS)
    served = serve(lambda r: says({"tone": "good"}, r))
    assert cli(*run_words(served.model, "--no-pilot")).code == 0
    posts = [request for request in served.requests if request.method == "POST"]
    assert len(posts) == 1 + 40 and served.rows == posts[1:]


def test_13_identical_permanent_errors_stop_the_run_after_a_handful_in_the_providers_own_words(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n}" for n in range(1, 301)])

    def refuse(request: Request) -> Reply:
        return fails(400, f"This tenant may not use JSON schemas. (request req_{id(request)})")

    served = serve(refuse)
    ended = cli(*run_words(served.model, "--no-pilot", "--concurrency", "4"))
    assert ended.code == 4
    assert len(served.rows) <= 24, "a handful, and what was in flight"
    words = "failed alike (bad_request: 400: This tenant may not use JSON schemas."
    said = [line for line in ended.err.splitlines() if words in line]
    assert len(said) == 2, "once in the log, once at the end"
    all_the_same = cli("resume", "--max-failures", "100%")
    assert all_the_same.code == 3 and "300 quarantined" in all_the_same.last


def test_13_equal_errors_are_counted_and_said_once(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", ROWS)
    failed: set[str] = set()

    def flaky(request: Request) -> Reply:
        if request.user not in failed:
            failed.add(request.user)
            return fails(500, f"upstream fell over (id {len(failed)})")
        return says({"tone": "good"}, request)

    ended = cli(*run_words(serve(flaky).model, "--no-pilot", "--display", "plain"))
    assert ended.code == 0, ended.err
    said = [line for line in ended.err.splitlines() if "upstream fell over" in line]
    assert 1 <= len(said) <= 2 and "times)" in said[-1]
