"""One real, small language model behind a real server, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import apwa
from apwa.models import (
    ChatFailure,
    ChatRequest,
    Dialect,
    LeanChat,
    Message,
    OpenedModel,
    Text,
    Way,
    find_out,
    local_file,
)
from apwa.vocabulary import ErrorKind, Misuse

PLAN = """\
apwa: 1
steps:
  tone:
    template: Is the film review in {{text}} positive or negative?
    over: reviews
    contract: {tone: "positive|negative"}
    limits: {output_tokens: 32, attempts: 1, repairs: 0}
    parameters: {temperature: 0}
  fields:
    template: Extract the person's name and the town from {{text}}.
    over: notes
    contract: {person: str, town: str}
    quotes: {person: text, town: text}
    limits: {output_tokens: 48, attempts: 1, repairs: 0}
    parameters: {temperature: 0}
  counts:
    query: >-
      select (select count(*) filter (where tone = truth) from tone) as tones_right,
      (select count(*) filter (where person = name) from fields) as persons_right,
      (select count(*) from fields) as extracted
answer: counts
"""

GOOD = [
    "a wonderful film with great acting", "i loved every minute of it",
    "funny, warm and beautifully made", "the best movie of the year",
    "a delightful story that made me smile", "brilliant, moving and full of joy",
    "an excellent cast and a superb script", "charming from start to finish",
]  # fmt: skip
BAD = [
    "a terrible film with awful acting", "i hated every minute of it",
    "dull, cold and badly made", "the worst movie of the year",
    "a boring story that put me to sleep", "stupid, tedious and full of cliches",
    "a poor cast and a horrible script", "annoying from start to finish",
]  # fmt: skip
NAMES = ["Anna Schmidt", "John Carter", "Maria Lopez", "Peter Brown", "Lucy Hill", "Paul Young"]
TOWNS = ["Berlin", "London", "Madrid", "Boston", "Dallas"]


def _file() -> str:
    """The model's file; where it is missing, skip with a word, and in CI fail."""
    try:
        found = local_file("smollm2")
    except Misuse as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "apwa.local", _file(), "--context", "2048", "--until-eof"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    yield process.stdout.readline().strip()
    process.stdin.close()  # as it is when whoever started the server is gone
    assert process.wait(timeout=30) == 0
    process.stdout.close()


@pytest.fixture
async def chat(address: str) -> AsyncIterator[LeanChat]:
    client = LeanChat(address)
    yield client
    await client.close()


def _ask(text: str, **more: Any) -> ChatRequest:
    fields: dict[str, Any] = {
        "model": "smollm2",
        "messages": [Message("user", [Text(text)])],
        "max_output_tokens": 24,
        "parameters": {"temperature": 0.0},
        "timeout_s": 90.0,
    }
    return ChatRequest(**{**fields, **more})


