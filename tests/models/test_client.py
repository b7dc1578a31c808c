"""The client against a real server on loopback, in several costumes."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web

from apwa.models import (
    ChatFailure,
    ChatRequest,
    Dialect,
    Image,
    LeanChat,
    Message,
    OpenAICodec,
    OpenedModel,
    Text,
    ToolSpec,
    Way,
    WireReply,
    WireRequest,
    canonical_bytes,
    curl_line,
    find_out,
)
from apwa.models.openai_reply import read_reply
from apwa.vocabulary import ErrorKind

_KEY = "sk-very-secret-canary-123456"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}


class Costume:
    """A server of the OpenAI protocol that keeps what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.refuses: set[str] = set()
        self.enforces = True
        self.keeps_json = False  # JSON mode brings an object, of any fields
        self.usage = True
        self.status = 200
        self.error = ""
        self.delay_s = 0.0
        self.url = ""

    async def chat(self, request: web.Request) -> web.Response:
        self.raw.append(await request.read())
        body = json.loads(self.raw[-1])
        self.bodies.append(body)
        await asyncio.sleep(self.delay_s)
        for name in sorted(self.refuses & body.keys()):
            text = f"Unsupported parameter: '{name}' is not supported with this model."
            error = {"message": text, "param": name, "code": "unsupported_parameter"}
            return web.json_response({"error": error}, status=400)
        if self.status != 200:
            return web.json_response({"error": {"message": self.error}}, status=self.status)
        reply: dict[str, Any] = {
            "model": "m",
            "choices": [{"message": {"content": self._answer(body)}, "finish_reason": "stop"}],
        }
        if self.usage:
            words = sum(len(str(m["content"]).split()) for m in body["messages"])
            reply["usage"] = {"prompt_tokens": words, "completion_tokens": 3}
        return web.json_response(reply)

    def _answer(self, body: dict[str, Any]) -> str:
        form = body.get("response_format", {})
        if self.keeps_json and form.get("type") == "json_object":
            return '{"said": "I am fine."}'
        if not self.enforces or form.get("type") != "json_schema":
            return "I am fine."
        properties = form["json_schema"]["schema"]["properties"]
        return json.dumps({name: _value(spec) for name, spec in properties.items()})


def _value(spec: dict[str, Any]) -> Any:
    return spec["enum"][0] if "enum" in spec else spec.get("const", "x")


@pytest.fixture
async def server() -> AsyncIterator[Costume]:
    costume = Costume()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", costume.chat)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    costume.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield costume
    await runner.cleanup()


@pytest.fixture
async def chat(server: Costume) -> AsyncIterator[LeanChat]:
    client = LeanChat(server.url, _KEY)
    yield client
    await client.close()


def _request(**changes: Any) -> ChatRequest:
    fields: dict[str, Any] = {
        "model": "m",
        "messages": [Message("system", [Text("Be brief.")]), Message("user", [Text('Say "é"\n')])],
        "max_output_tokens": 50,
        "schema": _SCHEMA,
        "parameters": {"temperature": 0.5},
        "timeout_s": 100.0,
    }
    return ChatRequest(**{**fields, **changes})


async def test_the_short_path_sends_the_very_bytes_of_the_long_one(
    server: Costume, chat: LeanChat
) -> None:
    request = _request()
    await chat.complete(request)
    prepared = chat.prepare(_request(messages=request.messages[:1]))
    await prepared.complete_text(request.messages[1].text, timeout_s=100)
    assert server.raw[0] == server.raw[1]


async def test_the_body_is_what_the_official_client_sends(server: Costume, chat: LeanChat) -> None:
    tools = [ToolSpec("look", "Look it up.", {"type": "object", "properties": {}})]
    image = Message("user", [Text("See"), Image("image/png", b"\x89PNG")])
    await chat.complete(_request(messages=[image], tools=tools, schema=None))
    await chat.complete(_request())
    png = "data:image/png;base64,iVBORw=="
    async with openai.AsyncOpenAI(api_key=_KEY, base_url=server.url, max_retries=0) as official:
        await official.chat.completions.create(
            model="m",
            max_tokens=50,
            temperature=0.5,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "See"},
                        {
                            "type": "image_url",
                            "image_url": {"url": png},
                        },
                    ],
                }
            ],
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": "look",
                        "description": "Look it up.",
                        "parameters": {"type": "object", "properties": {}},
                    },
                }
            ],
        )
        await official.chat.completions.create(
            model="m",
            max_tokens=50,
            temperature=0.5,
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": 'Say "é"\n'},
            ],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": _SCHEMA, "strict": True},
            },
        )
    ours, theirs = server.bodies[:2], server.bodies[2:]
    assert ours == theirs


