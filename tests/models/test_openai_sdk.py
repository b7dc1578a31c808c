"""Field by field: what the lean client sends, beside what the official openai SDK sends for the
same call. A server that takes the one takes the other.

What differs, and why:

- ``user-agent`` and ``x-stainless-…`` tell which SDK asks; ours says ``apwa``.
- ``x-client-request-id`` is ours: a number of the call, which OpenAI keeps in its logs. It goes
  with conversations, not with the short path of one call a row.
- ``accept-encoding``, ``connection``, ``host`` and ``content-length`` are the HTTP library's.
- The SDK marks function tools strict where they come from pydantic; ours are sent as they are.
- Azure's ``…/openai/v1`` takes a key as ``api-key`` or as a bearer token: ours is ``api-key``.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
import openai
import pydantic
import pytest

from apwa.models import (
    ChatRequest,
    Dialect,
    Image,
    LeanChat,
    Message,
    ModelSettings,
    Text,
    ToolCall,
    ToolSpec,
    open_model,
)
from tests.wishes.endpoint import Reply, Request, Scripted, says, serving

KEY = "sk-not-a-key-of-anybody"
THEIRS = {"user-agent", "accept-encoding", "connection", "host", "content-length"}
OURS = {"x-client-request-id"}

SYSTEM = 'You judge reviews. Braces {x} and quotes " and ümlauts stay.'
USER = "A fine film.\nTwo lines, a tab\t, a star ⭐ and \\ a backslash."
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
PLAIN: list[Any] = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": USER},
]
LOOKUP: dict[str, Any] = {
    "type": "object",
    "properties": {"item": {"type": "string"}},
    "required": ["item"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "lookup", "description": "Find a price.", "parameters": LOOKUP},
}


class Judgement(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    tone: Literal["good", "bad"]
    stars: int


SCHEMA = Judgement.model_json_schema()


def asked(*more: Message, **fields: Any) -> ChatRequest:
    messages = [Message("system", [Text(SYSTEM)]), *more]
    if not more:
        messages.append(Message("user", [Text(USER)]))
    return ChatRequest("some-model", messages, 500, **fields)


def answer(request: Request) -> Reply:
    return says({"tone": "good", "stars": 4}, request)


Call = Callable[[openai.AsyncOpenAI], Awaitable[Any]]


def create(**fields: Any) -> Call:
    """The SDK's call, as its reference says to make it."""
    given = {"model": "some-model", "messages": PLAIN, "max_tokens": 500} | fields
    given = {name: value for name, value in given.items() if value is not None}
    return lambda client: client.chat.completions.create(**given)


ROUND = [
    Message("user", [Text(USER)]),
    Message("assistant", [], [ToolCall("call_1", "lookup", '{"item": "tea"}'),
                              ToolCall("call_2", "lookup", '{"item": "ice"}')]),
    Message("tool", [Text("3.50")], call_id="call_1"),
    Message("tool", [Text("none")], call_id="call_2"),
]  # fmt: skip
ROUND_OF_THE_SDK: list[Any] = [
    *PLAIN,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "lookup", "arguments": '{"item": "tea"}'}},
            {"id": "call_2", "type": "function",
             "function": {"name": "lookup", "arguments": '{"item": "ice"}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "3.50"},
    {"role": "tool", "tool_call_id": "call_2", "content": "none"},
]  # fmt: skip
LOOK = Message("user", [Text("What is this?"), Image("image/png", PNG)])
LOOK_OF_THE_SDK: Any = {
    "role": "user",
    "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": DATA_URL}},
    ],
}
SPECS = [ToolSpec("lookup", "Find a price.", LOOKUP)]
FORCED: Any = {
    "type": "function",
    "function": {"name": "answer", "description": "Give the answer.", "parameters": SCHEMA},
}

CASES: dict[str, tuple[ChatRequest, Dialect, Call]] = {
    "plain": (asked(), Dialect(), create()),
    "max_completion_tokens": (
        asked(),
        Dialect(limit="max_completion_tokens"),
        create(max_tokens=None, max_completion_tokens=500),
    ),
    "json_schema": (
        asked(schema=SCHEMA),
        Dialect(),
        create(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        ),
    ),
    "json_object": (
        asked(schema=SCHEMA),
        Dialect(structured="json_object"),
        create(response_format={"type": "json_object"}),
    ),
    "forced tool": (
        asked(schema=SCHEMA),
        Dialect(structured="tool"),
        create(
            tools=[FORCED], tool_choice={"type": "function", "function": {"name": "answer"}}
        ),
    ),
    "tools": (asked(tools=SPECS), Dialect(), create(tools=[TOOL])),
    "tool results": (
        asked(*ROUND, tools=SPECS),
        Dialect(),
        create(messages=ROUND_OF_THE_SDK, tools=[TOOL]),
    ),
    "image": (asked(LOOK), Dialect(), create(messages=[PLAIN[0], LOOK_OF_THE_SDK])),
    "reasoning effort, temperature, extra body": (
        asked(
            parameters={
                "reasoning_effort": "low", "temperature": 0.0, "top_k": 5,
                "guided_decoding": {"backend": "x"},
            }
        ),
        Dialect(),
        create(
            reasoning_effort="low", temperature=0.0,
            extra_body={"top_k": 5, "guided_decoding": {"backend": "x"}},
        ),
    ),
    "extra headers": (
        asked(headers={"x-team": "words"}),
        Dialect(),
        create(extra_headers={"X-Team": "words"}),
    ),
    "streaming": (
        asked(),
        Dialect(streams=True),
        create(stream=True, stream_options={"include_usage": True}),
    ),
}  # fmt: skip


