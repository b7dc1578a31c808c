"""One plan, unchanged, against every kind of server that the practice model can play."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import apwa
from apwa.cli.models import doctor
from apwa.models import (
    ChatFailure,
    ChatRequest,
    EndpointTraits,
    LeanChat,
    Message,
    OpenedModel,
    Text,
    Way,
    find_out,
)
from apwa.practice.costumes import COSTUMES
from apwa.vocabulary import ErrorKind
from tests.practice.conftest import practice

WORN = sorted(filter(None, COSTUMES))

PLAN = """\
apwa: 1
steps:
  redact:
    template: Replace every piece of personal information in {{text}} with a tag such as [NAME].
    over: notes
    contract: {redacted: str, replaced: "list[{text: str, tag: str}]"}
    quotes: {"replaced[].text": text}
    parameters: {temperature: 0.2}
  tone:
    template: Classify the tone of {{redacted}}.
    over: redact
    contract: {tone: "good|bad"}
    limits: {output_tokens: 40}
    parameters: {temperature: 0.0}
answer: tone
"""

SHOWN = {
    "strict": ("held to it (json_schema)", "unknown; give --context"),
    "vllm": ("shown, kept apart", "16,384 tokens", "prompts too long        refused"),
    "ollama": ("4,096 tokens", "cut without a word"),
    "ignores": ("asked in words only", "does not enforce it"),
    "reasons": ("max_completion_tokens", "refuses                 temperature", "hidden"),
    "thinks": ("shown, kept apart from answers",),
    "uncounted": ("reports usage           no",),
    "streams": ("streams only", "forced tool call"),
}


@pytest.mark.parametrize("costume", WORN)
def test_one_plan_completes_against_each(costume: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    notes = tmp_path / "notes.jsonl"
    texts = [f"Peter Miller from Berlin called {n} times, a lovely man." for n in range(12)]
    notes.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run = apwa.run(
        plan=tmp_path / "plan.yaml", tables={"notes": notes}, model=f"practice:costume={costume}",
        yes=True, home=tmp_path / "home",
    )  # fmt: skip
    assert run.state == "done", run.failures
    rows = run.answer.to_arrow().to_pylist()
    assert [row["_status"] for row in rows] == ["done"] * 12
    assert all("Miller" not in row["redacted"] for row in rows)
    assert {row["tone"] for row in rows} == {"good"}


@pytest.mark.parametrize("costume", WORN)
def test_doctor_names_the_ways_of_each(
    costume: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctor(model=f"practice:costume={costume}") == 0
    said = capsys.readouterr().out
    for words in SHOWN[costume]:
        assert words in said


def _chat(text: str, **more: Any) -> ChatRequest:
    fields: dict[str, Any] = {
        "model": "apwa-practice",
        "messages": [Message("user", [Text(text)])],
        "max_output_tokens": 50,
        "timeout_s": 100,
    }
    return ChatRequest(**{**fields, **more})


async def _found(url: str, **more: Any) -> tuple[LeanChat, EndpointTraits]:
    chat = LeanChat(url)
    return chat, await find_out(OpenedModel(chat, url, "apwa-practice", Way(url)), **more)


async def test_a_prompt_that_was_cut_without_a_word_is_a_failure_with_its_true_tokens() -> None:
    with practice("costume=ollama") as endpoint:
        chat = LeanChat(endpoint.url)
        fits = await chat.complete(_chat("What a fine day. " * 300))
        with pytest.raises(ChatFailure) as caught:
            await chat.complete(_chat("What a fine day. " * 3000))
        prepared = chat.prepare(_chat("unused", messages=[]))
        with pytest.raises(ChatFailure) as again:
            await prepared.complete_text("What a fine day. " * 3000, timeout_s=100)
        await chat.close()
    assert fits.tokens.input > 1000
    for failure in (caught.value, again.value):
        assert failure.kind is ErrorKind.CONTEXT_TOO_LONG
        assert failure.tokens is not None and failure.tokens.input == 4096
        assert "4,096 tokens" in failure.message


async def test_cut_prompts_are_noticed_among_many_that_fit() -> None:
    with practice("costume=ollama") as endpoint:
        chat = LeanChat(endpoint.url)
        for n in range(40):  # past the first ones, which are counted each
            await chat.complete(_chat(f"What a fine day, number {n}. " * 200))
        with pytest.raises(ChatFailure, match="without a word"):
            await chat.complete(_chat("What a fine day, number 41. " * 2000))
        await chat.close()


async def test_a_stream_is_put_together_into_text_tool_calls_and_counts() -> None:
    with practice("costume=streams") as endpoint:
        chat, traits = await _found(endpoint.url)
        reply = await chat.complete(
            _chat(
                "Peter Miller called from Berlin.",
                schema={
                    "type": "object",
                    "properties": {"summary": {"type": "string"}},
                    "required": ["summary"],
                },
            )
        )
        await chat.close()
    assert traits.structured == "tool" and traits.dialect.streams
    assert json.loads(reply.text)["summary"] and not reply.calls and reply.stop == "end"
    assert reply.tokens.reported and reply.tokens.output > 0


async def test_thoughts_never_reach_the_answer() -> None:
    for costume in ("thinks", "vllm"):
        with practice(f"costume={costume}") as endpoint:
            chat = LeanChat(endpoint.url)
            reply = await chat.complete(_chat("Say something.", max_output_tokens=500))
            await chat.close()
        assert "maybe" not in reply.text and "maybe" in reply.reasoning


async def test_a_model_whose_thoughts_take_all_the_room_is_found_out_all_the_same() -> None:
    with practice("costume=reasons") as endpoint:
        chat = LeanChat(endpoint.url)
        reply = await chat.complete(_chat("Say something.", max_output_tokens=30))
        await chat.close()
    assert reply.stop == "length" and not reply.text
    assert reply.tokens.reasoning == reply.tokens.output == 30


async def test_a_stream_that_breaks_off_is_no_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        chunk = {"choices": [{"index": 0, "delta": {"content": "half an ans"}}]}
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            + f"data: {json.dumps(chunk)}\n\n".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    chat = LeanChat(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    with pytest.raises(ChatFailure) as caught:
        await chat.complete(_chat("hello"))
    await chat.close()
    server.close()
    assert caught.value.kind is ErrorKind.SERVER_ERROR and "broke off" in caught.value.message


async def test_an_error_inside_a_reply_that_says_200_is_that_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        error = {"message": "Provider returned error", "code": 429}
        body = json.dumps({"choices": [{"message": {"content": "half"}, "error": error}]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    chat = LeanChat(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    with pytest.raises(ChatFailure) as caught:
        await chat.complete(_chat("hello"))
    await chat.close()
    server.close()
    assert caught.value.kind is ErrorKind.RATE_LIMITED
