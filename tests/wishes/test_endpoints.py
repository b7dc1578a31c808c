"""Behaviours 4 to 7: what an endpoint refuses, enforces, cuts, and spends on thinking."""

from __future__ import annotations

from pathlib import Path

from tests.wishes.conftest import PLAN, Cli, Serve, read_rows, report, run_words, write_lines
from tests.wishes.endpoint import Reply, Request, fails, says

WARM = PLAN.replace("over: lines", "over: lines\n    parameters: {temperature: 0.4}")
LONG = PLAN.replace("over: lines", "over: lines\n    limits: {output_tokens: 100, attempts: 1}")


def test_04_a_refused_parameter_is_repaired_once_remembered_and_said(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 21)])
    (tmp_path / "warm.yaml").write_text(WARM)

    def picky(request: Request) -> Reply:
        if "temperature" in request.body:
            words = "Unsupported value: 'temperature' does not support 0.4 with this model."
            return fails(400, words, "unsupported_value")
        return says({"tone": "good"}, request)

    served = serve(picky)
    words = run_words(served.model, "--no-pilot", "--concurrency", "1", plan="warm.yaml")
    capped = cli(*words, "--max-calls", "12")
    assert capped.code == 4
    again = cli("resume", "--max-calls", "100", "-o", "out.jsonl")
    assert again.code == 0, again.err
    refused = [request for request in served.rows if "temperature" in request.body]
    assert len(refused) == 1, "found out by the reply to one call, and kept with the run"
    assert len(served.rows) == 20 + 1
    assert capped.err.count("refuses the parameter temperature") == 1, "the user set it: a notice"
    assert "refuses the parameter temperature" in report(tmp_path)


def test_04_a_parameter_that_is_ours_is_renamed_from_the_reply(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 11)])
    ended = cli(*run_words("practice:refuse_param=max_tokens", "--no-pilot"))
    assert ended.code == 0, ended.err
    assert ended.err.count("wants its output limit named max_completion_tokens") == 1


def test_05_doctor_shows_what_an_endpoint_truly_enforces(cli: Cli) -> None:
    sound = cli("doctor", "--model", "practice")
    assert sound.code == 0 and "json_schema" in sound.out
    given = cli("doctor", "--model", "practice:costume=strict", "--context", "5000")
    assert "5,000 tokens, as given" in given.out
    for model in ("practice:html", "http://127.0.0.1:9/v1#m"):  # nothing is said of such a one
        silent = cli("doctor", "--model", model)
        assert silent.code == 4 and "answers under a schema" not in silent.out
        assert "resume" not in silent.out, silent.out
    deaf = cli("doctor", "--model", "practice:costume=ignores")
    assert "takes a schema and does not enforce it" in deaf.out
    form = next(line for line in deaf.out.splitlines() if "answers under a schema" in line)
    assert "json_schema" not in form


def test_05_a_server_that_says_200_and_ignores_the_schema_is_noticed_before_the_first_row(
    cli: Cli, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["a fine film", "a dull film"])
    ended = cli(*run_words("practice:costume=ignores", "--no-pilot"))
    assert ended.code in (0, 3)
    lines = ended.err.splitlines()
    noticed = next(n for n, line in enumerate(lines) if "does not enforce it" in line)
    assert noticed < next(n for n, line in enumerate(lines) if "tone: template over" in line)


def test_05_thoughts_never_reach_the_answer(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 5)])
    served = serve(
        lambda r: says('<think>{"tone": "a thought"} perhaps</think>\n{"tone": "good"}', r)
    )
    ended = cli(*run_words(served.model, "--no-pilot", "-o", "out.jsonl"))
    assert ended.code == 0, ended.err
    assert [row["tone"] for row in read_rows(tmp_path / "out.jsonl")] == ["good"] * 4