async def test_a_refused_parameter_is_dropped_once_and_said_once(server: Costume) -> None:
    notices: list[str] = []
    chat = LeanChat(server.url, on_notice=notices.append)
    server.refuses = {"temperature", "max_tokens"}
    for _ in range(2):
        await chat.complete(_request())
    await chat.close()
    assert len(server.bodies) == 4  # two refusals, then both calls go through
    last = server.bodies[-1]
    assert last["max_completion_tokens"] == 50
    assert "temperature" not in last and "max_tokens" not in last
    assert len(notices) == 2


async def _traits(server: Costume, chat: LeanChat) -> Any:
    return await find_out(OpenedModel(chat, server.url, "m", Way(server.url)), context=4096)


async def test_probing_a_strict_endpoint_finds_that_it_keeps_schemas(
    server: Costume, chat: LeanChat
) -> None:
    traits = await _traits(server, chat)
    assert traits.structured == "json_schema"
    assert traits.reports_usage and not traits.cuts_prompts
    assert traits.context == 4096


async def test_probing_finds_an_endpoint_that_ignores_schemas(
    server: Costume, chat: LeanChat
) -> None:
    server.enforces = False
    traits = await _traits(server, chat)
    assert traits.structured == chat.dialect.structured == "prompt"
    assert any("does not enforce" in note for note in traits.notes)


async def test_probing_finds_an_endpoint_whose_json_mode_alone_holds(
    server: Costume, chat: LeanChat
) -> None:
    server.enforces, server.keeps_json = False, True
    traits = await _traits(server, chat)
    assert traits.structured == chat.dialect.structured == "json_object"


async def test_probing_finds_a_renamed_limit_and_missing_counts(
    server: Costume, chat: LeanChat
) -> None:
    server.refuses, server.usage = {"max_tokens"}, False
    traits = await _traits(server, chat)
    assert traits.dialect.limit == "max_completion_tokens"
    assert not traits.reports_usage


async def test_probing_with_a_wrong_key_fails_before_any_row(
    server: Costume, chat: LeanChat
) -> None:
    server.status, server.error = 401, f"Incorrect API key provided: {_KEY}"
    with pytest.raises(ChatFailure) as caught:
        await _traits(server, chat)
    assert caught.value.kind is ErrorKind.ACCOUNT
    assert _KEY not in str(caught.value) and _KEY not in caught.value.message


def test_the_key_stands_in_no_curl_line_and_equal_work_has_equal_bytes() -> None:
    wire = OpenAICodec("http://127.0.0.1:1/v1", Dialect()).encode(_request(call_id="c1"))
    line = curl_line(wire, "$OPENAI_API_KEY")
    assert _KEY not in line and "$OPENAI_API_KEY" in line
    one, two = _request(call_id="a", timeout_s=1), _request(call_id="b", timeout_s=2)
    assert canonical_bytes(one) == canonical_bytes(two)
    assert canonical_bytes(one) != canonical_bytes(_request(max_output_tokens=51))


def test_what_a_plan_writes_into_a_header_means_nothing_to_the_shell() -> None:
    hostile = "$HOME `id` $(id) ${HOME} 'a' \"b\" \\"
    own = {"x-own": 'Token $GATEWAY $(id) `id` "q" \\ ${GATEWAY}'}
    wire = WireRequest("POST", "http://127.0.0.1:1/v1", {"x-note": hostile, **own}, b"{}")
    line = curl_line(wire, in_words=own).replace("curl", "printf '%s\\n'", 1)
    env = {"GATEWAY": "seven", "HOME": "/nowhere", "PATH": "/usr/bin:/bin"}
    said = subprocess.run(line, shell=True, capture_output=True, text=True, env=env, check=True)
    words = said.stdout.splitlines()
    assert f"x-note: {hostile}" in words
    assert 'x-own: Token seven $(id) `id` "q" \\ seven' in words


