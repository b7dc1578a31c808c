"""Behaviours 9, 10 and 19: nothing is paid for twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.canary import CANARY
from tests.wishes.conftest import PLAN, Cli, Serve, read_rows, report, run_words, write_lines
from tests.wishes.endpoint import Reply, Request, fails, says
from tests.wishes.test_results import number, start, wait_for

STRICT = """\
apwa: 1
steps:
  rate:
    template: Rate {{text}}.
    over: lines
    contract: {stars: int, why: str}
    checks: ["output.stars <= 3"]
    limits: {attempts: 1, repairs: 0}
answer: rate
"""
LOOSER = STRICT.replace("<= 3", "<= 8")


def stars(request: Request) -> Reply:
    return says({"stars": number(request), "why": "so"}, request)


def test_09_a_looser_check_is_tried_on_the_kept_answers_and_only_rows_that_still_fail_are_asked(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 11)])
    (tmp_path / "strict.yaml").write_text(STRICT)
    (tmp_path / "looser.yaml").write_text(LOOSER)
    served = serve(stars)
    first = cli(
        *run_words(served.model, "--no-pilot", "--max-failures", "100%", plan="strict.yaml")
    )
    assert first.last == "10 rows = 3 done + 7 quarantined + 0 skipped"
    calls = len(served.rows)
    again = cli("resume", "--plan", "looser.yaml", "-o", "out.jsonl")
    assert again.last == "10 rows = 8 done + 2 quarantined + 0 skipped"
    assert sorted(number(r) for r in served.rows[calls:]) == [9, 10]  # they go at once
    assert "8 of 10 rows need no call" in again.err
    assert "8 of 10 rows from answers under an earlier contract" in report(tmp_path)
    assert [row["stars"] for row in read_rows(tmp_path / "out.jsonl")][:8] == list(range(1, 9))


def test_09_a_looser_schema_is_tried_too_and_another_instruction_is_asked_anew(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 7)])
    (tmp_path / "strict.yaml").write_text(
        STRICT.replace("{stars: int, why: str}", '{stars: int, why: "good | bad"}')
    )
    (tmp_path / "looser.yaml").write_text(LOOSER)
    (tmp_path / "other.yaml").write_text(LOOSER.replace("Rate {{text}}", "Grade {{text}}"))
    served = serve(stars)
    first = cli(
        *run_words(served.model, "--no-pilot", "--max-failures", "100%", plan="strict.yaml")
    )
    assert "6 quarantined" in first.last
    calls = len(served.rows)
    assert cli("resume", "--plan", "looser.yaml").code == 0
    assert len(served.rows) == calls
    assert cli("resume", "--plan", "other.yaml").code == 0
    assert len(served.rows) == calls + 6


REDUCE = """\
apwa: 1
steps:
  sum:
    template: Summarise {{text}}.
    over: lines
    reduce: {fan_in: 2}
    contract: {text: str, stars: int}
    checks: ["output.stars <= 3"]
    limits: {attempts: 1, repairs: 0}
