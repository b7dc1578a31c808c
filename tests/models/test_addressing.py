"""Addresses, keys and headers as a request carries them, over a socket."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

import apwa
from apwa.models import (
    ChatRequest,
    EndpointSettings,
    Message,
    ModelSettings,
    Text,
    check_endpoints,
    curl_line,
    open_model,
)
from apwa.vocabulary import Misuse
from tests.shell import needs_curl, sent_again

KEY = "canary-key-0123456789"


class Gateway:
    """Takes any path; keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Any] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path_qs)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.bodies.append(await request.json())
        message = {"role": "assistant", "content": "fine"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "m",
             "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
        )  # fmt: skip


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    kept = Gateway()
    app = web.Application()
    app.router.add_post("/{rest:.*}", kept.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield kept
    await runner.cleanup()


async def _call(spec: str, env: dict[str, str], own: EndpointSettings | None = None) -> str:
    name = spec.partition(":")[0]
    endpoints = {} if own is None else {name: own}
    opened = open_model(spec, ModelSettings(env=env, endpoints=endpoints))
    request = ChatRequest(opened.model_name, [Message("user", [Text("hello")])], 20)
    try:
        await opened.model.complete(request)
        wire = opened.model.codec.encode(request)
        way = opened.way
        return curl_line(wire, way.key_in_shell, way.key_header, way.headers)
    finally:
        await opened.model.close()


async def test_azure_is_called_as_the_official_client_calls_it(gateway: Gateway) -> None:
    env = {
        "AZURE_OPENAI_ENDPOINT": gateway.url,
        "AZURE_OPENAI_API_KEY": KEY,
        "OPENAI_API_VERSION": "2024-10-21",
    }
    await _call("azure:my-deployment", env)
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=gateway.url, api_key=KEY, api_version="2024-10-21", max_retries=0
    ) as official:
        await official.chat.completions.create(
            model="my-deployment", max_tokens=20, messages=[{"role": "user", "content": "hello"}]
        )
    ours, theirs = gateway.paths
    assert ours == theirs
    assert gateway.headers[0]["api-key"] == gateway.headers[1]["api-key"] == KEY
    assert "authorization" not in gateway.headers[0]
    assert gateway.bodies[0] == gateway.bodies[1]


async def test_azure_without_a_version_is_called_at_its_common_address(gateway: Gateway) -> None:
    await _call("azure:gpt", {"AZURE_OPENAI_ENDPOINT": gateway.url, "AZURE_OPENAI_API_KEY": KEY})
    assert gateway.paths == ["/openai/v1/chat/completions"]


async def test_an_address_keeps_its_query_and_may_name_the_whole_page(gateway: Gateway) -> None:
    await _call(f"{gateway.url}/a/b?api-version=7&x=1#m", {})
    await _call(f"{gateway.url}/a/chat/completions#m", {"APWA_API_KEY": KEY})
    assert gateway.paths == ["/a/b/chat/completions?api-version=7&x=1", "/a/chat/completions"]
    assert gateway.headers[1]["authorization"] == f"Bearer {KEY}"


async def test_an_endpoint_of_the_users_own_has_its_own_key_and_headers(gateway: Gateway) -> None:
    own = EndpointSettings(
        address=f"{gateway.url}/v1",
        key_env="CORP_KEY",
        key_header="X-Gateway-Key",
        headers={"X-Team": "words", "X-Pass": "$CORP_PASS"},
    )
    line = await _call("corp:some/model:7", {"CORP_KEY": KEY, "CORP_PASS": "pass-canary"}, own)
    (headers,) = gateway.headers
    assert headers["x-gateway-key"] == KEY and headers["x-pass"] == "pass-canary"
    assert headers["x-team"] == "words" and "authorization" not in headers
    assert gateway.bodies[0]["model"] == "some/model:7"
    assert '"x-gateway-key: $CORP_KEY"' in line and KEY not in line