@pytest.mark.parametrize(
    ("usage", "output", "reasoning", "cached"),
    [
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
          "completion_tokens_details": {"reasoning_tokens": 94}}, 103, 94, 0),
        ({"prompt_tokens": 32, "completion_tokens": 100, "total_tokens": 132,
          "completion_tokens_details": {"reasoning_tokens": 94}}, 100, 94, 0),
        ({"prompt_tokens": 32, "completion_tokens": 9, "cached_tokens": 30}, 9, 0, 30),
    ],
)  # fmt: skip
def test_tokens_are_those_that_are_billed(
    usage: dict[str, Any], output: int, reasoning: int, cached: int
) -> None:
    """Some leave a model's thoughts out of the completion; the whole has them."""
    choices = [{"message": {"content": "x"}, "finish_reason": "stop"}]
    body = json.dumps({"choices": choices, "usage": usage}).encode()
    tokens = read_reply(WireReply(200, {}, body)).tokens
    assert (tokens.output, tokens.reasoning, tokens.cached) == (output, reasoning, cached)


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_an_answer_that_broke_off_is_none_and_its_tokens_are_counted(reason: str) -> None:
    choices = [{"message": {"content": "half an ans"}, "finish_reason": reason}]
    usage = {"prompt_tokens": 32, "completion_tokens": 9}
    body = json.dumps({"choices": choices, "usage": usage}).encode()
    with pytest.raises(ChatFailure, match=reason) as caught:
        read_reply(WireReply(200, {}, body))
    assert caught.value.kind is ErrorKind.SERVER_ERROR
    assert caught.value.tokens is not None and caught.value.tokens.output == 9


@pytest.mark.parametrize("reason", ["MAX_TOKENS", "SAFETY"])
def test_an_end_is_known_however_it_is_written(reason: str) -> None:
    choices = [{"message": {"content": "half"}, "finish_reason": reason}]
    reply = read_reply(WireReply(200, {}, json.dumps({"choices": choices}).encode()))
    assert reply.stop == {"MAX_TOKENS": "length", "SAFETY": "filter"}[reason]


@pytest.mark.parametrize(
    "event",
    [
        {"choices": ["x"]}, {"choices": {"a": 1}}, {"choices": [{"delta": "x"}]},
        {"choices": [{"delta": {"tool_calls": [{"index": -1}]}}]},
        {"choices": [{"delta": {"tool_calls": ["x"]}}]},
    ],
)  # fmt: skip
def test_a_stream_that_is_none_is_a_failure_and_no_crash(event: Any) -> None:
    body = b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"
    with pytest.raises(ChatFailure) as caught:
        read_reply(WireReply(200, {"content-type": "text/event-stream"}, body))
    assert caught.value.kind is ErrorKind.SERVER_ERROR


async def test_a_refused_connection_is_unreachable_and_costs_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        chat = LeanChat(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with pytest.raises(ChatFailure) as caught:
            await chat.complete(_request())
        await chat.close()
    assert caught.value.kind is ErrorKind.UNREACHABLE and not caught.value.sent


async def test_no_reply_in_time_is_a_timeout_that_may_have_cost(
    server: Costume, chat: LeanChat
) -> None:
    server.delay_s = 5.0
    with pytest.raises(ChatFailure) as caught:
        await chat.complete(_request(timeout_s=0.05))
    assert caught.value.kind is ErrorKind.TIMEOUT and caught.value.sent


async def test_a_stale_connection_is_replaced_by_a_new_one() -> None:
    body = b'{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1}}'
    connections: list[int] = []  # requests answered on each

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(0)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                if connections[number]:  # kept alive, and now gone under the second request
                    return
                connections[number] += 1
                size = str(len(body)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: " + size + b"\r\n\r\n" + body)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    chat = LeanChat(f"http://127.0.0.1:{port}/v1")
    replies = [await chat.complete(_request()) for _ in range(2)]
    await chat.close()
    listening.close()
    assert [reply.text for reply in replies] == ["hi", "hi"]
    assert connections == [1, 1]
