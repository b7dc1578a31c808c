"""Behaviours 12 and 15: true money, unknown where it is unknown; forecast beside actual."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wishes.conftest import PLAN, Cli, Serve, read_rows, report, run_words, write_lines
from tests.wishes.endpoint import Reply, Request, fails, says


def priced(tmp_path: Path, model: str, **amounts: float) -> None:
    lines = "".join(f"{name} = {amount}\n" for name, amount in amounts.items())
    (tmp_path / "apwa.toml").write_text(f'[prices."{model}"]\n{lines}')


def costs(tmp_path: Path) -> list[object]:
    return [row["_cost"] for row in read_rows(tmp_path / "out.jsonl")]


OUT = ("--no-pilot", "-o", "out.jsonl", "--with-stats")


def test_12_every_attempts_tokens_stand_on_its_row_failed_and_repair_rounds_too(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 .", "line 2 ."])
    asked: dict[str, int] = {}

    def answer(request: Request) -> Reply:
        times = asked[request.user] = asked.get(request.user, 0) + 1
        if "line 2" in request.user:
            return says("no JSON at all", request, prompt_tokens=1000, completion_tokens=100)
        text = {"tone": "good"} if times > 1 else {"mood": "good"}
        return says(text, request, prompt_tokens=1000, completion_tokens=100)

    served = serve(answer)
    priced(tmp_path, served.model, input=1.0, output=10.0)
    plan = PLAN.replace("over: lines", "over: lines\n    limits: {attempts: 2, repairs: 1}")
    (tmp_path / "two.yaml").write_text(plan)
    ended = cli(*run_words(served.model, *OUT, plan="two.yaml"))
    assert ended.code == 3
    repaired, failed = read_rows(tmp_path / "out.jsonl")
    assert (repaired["_attempts"], repaired["_tokens"]) == (2, 2200)
    assert repaired["_cost"] == pytest.approx(0.004)
    assert failed["_status"] == "quarantined"
    assert (failed["_attempts"], failed["_tokens"]) == (4, 4400), "two rounds, a repair in each"
    assert failed["_cost"] == pytest.approx(0.008)
    shown = cli("show", "last", "--row", "2").out
    assert shown.count("1,000 tokens in, 100 out, $0.0020") == 4
    assert "6 calls" in ended.err and "$0.0120" in ended.err


@pytest.mark.parametrize(
    ("usage", "headers", "dollars"),
    [
        ({"cost": 0.25}, {}, 0.25),
        ({"cost": 0}, {}, 0.0),
        ({"cost": {"total_cost": 0.125, "currency": "USD"}}, {}, 0.125),
        (
            {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}},
            {},
            0.21,
        ),
        (
            {"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.01}},
            {},
            0.01,
        ),
        ({}, {"x-litellm-response-cost": "0.0625"}, 0.0625),
    ],
    ids=["a number", "nothing", "an object", "own key at a router", "router's key", "a header"],
)
def test_12_the_providers_own_figure_wins_over_every_price(
    cli: Cli, serve: Serve, tmp_path: Path, usage: dict, headers: dict[str, str], dollars: float
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 ."])
    served = serve(lambda r: Reply(says({"tone": "good"}, r, **usage).body, headers=headers))
    priced(tmp_path, served.model, input=1000.0, output=1000.0)
    assert cli(*run_words(served.model, *OUT)).code == 0
    assert costs(tmp_path) == [pytest.approx(dollars)]


def test_12_a_users_table_has_cached_input_at_its_own_price_and_wins_over_the_book(
    cli: Cli, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 ."])
    details = {
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    served = serve(
        lambda r: says({"tone": "good"}, r, prompt_tokens=1000, completion_tokens=100, **details)
    )
    monkeypatch.setenv("OPENAI_API_KEY", "sk-key-of-a-test")
    monkeypatch.setenv("OPENAI_BASE_URL", served.url)
    priced(tmp_path, "openai:gpt-4o", input=10.0, cached=1.0, output=20.0)
    assert cli(*run_words("openai:gpt-4o", *OUT)).code == 0
    assert costs(tmp_path) == [pytest.approx((400 * 10 + 600 * 1 + 100 * 20) / 1e6)]
    shown = cli("show", "last", "--row", "1").out
    assert "1,000 tokens in (600 cached), 100 out (40 reasoning), $0.0066" in shown


def test_12_a_price_can_be_named_with_the_run_and_with_a_resume(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 11)])
    served = serve(lambda r: says({"tone": "good"}, r, prompt_tokens=1000, completion_tokens=100))
    wrong = cli(*run_words(served.model, "--price", "cheap"))
    assert wrong.code == 2 and "INPUT,OUTPUT" in wrong.err and not served.requests
    words = ("--no-pilot", "--price", "1,10", "--max-cost", "0.03", "--concurrency", "1")
    capped = cli(*run_words(served.model, *words))
    assert capped.code == 4 and "budget" in capped.err
    again = cli("resume", "--price", "2,20", "--max-cost", "9", "-o", "out.jsonl", "--with-stats")
    assert again.code == 0, again.err
    seen = [round(float(str(cost)), 6) for cost in costs(tmp_path)]
    assert set(seen) == {0.002, 0.004}, "each call by the price of its time"


def test_12_an_unknown_price_is_unknown_and_a_cap_without_a_price_refuses_to_start(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 ."])
    served = serve(lambda r: says({"tone": "good"}, r))
    ended = cli(*run_words(served.model, *OUT))
    assert ended.code == 0
    assert costs(tmp_path) == [None] and "cost unknown" in ended.err and "$0" not in ended.err
    assert "price unknown" in ended.err
    calls = len(served.rows)
    refused = cli(*run_words(served.model, "--max-cost", "1", "--no-reuse"))
    assert refused.code == 2 and "price" in refused.err and "apwa.toml" in refused.err
    assert len(served.rows) == calls


def test_12_tokens_that_an_endpoint_does_not_count_are_unknown_not_none(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 ."])
    served = serve(lambda r: says({"tone": "good"}, r, prompt_tokens=None, completion_tokens=None))
    priced(tmp_path, served.model, input=1.0, output=1.0)
    assert cli(*run_words(served.model, *OUT)).code == 0
    (row,) = read_rows(tmp_path / "out.jsonl")
    assert row["_tokens"] is None and row["_cost"] is None and row["_attempts"] == 1
    assert "tokens unknown" in cli("show", "last", "--row", "1").out


def test_12_what_a_call_of_unknown_outcome_took_is_said_to_be_a_bound(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["line 1 ."])
    served = serve(
        lambda r: fails(500, "fell over") if len(served.rows) < 2 else says({"tone": "good"}, r)
    )
    priced(tmp_path, served.model, input=1.0, output=1.0)
    assert cli(*run_words(served.model, *OUT)).code == 0
    shown = cli("show", "last", "--row", "1").out
    assert "server_error, at most " in shown and "went well, at most" not in shown


def test_12_the_prices_used_are_kept_with_the_run(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 11)])
    served = serve(lambda r: says({"tone": "good"}, r, prompt_tokens=1000, completion_tokens=100))
    priced(tmp_path, served.model, input=1.0, output=10.0)
    assert cli(*run_words(served.model, "--no-pilot", "--max-calls", "4")).code == 4
    (tmp_path / "apwa.toml").unlink()
    ended = cli("resume", "--max-calls", "100", "-o", "out.jsonl", "--with-stats")
    assert ended.code == 0, ended.err
    assert costs(tmp_path) == [pytest.approx(0.002)] * 10, "by the price that it began with"
    assert f"- {served.model}: $1 in, $10 out per M tokens (your prices)" in report(tmp_path)


def test_15_a_forecast_with_range_and_basis_stands_before_and_beside_the_actual_in_the_report(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 101)])
    served = serve(lambda r: says({"tone": "good"}, r, prompt_tokens=900, completion_tokens=100))
    priced(tmp_path, served.model, input=1.0, output=10.0)
    waiting = cli("run", "plan.yaml", "--table", "lines=lines.jsonl", "--model", served.model)
    assert waiting.code == 4 and len(served.rows) == 10
    assert "forecast of the full run: 100,000 tokens (80,000 to 120,000)" in waiting.err
    assert "$0.1900 ($0.1520 to $0.2280)" in waiting.err
    assert "| tokens | 100,000 | 80,000 to 120,000 | 10,000 |" in report(tmp_path), "also of a stop"
    assert "from 10 piloted of 100 subtasks" in report(tmp_path)
    assert cli("resume", "--yes").code == 0
    told = report(tmp_path)
    assert "| calls | 100 | 80 to 120 | 100 |" in told
    assert "| tokens | 100,000 | 80,000 to 120,000 | 100,000 |" in told
    assert "| cost | $0.1900 | $0.1520 to $0.2280 | $0.1900 |" in told
    assert "| time of the full run |" in told
    assert cli(*run_words(served.model, "--no-pilot", "--no-reuse")).code == 0
    assert "There was no pilot" in report(tmp_path), "and where there is none, it says so"