def test_06_a_prompt_that_is_cut_silently_is_found_on_every_row_not_only_on_the_probe(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    words = "the quiet film went on and on and nobody in it said a word about the sea. "
    texts = [f"line {n} . " + words * (80 if n in (25, 39) else 50) for n in range(1, 41)]
    write_lines(tmp_path / "lines.jsonl", texts)

    def cutting(request: Request) -> Reply:
        """A window that only the two long rows do not fit, late among many that do."""
        count = sum(len(str(m["content"]).split()) for m in request.body["messages"])
        return says({"tone": "good"}, request, prompt_tokens=min(count, 950))

    served = serve(cutting)
    ended = cli(*run_words(served.model, "--no-pilot", "-o", "out.jsonl"))
    assert ended.code == 3, ended.err
    rows = read_rows(tmp_path / "out.jsonl")
    bad = {row["id"]: str(row["_error"]) for row in rows if row["_status"] != "done"}
    assert set(bad) == {25, 39}
    assert all(e.startswith("context_too_long") and "cut the prompt" in e for e in bad.values())


def test_06_ollamas_small_window_is_an_error_with_its_remedy_before_the_run_is_paid_for(
    cli: Cli, practice, tmp_path: Path
) -> None:
    served = practice("costume=ollama")
    write_lines(tmp_path / "lines.jsonl", ["a fine film"] * 19 + ["a long dull film " * 1500])
    ended = cli(*run_words(served.model))
    assert ended.code == 4
    assert "OLLAMA_CONTEXT_LENGTH" in ended.err and "4,096" in ended.err
    assert ended.last == "20 rows of step tone = 0 done + 0 quarantined + 20 skipped"
    assert served.answered() <= 2, "the probe alone"
    assert "OLLAMA_CONTEXT_LENGTH" in cli("doctor", "--model", served.model).out
    write_lines(tmp_path / "lines.jsonl", ["a fine film"] * 20)
    assert cli(*run_words(served.model)).code == 0, "rows that fit are no trouble"


def test_06_a_window_that_cuts_the_probe_itself_is_an_error_too(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", ["a fine film"])
    served = serve(lambda r: says({"tone": "good"}, r))
    served.probe_tokens = 200
    ended = cli(*run_words(served.model))
    assert ended.code == 4 and "cuts prompts without a word" in ended.err
    assert not served.rows


def test_07_tokens_that_all_went_into_thinking_are_a_kind_of_their_own_and_the_retry_has_more_room(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    write_lines(tmp_path / "lines.jsonl", [f"line {n} ." for n in range(1, 31)])
    (tmp_path / "long.yaml").write_text(LONG)
    limits: list[int] = []

    def thinks(request: Request) -> Reply:
        limit = request.body["max_tokens"]
        limits.append(limit)
        details = {"reasoning_tokens": min(limit, 300)}
        if limit <= 300:
            return says("", request, finish="length", completion_tokens=limit,
                        completion_tokens_details=details)  # fmt: skip
        return says({"tone": "good"}, request, completion_tokens=310,
                    completion_tokens_details=details)  # fmt: skip

    served = serve(thinks)
    ended = cli(*run_words(served.model, "--concurrency", "2", plan="long.yaml"))
    assert ended.code == 0, ended.err
    # two at once, in the pilot and in the full run
    assert set(limits) == {100, 400} and limits.count(100) <= 4, "the step keeps the larger limit"
    assert "of them reasoning" in ended.err, "in the forecast"
    row = next(li for li in report(tmp_path).splitlines() if li.startswith("| of them reasoning"))
    forecast, actual = (int(row.split("|")[n].replace(",", "")) for n in (2, 4))
    assert forecast >= 30 * 300 and actual >= 30 * 300

    served.answer = lambda r: says("", r, finish="length", completion_tokens=r.body["max_tokens"])
    limits.clear()
    failed = cli(*run_words(served.model, "--no-pilot", "--no-reuse", "-o", "out.jsonl",
                            "--limit", "3", plan="long.yaml"))  # fmt: skip
    assert failed.code == 3
    errors = [str(row["_error"]) for row in read_rows(tmp_path / "out.jsonl")[:3]]
    assert all(e.startswith("cut_off") and "before it had begun" in e for e in errors), errors
    assert {r.body["max_tokens"] for r in served.rows} == {100, 400}, "raised within a bound"