async def test_a_key_comes_from_a_command_and_the_line_asks_it_again(gateway: Gateway) -> None:
    command = f"{sys.executable} -c \"print('{KEY}')\""
    own = EndpointSettings(key_command=command)
    line = await _call("openai:m", {"OPENAI_BASE_URL": f"{gateway.url}/v1"}, own)
    assert gateway.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "Bearer $(" in line


@needs_curl
async def test_the_curl_line_sends_the_very_same_request(gateway: Gateway) -> None:
    """Run by a real shell and curl, with the key in its variable."""
    own = EndpointSettings(address=f"{gateway.url}/v1?v=2", key_env="CORP_KEY")
    line = await _call("corp:m", {"CORP_KEY": KEY}, own)
    await asyncio.to_thread(sent_again, line, CORP_KEY=KEY)
    assert gateway.bodies[0] == gateway.bodies[1] and gateway.paths[0] == gateway.paths[1]
    assert gateway.headers[1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (EndpointSettings(key_env="A", key_command="b"), "both given"),
        (EndpointSettings(headers={"Authorization": "Bearer abc"}), "carries a secret"),
        (EndpointSettings(headers={"a b": "c"}), "no header"),
        (EndpointSettings(headers={"a": "c\nd: e"}), "no header"),
    ],
)
def test_settings_that_cannot_be_kept_or_sent_are_refused(
    own: EndpointSettings, words: str
) -> None:
    with pytest.raises(Misuse, match=words):
        check_endpoints({"corp": own}, "apwa.toml")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (EndpointSettings(key_env="NOT_SET"), "NOT_SET is not set"),
        (EndpointSettings(key_command="false"), "ended with 1"),
        (EndpointSettings(key_command="true"), "printed nothing"),
        (EndpointSettings(key_command="no-such-program-here"), "cannot be run"),
        (EndpointSettings(key_command=f"sh -c 'echo {KEY}; exit 3'"), "ended with 3"),
        (EndpointSettings(headers={"x": "$NOT_SET"}), "NOT_SET"),
    ],
)
def test_a_key_that_cannot_be_had_is_said_before_any_call_and_never_shown(
    own: EndpointSettings, words: str
) -> None:
    with pytest.raises(Misuse, match=words) as caught:
        open_model(
            "openai:m", ModelSettings(env={"OPENAI_API_KEY": KEY}, endpoints={"openai": own})
        )
    assert KEY not in str(caught.value)


def test_parameters_and_headers_of_plan_and_settings_reach_the_request(tmp_path: Path) -> None:
    sent: list[tuple[dict[str, Any], str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            sent.append((body, self.headers.get("x-priority")))
            answer = json.dumps({"weather_on_the_moon": "grapefruit-71", "label": "a"})
            if "weather" not in json.dumps(body):
                answer = '{"label": "a"}'
            reply = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}],
                     "usage": {"prompt_tokens": 700, "completion_tokens": 5}}  # fmt: skip
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "t.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "plan.yaml").write_text(
        "apwa: 1\nsteps:\n  s:\n    template: Label {{text}}.\n    over: t\n"
        "    contract: {label: str}\n    parameters: {temperature: 0.3, top_k: 7}\n"
        "    headers: {X-Priority: low}\n"
    )
    run = apwa.run(
        plan=tmp_path / "plan.yaml", tables={"t": tmp_path / "t.jsonl"}, yes=True, pilot=False,
        model=f"http://127.0.0.1:{server.server_address[1]}/v1#m", home=tmp_path / "home",
        parameters={"temperature": 1, "reasoning_effort": "low"}, output_tokens=77,
    )  # fmt: skip
    server.shutdown()
    server.server_close()
    assert run.state == "done", run.failures
    body, priority = sent[-1]
    assert (body["temperature"], body["top_k"], body["reasoning_effort"]) == (0.3, 7, "low")
    assert body["max_tokens"] == 77 and priority == "low"
