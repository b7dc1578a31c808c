from __future__ import annotations

import json

import pytest

from apwa.manager import MAX_TURNS, Manager, ManagerEnd
from apwa.models import ChatReply, Tokens, ToolCall
from apwa.vocabulary import JobRefused, RunFailed

from .bench import BAD, GOOD, Killed, PlainBench, Say, Script, Turns, finish, put

NO_ARGS: dict[str, object] = {}
WHOLE: list[Say] = [
    [("sample", {"table": "notes"}), ("query", {"sql": "SELECT 1"})],
    put(BAD),
    put(GOOD),
    "I shall pilot this now.",
    ("pilot", NO_ARGS),
    ("run", NO_ARGS),
    ("answer_card", {"table": "redact"}),
    finish(),
]


def manager(
    script: Script, bench: PlainBench, turns: Turns, said: list[tuple[str, str]] | None = None
) -> Manager:
    heard = [] if said is None else said
    return Manager(
        script, "m", bench, turns, on_said=lambda words, tool: heard.append((words, tool))
    )


async def test_a_job_is_planned_piloted_run_and_finished():
    said: list[tuple[str, str]] = []
    bench, turns = PlainBench(), Turns()
    end = await manager(Script(WHOLE), bench, turns, said).plan_and_run("Redact", "run")
    assert end == ManagerEnd("redact", "All redacted.")
    assert bench.asked == [
        "sample", "query", "put_steps", "put_steps", "pilot", "run", "answer_card",
    ]  # fmt: skip
    assert ("I shall pilot this now.", "") in said
    assert said[-1] == ("All redacted.", "finish")


async def test_after_a_kill_at_any_message_the_same_conversation_comes_to_the_same_end():
    whole = Turns()
    await manager(Script(WHOLE), PlainBench(), whole).plan_and_run("Redact", "run")
    for place in range(len(whole.kept)):
        for durable in (False, True):
            bench, turns = PlainBench(), Turns(die_at=place, durable=durable)
            with pytest.raises(Killed):
                await manager(Script(WHOLE), bench, turns).plan_and_run("Redact", "run")
            turns.die_at = -1
            again = bench.reopened()
            end = await manager(Script(WHOLE), again, turns).plan_and_run("Redact", "run")
            assert end == ManagerEnd("redact", "All redacted."), (place, durable)
            assert turns.messages == whole.messages, (place, durable)
            assert again.plan_version == 1, "the same steps make no second version"


async def test_what_is_answered_is_not_asked_again_after_a_kill():
    bench, turns = PlainBench(), Turns()
    await manager(Script(WHOLE), bench, turns).plan_and_run("Redact", "run")
    again, script = bench.reopened(), Script(WHOLE)
    end = await manager(script, again, turns).plan_and_run("Redact", "run")
    assert end.answer == "redact"
    assert again.asked == [] and script.requests == []


async def test_a_draft_with_problems_is_there_again_after_a_kill():
    two = {**BAD, "count": {"query": "SELECT 1"}}
    lines: list[Say] = [put(two), put(GOOD, "count"), finish("count")]
    bench, turns = PlainBench(), Turns(die_at=3, durable=True)  # the problems were just kept
    with pytest.raises(Killed):
        await manager(Script(lines), bench, turns).plan_and_run("Count", "plan")
    again = bench.reopened()
    end = await manager(Script(lines), again, turns).plan_and_run("Count", "plan")
    assert end.answer == "count"
    assert list(again.steps) == ["redact", "count"]


async def test_problems_come_back_numbered_with_place_and_advice():
    turns = Turns()
    script = Script(
        [put({**BAD, "more": {**BAD["redact"], "over": "x"}}), ("refuse", {"reason": "no"})]
    )
    with pytest.raises(JobRefused):
        await manager(script, PlainBench(), turns).plan_and_run("Redact", "plan")
    assert "2 problems" in turns.last_answer
    assert "1. steps.redact.over: there is no table 'nots' (use notes)" in turns.last_answer
    assert "2. steps.more.over: there is no table 'x' (use notes)" in turns.last_answer


async def test_a_refusal_is_the_reason_in_words_and_stays_so_after_a_resume():
    turns = Turns()
    script = Script([("refuse", {"reason": "It needs a browser; grant one."})])
    for _ in range(2):
        with pytest.raises(JobRefused, match="It needs a browser"):
            await manager(script, PlainBench(), turns).plan_and_run("Browse", "run")
    assert len(script.requests) == 1


async def test_a_model_that_declines_is_a_refused_job():
    declined = ChatReply("I can't help with that.", [], "refusal", Tokens())
    with pytest.raises(JobRefused, match="can't help"):
        await manager(Script([declined]), PlainBench(), Turns()).plan_and_run("Harm", "run")


async def test_a_model_that_never_ends_is_stopped():
    script = Script(lambda _: ("query", {"sql": "SELECT 1"}))
    turns = Turns()
    with pytest.raises(RunFailed, match="no end"):
        await manager(script, PlainBench(), turns).plan_and_run("Loop", "run")
    assert len(script.requests) == MAX_TURNS
    with pytest.raises(RunFailed):  # a resume gives it some more, and is bounded again
        await manager(script, PlainBench(), turns).plan_and_run("Loop", "run")
    assert len(script.requests) == 2 * MAX_TURNS