answer: sum
"""


def test_09_in_a_reduce_too_the_kept_answers_are_tried_level_by_level(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 9)])
    (tmp_path / "strict.yaml").write_text(REDUCE)
    (tmp_path / "looser.yaml").write_text(REDUCE.replace("<= 3", "<= 7"))

    def answer(request: Request) -> Reply:
        # the first node of level 1 breaks the strict check: its parents have one item less
        stars = 5 if "line 1 ." in request.user else 0
        return says({"text": f"from line {number(request)} on", "stars": stars}, request)

    served = serve(answer)
    strict = run_words(served.model, "--no-pilot", "--max-failures", "100%", plan="strict.yaml")
    assert cli(*strict).code == 3, "a part of the answer is missing"
    calls = len(served.rows)
    assert calls == 6, "four nodes, then one of two items and its root; the lost node's goes up"
    again = cli("resume", "--plan", "looser.yaml", "-o", "out.jsonl")
    assert again.code == 0, again.err
    # the lost node is good now, so that what lies above it combines other items than before
    assert len(served.rows) - calls == 3, "nothing of level 1 was asked again"
    assert [row["items"] for row in read_rows(tmp_path / "out.jsonl")] == [8]
    calls = len(served.rows)
    (tmp_path / "loose.yaml").write_text(REDUCE.replace("<= 3", "<= 9"))
    assert cli("resume", "--plan", "loose.yaml").code == 0
    assert len(served.rows) == calls, "all answers are still good"


def test_10_resume_accepts_other_limits_another_key_and_address_and_redoes_no_finished_row(
    cli: Cli, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 61)])
    first = serve(lambda r: says({"tone": "good"}, r))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-old-key-of-the-test")
    monkeypatch.setenv("OPENAI_BASE_URL", first.url)
    capped = cli(
        *run_words("openai:scripted", "--no-pilot", "--max-calls", "20", "--concurrency", "2"),
        "--timeout", "90", "--max-failures", "1%",
    )  # fmt: skip
    assert capped.code == 4
    second = serve(lambda r: says({"tone": "bad"}, r))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-new-key-of-the-test")
    monkeypatch.setenv("OPENAI_BASE_URL", second.url)
    again = cli(
        "resume", "--max-calls", "1000", "--concurrency", "16", "--timeout", "80",
        "--max-failures", "50%", "-o", "out.jsonl",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert {r.headers["authorization"] for r in second.rows} == {"Bearer sk-new-key-of-the-test"}
    tones = [row["tone"] for row in read_rows(tmp_path / "out.jsonl")]
    assert tones.count("good") == len(first.rows) and tones.count("bad") == len(second.rows)
    assert len(first.rows) + len(second.rows) == 60
    assert "new-key" not in report(tmp_path) + again.err


def test_10_a_resumed_run_goes_by_the_prices_that_apwa_toml_has_now(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 21)])
    served = serve(lambda r: says({"tone": "good"}, r))
    assert cli(*run_words(served.model, "--no-pilot", "--max-calls", "5")).code == 4
    refused = cli("resume", "--max-calls", "100", "--max-cost", "1")
    assert refused.code == 2 and "price" in refused.err and "apwa.toml" in refused.err
    (tmp_path / "apwa.toml").write_text(f'[prices."{served.model}"]\ninput = 1\noutput = 2\n')
    # what was spent before is unknown, so a cap in money can still not be kept
    still = cli("resume", "--max-calls", "100", "--max-cost", "1")
    assert still.code == 4 and "budget" in still.err


def test_10_limits_are_changed_while_the_run_goes_on(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 61)])
    go_on = threading.Event()

    def answer(request: Request) -> Reply:
        if len(served.rows) > 6:
            go_on.wait(250)
        time.sleep(0.05)
        return says({"tone": "good"}, request)

    served = serve(answer)
    words = run_words(served.model, "--no-pilot", "--max-calls", "12", "--concurrency", "2")
    process = start(tmp_path, *words, "-o", "out.jsonl")
    wait_for(lambda: served.rows, 8)
    changed = cli(
        "change", "--max-calls", "500", "--concurrency", "12", "--timeout", "80",
        "--max-failures", "30%",
    )  # fmt: skip
    assert changed.code == 0, changed.err
    taken = '"command":"ChangeLimits"'
    wait_for(lambda: [1] * cli("show", "last", "--events").out.count(taken), 1)
    go_on.set()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert len(read_rows(tmp_path / "out.jsonl")) == 60, "past the 12 calls of the first cap"
    assert 2 < max(r.at_once for r in served.rows) <= 12, "past the first ceiling"
    assert cli("change", "--max-calls", "5").code == 2, "nobody drives it any more"


@pytest.mark.parametrize(
    ("changed", "said"),
    [(("--timeout", "1"), "the time limit of 1 s"), (("--max-failures", "10%"), "limit of 10%")],
)
def test_10_a_time_limit_and_a_failure_limit_bind_from_then_on(
    cli: Cli, serve: Serve, tmp_path: Path, changed: tuple[str, str], said: str
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 201)])
    go_on = threading.Event()

    def answer(request: Request) -> Reply:
        if len(served.rows) > 6:
            go_on.wait(250)
        if number(request) % 3 == 0:  # each in words of its own
            return fails(400, f"line {number(request)} is not liked")
        return says({"tone": "good"}, request)

    served = serve(answer)
    words = run_words(served.model, "--no-pilot", "--max-failures", "90%", "--concurrency", "4")
    process = start(tmp_path, *words)
    wait_for(lambda: served.rows, 8)
    assert cli("change", *changed).code == 0
    wait_for(lambda: [1] * cli("show", "last", "--events").out.count('"ChangeLimits"'), 1)
    go_on.set()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 4 and said in errors, errors
    assert len(served.rows) < 200


def test_10_a_cap_in_money_without_a_price_is_refused_while_it_runs_too(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 9)])
    go_on = threading.Event()

    def answer(request: Request) -> Reply:
        go_on.wait(250)
        return says({"tone": "good"}, request)

    served = serve(answer)
    process = start(tmp_path, *run_words(served.model, "--no-pilot"))
    wait_for(lambda: served.rows, 4)
    assert cli("change", "--max-cost", "1").code == 0
    for _ in range(1500):
        events = cli("show", "last", "--events").out
        if "no cap in money is set" in events:
            break
        threading.Event().wait(0.1)
    go_on.set()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "the price of" in errors and "is unknown" in errors


def test_19_reuse_is_said_before_anything_is_paid_and_goes_by_the_request_alone(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 31)])
    served = serve(lambda r: says({"tone": f"tone {number(r)}"}, r))
    assert cli(*run_words(served.model)).code == 0
    first = sorted((tmp_path / "home" / "runs").iterdir())[0].name
    calls = len(served.rows)
    # other rows, another order, another name of the step, other ids: the same requests
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(40, 20, -1)])
    (tmp_path / "renamed.yaml").write_text(PLAN.replace("tone:\n    t", "feel:\n    t").replace(
        "answer: tone", "answer: feel"
    ))  # fmt: skip
    waiting = cli(*[w for w in run_words(served.model, plan="renamed.yaml") if w != "--yes"])
    assert waiting.code == 4
    assert f"feel: 10 of 20 rows need no call: answered in run {first}" in waiting.err
    piloted = len(served.rows) - calls
    assert piloted == 10, "the pilot tries rows that need a call, and those alone"
    assert "forecast of the full run" in waiting.err
    done = cli("resume", "--yes", "-o", "out.jsonl")
    assert done.code == 0, done.err
    assert len(served.rows) == calls + 10
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["tone"] for row in rows] == [f"tone {n}" for n in range(40, 20, -1)]
    assert f"10 of 20 rows from run {first}" in report(tmp_path)


@pytest.mark.parametrize(
    ("changed", "by"),
    [
        ("template", {"Is the review": "Is the film review"}),
        ("contract", {"contract: {tone: str}": "contract: {tone: str, why: 'str?'}"}),
        ("parameters", {"over: lines": "over: lines\n    parameters: {temperature: 0.5}"}),
        ("model", {}),
        ("capability", {"over: lines": "over: lines\n    grant: [calculator]"}),
    ],
)
def test_19_another_model_parameter_template_contract_or_capability_is_another_request(
    cli: Cli, serve: Serve, tmp_path: Path, changed: str, by: dict[str, str]
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 6)])
    served = serve(lambda r: says({"tone": "good", "why": None} if "why" in r.raw.decode()
                                  else {"tone": "good"}, r))  # fmt: skip
    assert cli(*run_words(served.model, "--no-pilot")).code == 0
    other = PLAN
    for before, after in by.items():
        assert before in other
        other = other.replace(before, after)
    (tmp_path / "other.yaml").write_text(other)
    model = f"{served.url}#another" if changed == "model" else served.model
    more = ["--grant", "calculator"] if changed == "capability" else []
    ended = cli(*run_words(model, "--no-pilot", *more, plan="other.yaml"))
    assert ended.code == 0, ended.err
    assert len(served.rows) == 10 and "need no call" not in ended.err


def test_19_whoever_wants_it_asks_again_and_a_purged_run_gives_nothing(
    cli: Cli, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 6)])
    served = serve(lambda r: says({"tone": "good"}, r))
    assert cli(*run_words(served.model, "--no-pilot")).code == 0
    monkeypatch.setenv("APWA_API_KEY", f"{CANARY}-another")  # no part of a request
    assert cli(*run_words(served.model, "--no-pilot")).code == 0
    assert len(served.rows) == 5
    assert cli(*run_words(served.model, "--no-pilot", "--no-reuse")).code == 0
    assert len(served.rows) == 10
    for run in (tmp_path / "home" / "runs").iterdir():
        assert cli("purge", run.name).code == 0
    assert cli(*run_words(served.model, "--no-pilot")).code == 0
    assert len(served.rows) == 15


def test_19_only_what_is_done_is_reused(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 6)])
    served = serve(lambda r: fails(400, "no") if number(r) == 3 else says({"tone": "good"}, r))
    assert cli(*run_words(served.model, "--no-pilot")).code == 3
    ended = cli(*run_words(served.model, "--no-pilot"))
    assert "4 of 5 rows need no call" in ended.err
    assert [number(r) for r in served.rows[5:]] == [3]


def endpoints_found(cli: Cli) -> Callable[[], list[int]]:
    """For ``wait_for``: as often as the run has said which endpoint it goes to."""
    return lambda: [1] * cli("show", "last", "--events").out.count('"EndpointFound"')


def test_10_key_and_address_are_changed_while_the_run_goes_on(
    cli: Cli, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 61)])

    reopened = threading.Event()

    def good(request: Request) -> Reply:
        if len(first.rows) > 6:
            reopened.wait(250)
        return says({"tone": "good"}, request)

    first, second = serve(good), serve(lambda r: says({"tone": "bad"}, r))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-old-key-of-the-test")
    monkeypatch.setenv("OPENAI_BASE_URL", first.url)
    words = run_words("openai:scripted", "--no-pilot", "--concurrency", "2")
    process = start(tmp_path, *words, "-o", "out.jsonl")
    wait_for(lambda: first.rows, 4)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-new-key-of-the-test")
    # an address where nobody answers is found out, and changes nothing
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert cli("change", "--endpoints").code == 0
    wait_for(lambda: [1] * cli("show", "last", "--events").out.count("stay as they were"), 1)
    assert {r.headers["authorization"] for r in first.rows} == {"Bearer sk-old-key-of-the-test"}

    monkeypatch.setenv("OPENAI_BASE_URL", second.url)
    changed = cli("change", "--endpoints", "--concurrency", "8")
    assert changed.code == 0, changed.err
    wait_for(endpoints_found(cli), 2)
    reopened.set()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert {r.headers["authorization"] for r in second.rows} == {"Bearer sk-new-key-of-the-test"}
    tones = [row["tone"] for row in read_rows(tmp_path / "out.jsonl")]
    assert tones.count("good") == len(first.rows) and tones.count("bad") == len(second.rows) > 20
    assert len(first.rows) + len(second.rows) == 60, "no row was asked twice"
    assert errors.count("endpoint openai:scripted: ") == 2, "and so it is said"
    assert second.url in cli("show", "last", "--row", "60").out, "sent again, it goes there"
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert kept and not [p for p in kept if b"key-of-the-test" in p.read_bytes()]


def test_10_a_key_from_a_command_is_asked_for_again(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 31)])
    reopened = threading.Event()

    def answer(request: Request) -> Reply:
        if len(served.rows) > 6:
            reopened.wait(250)
        return says({"tone": "good"}, request)

    served = serve(answer)
    token = tmp_path / "token"
    token.write_text("short-lived-1")
    settings = f'[endpoints.corp]\naddress = "{served.url}"\nkey_command = "cat {token}"\n'
    (tmp_path / "apwa.toml").write_text(settings)
    process = start(tmp_path, *run_words("corp:m", "--no-pilot", "--concurrency", "2"))
    wait_for(lambda: served.rows, 4)
    token.write_text("short-lived-2")
    assert cli("change", "--endpoints").code == 0
    wait_for(endpoints_found(cli), 2)
    reopened.set()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    keys = [r.headers["authorization"].removeprefix("Bearer ") for r in served.rows]
    assert set(keys) == {"short-lived-1", "short-lived-2"} and len(keys) == 30