def same(ours: Request, theirs: Request, *, but: frozenset[str] = frozenset()) -> None:
    """Method, path, query, headers and body are equal, but for what the module's text names."""
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    kept = [
        {
            name: value
            for name, value in request.headers.items()
            if name not in THEIRS | OURS | but and not name.startswith("x-stainless")
        }
        for request in (ours, theirs)
    ]
    assert kept[0] == kept[1]
    if theirs.raw:
        assert ours.body == theirs.body
        assert ours.body.keys() == theirs.body.keys()


async def both(served: Scripted, mine: Any, sdk: Any) -> tuple[Request, Request]:
    before = len(served.requests)
    await mine
    await sdk
    ours, theirs = served.requests[before:]
    return ours, theirs


@pytest.mark.parametrize("name", CASES)
async def test_the_same_call_is_the_same_request(name: str) -> None:
    request, dialect, call = CASES[name]
    with serving(answer) as served:
        chat = LeanChat(served.url, KEY, dialect=dialect)
        client = openai.AsyncOpenAI(api_key=KEY, base_url=served.url, max_retries=0)
        ours, theirs = await both(served, chat.complete(request), call(client))
        await chat.close()
        await client.close()
    same(ours, theirs)
    assert ours.headers["authorization"] == f"Bearer {KEY}"
    assert ours.path == "/v1/chat/completions"


async def test_the_short_path_of_one_call_a_row_sends_the_same() -> None:
    with serving(answer) as served:
        chat = LeanChat(served.url, KEY)
        prepared = chat.prepare(asked(Message("system", [Text("and more")]), schema=SCHEMA))
        await prepared.complete_text(USER, timeout_s=30)
        whole = asked(
            Message("system", [Text("and more")]), Message("user", [Text(USER)]), schema=SCHEMA
        )
        await chat.complete(msgspec.structs.replace(whole, call_id="c1"))
        await chat.close()
    short, long = served.requests
    assert short.raw == long.raw
    assert long.headers["x-client-request-id"] == "c1"


async def test_what_the_sdk_makes_of_a_pydantic_model_has_the_form_of_ours() -> None:
    with serving(answer) as served:
        chat = LeanChat(served.url, KEY)
        client = openai.AsyncOpenAI(api_key=KEY, base_url=served.url, max_retries=0)
        parsed = client.chat.completions.parse(
            model="some-model", messages=PLAIN, max_tokens=500, response_format=Judgement
        )
        ours, theirs = await both(served, chat.complete(asked(schema=SCHEMA)), parsed)
        await chat.close()
        await client.close()
    mine, other = ours.body["response_format"], theirs.body["response_format"]
    assert mine["type"] == other["type"] == "json_schema"
    assert mine["json_schema"].keys() == other["json_schema"].keys()
    assert mine["json_schema"]["strict"] is other["json_schema"]["strict"] is True
    assert mine["json_schema"]["schema"] == other["json_schema"]["schema"]


async def test_an_organisation_is_named_as_the_sdk_names_it() -> None:
    with serving(answer) as served:
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": served.url, "OPENAI_ORG_ID": "org-words"}
        opened = open_model("openai:some-model", ModelSettings(env))
        client = openai.AsyncOpenAI(
            api_key=KEY, base_url=served.url, organization="org-words", max_retries=0
        )
        ours, theirs = await both(served, opened.model.complete(asked()), create()(client))
        await opened.model.close()
        await client.close()
    same(ours, theirs)
    assert ours.headers["openai-organization"] == "org-words"


async def test_azure_with_a_version_is_asked_as_the_sdk_asks_it() -> None:
    with serving(answer) as served:
        resource = served.url.removesuffix("/v1")
        env = {
            "AZURE_OPENAI_API_KEY": KEY,
            "AZURE_OPENAI_ENDPOINT": resource,
            "OPENAI_API_VERSION": "2024-10-21",
        }
        opened = open_model("azure:some-model", ModelSettings(env))
        client = openai.AsyncAzureOpenAI(
            api_key=KEY, azure_endpoint=resource, api_version="2024-10-21", max_retries=0
        )
        ours, theirs = await both(served, opened.model.complete(asked()), create()(client))
        await opened.model.close()
        await client.close()
    same(ours, theirs)
    assert ours.headers["api-key"] == KEY and "authorization" not in ours.headers
    assert ours.path.endswith("/deployments/some-model/chat/completions?api-version=2024-10-21")


async def test_azures_newer_address_is_asked_as_the_sdk_asks_it_but_for_the_keys_header() -> None:
    with serving(answer) as served:
        resource = served.url.removesuffix("/v1")
        env = {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": resource}
        opened = open_model("azure:some-model", ModelSettings(env))
        client = openai.AsyncOpenAI(api_key=KEY, base_url=f"{resource}/openai/v1/", max_retries=0)
        ours, theirs = await both(served, opened.model.complete(asked()), create()(client))
        await opened.model.close()
        await client.close()
    same(ours, theirs, but=frozenset({"api-key", "authorization"}))
    assert ours.headers["api-key"] == KEY
    assert theirs.headers["authorization"] == f"Bearer {KEY}"


async def test_models_are_listed_at_the_same_page() -> None:
    with serving(answer) as served:
        chat = LeanChat(served.url, KEY)
        client = openai.AsyncOpenAI(api_key=KEY, base_url=served.url, max_retries=0)
        listing = client.models.list()
        ours, theirs = await both(served, chat.get(f"{served.url}/models", 10), _all(listing))
        await chat.close()
        await client.close()
    same(ours, theirs, but=frozenset({"content-type"}))
    assert not ours.raw


async def _all(listing: Any) -> None:
    async for _ in listing:
        pass
