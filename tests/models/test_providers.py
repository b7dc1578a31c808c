"""Providers by their own protocols, over HTTP, read by their official SDKs."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import apwa
from apwa.models import (
    ChatFailure,
    ChatRequest,
    Dialect,
    EndpointSettings,
    Message,
    ModelSettings,
    OpenedModel,
    Text,
    ToolSpec,
    find_out,
    open_model,
)
from apwa.runs import RunReader
from apwa.vocabulary import ErrorKind, Misuse
from tests.models.vendors import Vendors, vendors
from tests.shell import needs_curl, sent_again

NAMES = ["anthropic", "google", "bedrock", "openai"]
KEY = "sk-native-canary-0123456789"
MODELS = {
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "bedrock": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "openai": "gpt-5-mini",
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}
LOOK = ToolSpec(
    "look",
    "Look it up.",
    {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
)


@pytest.fixture
async def served() -> AsyncIterator[Vendors]:
    async with vendors() as server:
        yield server


def _env(monkeypatch: pytest.MonkeyPatch, server: Vendors) -> dict[str, str]:
    for name, value in {
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return {
        "ANTHROPIC_API_KEY": KEY,
        "GOOGLE_API_KEY": KEY,
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": server.url,
        "GOOGLE_GEMINI_BASE_URL": server.url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.url,
        "OPENAI_BASE_URL": f"{server.url}/v1",
    }


@pytest.fixture(params=NAMES)
async def opened(
    request: pytest.FixtureRequest, served: Vendors, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OpenedModel]:
    name = request.param
    env = _env(monkeypatch, served)
    model = open_model(f"native:{name}:{MODELS[name]}", ModelSettings(env=env))
    yield model
    await model.model.close()


def _ask(opened: OpenedModel, text: str, **more: Any) -> ChatRequest:
    fields: dict[str, Any] = {
        "model": opened.model_name,
        "messages": [Message("system", [Text("Be brief.")]), Message("user", [Text(text)])],
        "max_output_tokens": 50,
        "timeout_s": 30.0,
    }
    return ChatRequest(**{**fields, **more})


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("form", ["json_schema", "tool", "prompt"])
async def test_an_answer_under_a_schema_comes_in_each_form_whole_or_streamed(
    opened: OpenedModel, served: Vendors, form: Any, streams: bool
) -> None:
    opened.model.adopt(Dialect(structured=form, streams=streams))
    reply = await opened.model.complete(_ask(opened, "Label this.", schema=SCHEMA))
    assert json.loads(reply.text) == {"label": "a"}
    assert reply.stop == "end" and not reply.calls
    tokens = reply.tokens
    assert (tokens.input, tokens.cached, tokens.output) == (100, 90, 12)
    thinks = served.vendors[-1] in ("openai", "google")
    assert tokens.reasoning == (5 if thinks else 0)


@pytest.mark.parametrize("streams", [False, True])
async def test_tools_are_called_and_their_answers_go_back(
    opened: OpenedModel, served: Vendors, streams: bool
) -> None:
    opened.model.adopt(Dialect(streams=streams))
    request = _ask(opened, "Look it up.", tools=[LOOK])
    first = await opened.model.complete(request)
    (call,) = first.calls
    assert first.stop == "tools" and call.name == "look"
    assert json.loads(call.arguments) == {"what": "it"}
    talk = [
        *request.messages,
        Message("assistant", [], [call]),
        Message("tool", [Text("it is seven")], call_id=call.id),
    ]
    second = await opened.model.complete(_ask(opened, "", tools=[LOOK], messages=talk))
    assert not second.calls and second.text
    assert "it is seven" in json.dumps(served.bodies[-1])


@pytest.mark.parametrize("streams", [False, True])
async def test_thoughts_are_kept_apart_from_the_answer(opened: OpenedModel, streams: bool) -> None:
    opened.model.adopt(Dialect(streams=streams))
    reply = await opened.model.complete(_ask(opened, "THINK ALOUD"))
    assert reply.reasoning == "let me see" and json.loads(reply.text) == {"label": "a"}
    assert reply.stop == "end"


@pytest.mark.parametrize("streams", [False, True])
async def test_what_a_filter_stops_is_a_kind_of_its_own(opened: OpenedModel, streams: bool) -> None:
    """Said of the answer or raised by the class: the worker makes the same of both."""
    opened.model.adopt(Dialect(streams=streams))
    try:
        reply = await opened.model.complete(_ask(opened, "FILTER THIS"))
    except ChatFailure as failure:
        assert failure.kind is ErrorKind.FILTERED
    else:
        assert reply.stop == "filter"


@pytest.mark.parametrize(
    ("effort", "limit", "thinks"),
    [("high", 50_000, "high"), ("high", 5_000, "low"), ("high", 900, ""), ("none", 5_000, "")],
)
async def test_how_much_a_model_thinks_is_set_within_its_output_limit(
    opened: OpenedModel, served: Vendors, effort: str, limit: int, thinks: str
) -> None:
    """Anthropic and Bedrock refuse a budget of thoughts that is not below the limit."""
    said: list[str] = []
    opened.model._on_notice = said.append  # pyright: ignore
    for _ in range(2):
        asked = _ask(
            opened, "hello", parameters={"reasoning_effort": effort}, max_output_tokens=limit
        )
        await opened.model.complete(asked)
    body, vendor = json.dumps(served.bodies[-1]), served.vendors[-1]
    if vendor in ("anthropic", "bedrock"):
        budget = re.search(r'"budget_tokens": (\d+)', body)
        assert (budget and int(budget[1])) == {"high": 16_384, "low": 2_048, "": None}[thinks]
        assert len(said) == (effort != "none" and thinks != effort)
        assert all("limits.output_tokens is" in words for words in said)
    elif vendor == "openai":
        assert ('"effort": "high"' in body) == (effort == "high") and not said
    else:
        budgets = {"high": 24_576, "none": 0}
        assert f'"thinking_budget": {budgets[effort]}' in body and not said


async def test_an_effort_that_is_no_word_is_sent_as_it_is_or_said_to_be_dropped(
    opened: OpenedModel, served: Vendors
) -> None:
    effort = {"level": "low"}
    said: list[str] = []
    opened.model._on_notice = said.append  # pyright: ignore
    await opened.model.complete(_ask(opened, "hello", parameters={"reasoning_effort": effort}))
    if served.vendors[-1] == "google":  # which takes no fields but its own
        assert len(said) == 1 and "reasoning_effort" in said[0]
    else:
        assert '"level": "low"' in json.dumps(served.bodies[-1]) and not said


async def test_an_answer_cut_by_the_limit_says_so(opened: OpenedModel) -> None:
    reply = await opened.model.complete(_ask(opened, "LIMIT REACHED"))
    assert reply.stop == "length"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("RATE LIMIT", ErrorKind.RATE_LIMITED),
        ("WRONG KEY", ErrorKind.ACCOUNT),
        ("TOO LONG", ErrorKind.CONTEXT_TOO_LONG),
    ],
)
async def test_failures_are_of_the_same_kinds_as_everywhere(
    opened: OpenedModel, served: Vendors, mark: str, kind: ErrorKind, streams: bool
) -> None:
    opened.model.adopt(Dialect(streams=streams))
    with pytest.raises(ChatFailure) as caught:
        await opened.model.complete(_ask(opened, mark))
    assert caught.value.kind is kind
    assert len(served.bodies) == 1, "retries are not the SDK's"
    if kind is ErrorKind.RATE_LIMITED and opened.endpoint != "bedrock":
        assert caught.value.retry_after_s == 7
    assert KEY not in caught.value.message


async def test_parameters_and_limits_stand_where_the_protocol_has_them(
    opened: OpenedModel, served: Vendors
) -> None:
    await opened.model.complete(
        _ask(opened, "hello", parameters={"top_p": 0.5}, headers={"x-team": "words"})
    )
    said = json.dumps(served.bodies[-1])
    assert "Be brief." in said and "50" in said
    assert re.search(r'"(top_p|topP)": 0\.5', said), "also where its class would drop it"


async def test_a_parameter_that_has_no_place_is_sent_as_it_is_or_said(
    opened: OpenedModel, served: Vendors
) -> None:
    said: list[str] = []
    opened.model._on_notice = said.append  # pyright: ignore
    for _ in range(2):
        await opened.model.complete(_ask(opened, "hello", parameters={"made_up": 7, "seed": 7}))
    body = json.dumps(served.bodies[-1])
    for name in ("made_up", "seed"):
        notices = [notice for notice in said if f"The parameter {name} is not sent" in notice]
        assert len(notices) == (f'"{name}"' not in body), (name, body, said)


async def test_a_large_output_limit_is_taken_by_each(opened: OpenedModel, served: Vendors) -> None:
    reply = await opened.model.complete(_ask(opened, "hello", max_output_tokens=60_000))
    assert reply.text and "60000" in json.dumps(served.bodies[-1])


@pytest.mark.parametrize("name", NAMES)
async def test_nobody_there_is_unreachable(
    served: Vendors, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    env = _env(monkeypatch, served)
    env |= {var: "http://127.0.0.1:9" for var, value in env.items() if value.startswith("http")}
    model = open_model(f"native:{name}:{MODELS[name]}", ModelSettings(env=env))
    with pytest.raises(ChatFailure) as caught:
        await model.model.complete(_ask(model, "hello"))
    await model.model.close()
    assert caught.value.kind is ErrorKind.UNREACHABLE and not caught.value.sent


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("google", "MALFORMED_FUNCTION_CALL"), ("google", "OTHER"), ("anthropic", "pause_turn"),
        ("bedrock", "malformed_model_output"), ("openai", "cancelled"),
    ],
)  # fmt: skip
async def test_an_answer_that_broke_off_is_none_and_its_tokens_are_counted(
    served: Vendors, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    served.ending = reason
    model = open_model(
        f"native:{name}:{MODELS[name]}", ModelSettings(env=_env(monkeypatch, served))
    )
    with pytest.raises(ChatFailure, match=reason) as caught:
        await model.model.complete(_ask(model, "hello"))
    await model.model.close()
    assert caught.value.kind is ErrorKind.SERVER_ERROR
    assert caught.value.tokens is not None and caught.value.tokens.output == 12


@pytest.mark.parametrize("streams", [False, True])
async def test_a_response_that_failed_for_its_rate_waits_as_it_says(
    served: Vendors, monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    served.error = {"code": "rate_limit_exceeded", "message": "Please try again in 5s."}
    model = open_model("native:openai:gpt-5-mini", ModelSettings(env=_env(monkeypatch, served)))
    model.model.adopt(Dialect(streams=streams))  # pyright: ignore
    with pytest.raises(ChatFailure) as caught:
        await model.model.complete(_ask(model, "hello"))
    await model.model.close()
    assert caught.value.kind is ErrorKind.RATE_LIMITED and caught.value.retry_after_s == 5


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        ("Unsupported parameter: 'reasoning.effort' is not supported", "reasoning_effort"),
        ("adaptive thinking is not supported on this model", "reasoning_effort"),
        ("stop_sequences: Extra inputs are not permitted", "stop"),
    ],
)
async def test_a_refusal_by_the_providers_own_name_is_mended(
    opened: OpenedModel, served: Vendors, words: str, parameter: str
) -> None:
    said: list[str] = []
    opened.model._on_notice = said.append  # pyright: ignore
    served.refusing = words
    more = {"reasoning_effort": "low", "stop": ["END"]}
    await opened.model.complete(_ask(opened, "hello", parameters=more, max_output_tokens=9000))
    assert opened.model.dialect.dropped == {parameter}
    assert len(said) == 1 and len(served.bodies) == 2


async def test_a_headers_secret_stands_in_no_error(
    served: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"anthropic": EndpointSettings(headers={"x-gw": "Token $GATEWAY"})}
    env = _env(monkeypatch, served) | {"GATEWAY": "hunter-2-of-the-gateway"}
    model = open_model("native:anthropic:m", ModelSettings(env=env, endpoints=own))
    served.refusing = "no such user: hunter-2-of-the-gateway"
    with pytest.raises(ChatFailure) as caught:
        await model.model.complete(_ask(model, "hello"))
    await model.model.close()
    assert "hunter" not in caught.value.message and "no such user" in caught.value.message


async def test_no_credentials_are_the_accounts_trouble(
    served: Vendors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env = _env(monkeypatch, served)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    model = open_model(f"native:bedrock:{MODELS['bedrock']}", ModelSettings(env=env))
    with pytest.raises(ChatFailure) as caught:
        await model.model.complete(_ask(model, "hello"))
    await model.model.close()
    assert caught.value.kind is ErrorKind.ACCOUNT and not served.bodies
    own = {"bedrock": EndpointSettings(key_env="MINE")}
    with pytest.raises(Misuse, match="cannot be set here"):
        open_model("native:bedrock:m", ModelSettings(env={**env, "MINE": KEY}, endpoints=own))


async def test_googles_connections_are_closed(
    served: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_model(
        "native:google:gemini-2.5-flash", ModelSettings(env=_env(monkeypatch, served))
    )
    await opened.model.complete(_ask(opened, "hello"))
    session = opened.model._model.client._api_client._aiohttp_session  # pyright: ignore
    assert not session.closed
    await opened.model.close()
    assert session.closed


async def test_it_is_found_out_like_any_other(opened: OpenedModel) -> None:
    """The stand-in answers another object than asked, and counts 100 tokens whatever is sent."""
    traits = await find_out(opened, context=1000)
    assert traits.structured in ("json_object", "prompt")
    assert traits.reports_usage and traits.cuts_prompts


def test_keys_come_by_the_same_ways() -> None:
    own = {"anthropic": EndpointSettings(key_env="CORP_KEY")}
    with pytest.raises(Misuse, match="CORP_KEY is not set"):
        open_model("native:anthropic:m", ModelSettings(env={}, endpoints=own))
    with pytest.raises(Misuse, match="native:google:MODEL"):
        open_model("native:nobody:m", ModelSettings(env={}))


@pytest.mark.parametrize("name", NAMES)
async def test_a_plan_runs_over_it(
    served: Vendors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    for variable, value in _env(monkeypatch, served).items():
        monkeypatch.setenv(variable, value)
    served.counting = True  # else it would be one that cuts prompts
    texts = [*(f"row {n}" for n in range(8)), "FILTER THIS"]
    (tmp_path / "t.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    (tmp_path / "plan.yaml").write_text(
        "apwa: 1\nsteps:\n  s:\n    template: Label {{text}}.\n    over: t\n"
        "    contract: {label: str}\n    limits: {output_tokens: 99}\n"
    )
    run = await apwa.arun(
        plan=tmp_path / "plan.yaml", tables={"t": tmp_path / "t.jsonl"}, yes=True, pilot=False,
        model=f"native:{name}:{MODELS[name]}", home=tmp_path / "home",
    )  # fmt: skip
    assert run.state == "done", run.failures
    answers = run.answer.to_arrow()
    assert answers["label"].to_pylist() == ["a"] * 8 + [None]
    assert answers["_status"].to_pylist()[-1] == "quarantined"
    assert str(answers["_error"][8]).startswith("filtered: ")
    assert re.search(r'"max\w*tokens": 99', json.dumps(served.bodies[-1]), re.IGNORECASE)
    # Bedrock's requests are signed with it
    assert name == "bedrock" or any(KEY in value for value in served.headers[-1].values())


@needs_curl
@pytest.mark.parametrize("name", NAMES)
async def test_the_request_of_a_row_can_be_sent_again_by_a_shell(
    served: Vendors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """As its own SDK makes it, though the SDK's keys are not here when it is shown."""
    env = _env(monkeypatch, served)
    keys = {"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    env |= {variable: os.environ[variable] for variable in keys}
    served.counting = True
    (tmp_path / "t.jsonl").write_text('{"text": "it\'s a $HOME of `hers`"}\n')
    (tmp_path / "plan.yaml").write_text(
        "apwa: 1\nsteps:\n  s:\n    template: Label {{text}}.\n    over: t\n"
        "    contract: {label: str}\n    headers: {x-team: words}\n"
    )
    with monkeypatch.context() as with_keys:
        for variable, value in env.items():
            with_keys.setenv(variable, value)
        run = await apwa.arun(
            plan=tmp_path / "plan.yaml", tables={"t": tmp_path / "t.jsonl"}, yes=True,
            model=f"native:{name}:{MODELS[name]}", home=tmp_path / "home", pilot=False,
        )  # fmt: skip
        assert run.state == "done", run.failures
    for variable in keys:
        monkeypatch.delenv(variable, raising=False)
    (sent,) = [n for n, body in enumerate(served.bodies) if "hers" in json.dumps(body)]
    with RunReader(run.directory) as reader:
        line = (await asyncio.to_thread(reader.row, "s", "1")).curl
    assert KEY not in line and line.startswith(f"curl {served.url}/"), line
    await asyncio.to_thread(sent_again, line, **env)
    assert served.bodies[-1] == served.bodies[sent] and len(served.bodies) > sent + 1
    assert served.paths[-1] == served.paths[sent]
    first, again = served.headers[sent], served.headers[-1]
    assert first["x-team"] == again["x-team"] == "words"
    for header in ("x-api-key", "x-goog-api-key", "anthropic-version", "content-type"):
        assert first.get(header) == again.get(header), header
    signed = again.get("authorization", "")
    assert signed.partition(" ")[0] == first.get("authorization", "").partition(" ")[0]
    if name == "bedrock":
        assert "Credential=AKIDEXAMPLE/" in signed and "/us-east-1/bedrock/aws4_request" in signed