async def test_a_model_that_only_talks_is_reminded_and_then_stopped():
    script = Script(lambda _: "Let me think about this.")
    turns = Turns()
    with pytest.raises(RunFailed):
        await manager(script, PlainBench(), turns).plan_and_run("Talk", "run")
    assert len(script.requests) < 10
    assert "called no tool" in turns.last_answer


@pytest.mark.parametrize(
    ("upto", "lines", "told"),
    [
        ("plan", [finish()], "no plan yet"),
        ("plan", [put(BAD), finish()], "has problems"),
        ("plan", [put(GOOD), ("pilot", NO_ARGS)], "There is no tool 'pilot'"),
        ("plan", [put(GOOD), finish("notes")], "must be a step of the plan"),
        ("pilot", [put(GOOD), finish()], "Call pilot first"),
        ("pilot", [put(GOOD), ("pilot", NO_ARGS), ("run", NO_ARGS)], "There is no tool 'run'"),
        ("run", [put(GOOD), ("run", NO_ARGS)], "has not been piloted"),
        ("run", [put(GOOD), ("pilot", NO_ARGS), finish()], "call run"),
        (
            "run",
            [put(GOOD), ("pilot", NO_ARGS), put({"n": {"query": "SELECT 2"}}), ("run", NO_ARGS)],
            "This version of the plan has not been piloted",
        ),
    ],
)
async def test_what_is_lacking_is_said(upto: str, lines: list[Say], told: str):
    turns = Turns()
    script = Script([*lines, ("refuse", {"reason": "enough"})])
    with pytest.raises(JobRefused, match="enough"):
        await manager(script, PlainBench(), turns).plan_and_run("Redact", upto)
    assert told in turns.last_answer


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("query", '{"sql": "SELECT 1', "no valid JSON"),
        ("query", '{"sq": "SELECT 1"}', "do not fit"),
        ("query", "[1]", "must be a JSON object"),
        ("put_steps", '{"steps": [], "answer": "a", "reason": ""}', "do not fit"),
        ("delete_all", "{}", "Tools: describe, sample"),
    ],
)
async def test_a_bad_call_is_explained(name: str, arguments: str, told: str):
    bad = ChatReply("", [ToolCall("1", name, arguments)], "tools", Tokens())
    turns, bench = Turns(), PlainBench()
    with pytest.raises(JobRefused):
        await manager(Script([bad, ("refuse", {"reason": "no"})]), bench, turns).plan_and_run(
            "Redact", "run"
        )
    assert told in turns.last_answer
    assert bench.asked == []


async def test_a_list_of_steps_with_names_is_taken_for_what_it_means():
    bench = PlainBench()
    listed = [{"name": name, **step} for name, step in GOOD.items()]
    script = Script([("put_steps", {"steps": listed, "answer": "redact"}), finish()])
    await manager(script, bench, Turns()).plan_and_run("Redact", "plan")
    assert bench.steps == GOOD


async def test_steps_written_as_json_text_are_taken_for_what_they_mean():
    bench = PlainBench()
    script = Script([("put_steps", {"steps": json.dumps(GOOD), "answer": "redact"}), finish()])
    assert (await manager(script, bench, Turns()).plan_and_run("Redact", "plan")).answer == "redact"
    assert bench.steps == GOOD


async def test_an_answer_that_was_cut_off_is_not_acted_on():
    half = ChatReply("", [ToolCall("1", "pilot", "{}")], "length", Tokens())
    turns, bench = Turns(), PlainBench()
    script = Script([half, ("refuse", {"reason": "no"})])
    with pytest.raises(JobRefused):
        await manager(script, bench, turns).plan_and_run("Redact", "run")
    assert "cut off" in turns.last_answer
    assert bench.asked == []


async def test_what_the_model_reads_does_not_grow_with_the_rows():
    sizes = []
    for rows in (100, 1_000_000):
        script = Script(WHOLE)
        await manager(script, PlainBench(rows), Turns()).plan_and_run("Redact", "run")
        sizes.append(sum(len(m.text) for r in script.requests for m in r.messages))
    assert sizes[1] - sizes[0] < 200, "only the digits of the counts may differ"


async def test_what_the_model_reads_is_bounded_however_much_the_tools_say():
    script = Script(lambda _: [("query", {"sql": "SELECT 1"})] * 20)
    with pytest.raises(RunFailed):
        await manager(script, PlainBench(long=500_000), Turns()).plan_and_run("Look", "run")
    longest = max(sum(len(m.text) for m in r.messages) for r in script.requests)
    assert longest < 400_000
    first = script.requests[0].messages
    assert all(request.messages[:2] == first for request in script.requests)


async def test_the_turns_keep_what_each_call_took():
    turns = Turns()
    await manager(Script(WHOLE), PlainBench(), turns).plan_and_run("Redact", "run")
    assert sum(turn.usage.calls for turn in turns.kept) == len(WHOLE)
    assert sum(turn.usage.output_tokens for turn in turns.kept) == 20 * len(WHOLE)