def _servers(parent: int | None = None) -> set[str]:
    """Processes that serve a model file, begun by this process or by another."""
    started_by = str(parent or os.getpid())
    found: set[str] = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            begun_by = (place / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"apwa.local" in words and begun_by == started_by:
            found.add(place.name)
    return found


@pytest.mark.timeout(600)
def test_a_hundred_real_subtasks_each_end_with_an_answer_or_a_reason(tmp_path: Path) -> None:
    model = f"gguf:{_file()}"
    (tmp_path / "plan.yaml").write_text(PLAN)
    reviews = [
        {"text": f"{words[n % 8]}, says critic {n}.", "truth": truth}
        for n in range(32)
        for truth, words in (("positive", GOOD), ("negative", BAD))
    ]
    notes = [
        {"text": f"{name} called from {TOWNS[n % 5]} about order {100 + n}.", "name": name}
        for n, name in enumerate(NAMES * 6)
    ]
    for name, rows in (("reviews", reviews), ("notes", notes)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    before = _servers()
    run = apwa.run(
        plan=tmp_path / "plan.yaml",
        tables={"reviews": tmp_path / "reviews.jsonl", "notes": tmp_path / "notes.jsonl"},
        model=model, yes=True, pilot=False, max_failures=1.0, home=tmp_path / "home",
    )  # fmt: skip
    assert run.state == "done"
    assert _servers() == before, "the server ends with its run"
    (counts,) = run.answer.to_arrow().to_pylist()
    tone, fields = run.table("tone").to_arrow(), run.table("fields").to_arrow()
    assert tone.num_rows == 64 and set(tone["tone"].to_pylist()) <= {"positive", "negative"}
    assert counts["tones_right"] >= 40  # by chance it would be 32
    assert fields.num_rows == 36
    for row in fields.to_pylist():
        if row["_status"] == "done":  # what is quoted stands in the source
            assert row["person"] in row["text"] and row["town"] in row["text"]
        else:
            assert row["_error"].startswith(("contract", "cut_off", "empty"))
    assert counts["persons_right"] >= 15


LONG = """\
apwa: 1
steps:
  story:
    template: Tell a long story that begins with {{text}}.
    over: rows
    contract: {story: str}
    limits: {output_tokens: 8, attempts: 1, repairs: 0}
"""


def _long(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "long.yaml").write_text(LONG)
    texts = ["the sea. ", "one and two and three. " * 8000, "the hills. "] + ["a road. "] * 200
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return {
        "plan": tmp_path / "long.yaml", "tables": {"rows": tmp_path / "rows.jsonl"},
        "model": "smollm2", "yes": True, "pilot": False, "max_failures": 1.0,
        "home": tmp_path / "home",
    }  # fmt: skip


def test_a_row_past_its_context_and_answers_past_their_limit_are_set_aside(tmp_path: Path) -> None:
    _file()
    run = apwa.run(**_long(tmp_path), limit=3)
    first, second, third, *_ = run.table("story").to_arrow().to_pylist()
    assert second["_error"].startswith("context_too_long")
    for row in (first, third):
        assert row["_status"] == "quarantined" and row["_error"].startswith("cut_off"), row


@pytest.mark.parametrize("after_s", [0.0, 5.0])  # while it starts, and while it works
async def test_its_server_ends_with_a_run_that_is_cancelled(tmp_path: Path, after_s: float) -> None:
    _file()
    before = _servers()
    running = asyncio.create_task(apwa.arun(**_long(tmp_path)))
    while _servers() == before:
        await asyncio.sleep(0.1)
    await asyncio.sleep(after_s)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert _servers() == before


def test_its_server_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    _file()
    _long(tmp_path)
    run = subprocess.Popen(
        [sys.executable, "-m", "apwa", "run", "long.yaml", "-t", "rows=rows.jsonl", "-m", "smollm2",
         "--yes", "--no-pilot", "--max-failures", "100%"],
        cwd=tmp_path, env=os.environ | {"APWA_HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (servers := _servers(run.pid)):
        assert run.poll() is None
        time.sleep(0.1)
    time.sleep(2)
    run.kill()
    run.wait()
    while any(Path(f"/proc/{server}").exists() for server in servers):
        time.sleep(0.1)  # the test's limit ends this


@pytest.mark.timeout(300)
async def test_it_is_found_out(address: str, chat: LeanChat) -> None:
    traits = await find_out(OpenedModel(chat, address, "smollm2", Way(address)), timeout_s=250)
    assert traits.structured == "json_schema"
    assert traits.reports_usage and not traits.cuts_prompts
    assert traits.context == 2048


async def test_a_prompt_past_its_context_is_refused_as_such(chat: LeanChat) -> None:
    with pytest.raises(ChatFailure) as caught:
        await chat.complete(_ask("one and two and three and four. " * 600))
    assert caught.value.kind is ErrorKind.CONTEXT_TOO_LONG


async def test_an_answer_past_its_limit_says_that_it_was_cut(chat: LeanChat) -> None:
    reply = await chat.complete(_ask("Tell me a long story of the sea.", max_output_tokens=8))
    assert reply.stop == "length" and reply.tokens.output == 8 and reply.text.strip()


@pytest.mark.timeout(300)
async def test_a_template_without_tools_is_found_out_when_a_tool_call_is_asked_for(
    address: str,
) -> None:
    chat = LeanChat(address, dialect=Dialect(structured="tool"))
    traits = await find_out(OpenedModel(chat, address, "smollm2", Way(address)), timeout_s=250)
    await chat.close()
    # the call was forced, and words came; what JSON mode brings, a model this small leaves open
    assert traits.structured in ("json_object", "prompt")


@pytest.mark.timeout(300)
async def test_a_cancelled_call_frees_its_slot(address: str, chat: LeanChat) -> None:
    async def busy() -> int:
        async with aiohttp.ClientSession() as session:
            reply = await session.get(address.removesuffix("/v1") + "/slots")
            return sum(slot["is_processing"] for slot in await reply.json())

    story = _ask("Tell me a very long story of the sea.", max_output_tokens=1900)
    task = asyncio.create_task(chat.complete(story))
    while not await busy():
        await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(40):
        await asyncio.sleep(2)  # asked more often, the server never looks who has gone
        if not await busy():
            break
    assert not await busy()
