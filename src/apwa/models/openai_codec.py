"""The OpenAI chat-completions protocol, both ways, as pure functions over bytes."""

from __future__ import annotations

import base64
import re
import secrets
import shlex
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from apwa.models.addressing import VARIABLE, page_of
from apwa.models.dialect import Dialect
from apwa.models.failures import failure_of
from apwa.models.openai_reply import read_reply
from apwa.models.seam import (
    ChatFailure,
    ChatReply,
    ChatRequest,
    Image,
    Message,
    Part,
    Text,
    WireReply,
    WireRequest,
)
from apwa.models.transport import key_headers
from apwa.vocabulary import ErrorKind

# A request's own fields and what would change the form of the reply: no parameter may set them.
_RESERVED = frozenset(
    {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "response_format",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "n",
    }
)

ANSWER = "answer"
"""The name of the schema, and of the tool whose arguments are the answer."""

_encoder = msgspec.json.Encoder()


class OpenAICodec:
    """Requests to bytes and back, for one endpoint. Holds no key and remembers nothing."""

    def __init__(
        self, base_url: str, dialect: Dialect | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.base_url = base_url
        self.url = page_of(base_url, "chat/completions")
        self.dialect = dialect or Dialect()
        self.headers = {
            "content-type": "application/json",
            "accept": "application/json",
            **(headers or {}),
        }

    def encode(self, request: ChatRequest) -> WireRequest:
        """Raises ChatFailure(BAD_INPUT) for text that has no UTF-8 form."""
        headers = self.headers_of(request)
        if request.call_id:
            headers = {**headers, "x-client-request-id": request.call_id}
        return WireRequest("POST", self.url, headers, encode_json(body_of(request, self.dialect)))

    def headers_of(self, request: ChatRequest) -> dict[str, str]:
        """The endpoint's headers and those of the request, which win."""
        return {**self.headers, **request.headers} if request.headers else self.headers

    def halves(self, request: ChatRequest) -> tuple[bytes, bytes]:
        """The body of ``request`` and one more user message, cut where that message's text goes.

        Raises:
            ChatFailure: BAD_INPUT, for text that has no UTF-8 form.
        """
        mark = secrets.token_hex(16)
        asked = Message("user", [Text(mark)])
        whole = msgspec.structs.replace(request, messages=[*request.messages, asked])
        before, _, after = encode_json(body_of(whole, self.dialect)).partition(
            f'"{mark}"'.encode("ascii")
        )
        return before, after

    def decode(self, reply: WireReply) -> ChatReply:
        """Raises ChatFailure for a reply that is none."""
        if 200 <= reply.status < 300:
            return read_reply(reply, answer_tool=ANSWER)
        raise failure_of(reply)


def encode_json(value: Any) -> bytes:
    """Raises ChatFailure(BAD_INPUT) for text that has no UTF-8 form (lone surrogates)."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        raise ChatFailure(
            ErrorKind.BAD_INPUT,
            "the text holds half a surrogate pair, which is no text",
            sent=False,
        ) from None


def body_of(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    """The request's JSON body in the endpoint's dialect."""
    body: dict[str, Any] = {
        name: value
        for name, value in request.parameters.items()
        if name not in _RESERVED and name not in dialect.dropped
    }
    body["model"] = request.model
    body["messages"] = _messages(request.messages)
    body[dialect.limit] = request.max_output_tokens
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in request.tools
        ]
    if request.schema is not None and (not request.tools or dialect.schema_with_tools):
        _ask_for(request.schema, dialect, body)
    if dialect.streams:
        body["stream"] = True
        if "stream_options" not in dialect.dropped:
            body["stream_options"] = {"include_usage": True}
    return body


def _ask_for(schema: dict[str, Any], dialect: Dialect, body: dict[str, Any]) -> None:
    """Hold the endpoint to a schema as far as it can be held."""
    if dialect.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif dialect.structured == "json_schema":
        named: dict[str, Any] = {"name": ANSWER, "schema": schema}
        if dialect.strict:
            named["strict"] = keeps_strict_rules(schema)
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif dialect.structured == "tool" and not body.get("tools"):
        told = {"name": ANSWER, "description": "Give the answer.", "parameters": schema}
        body["tools"] = [{"type": "function", "function": told}]
        body["tool_choice"] = {"type": "function", "function": {"name": ANSWER}}


def keeps_strict_rules(schema: Any) -> bool:
    """Whether every object in a schema is closed and requires all its properties."""
    if isinstance(schema, list):
        return all(keeps_strict_rules(item) for item in cast("list[Any]", schema))
    if not isinstance(schema, dict):
        return True
    node = cast("dict[str, Any]", schema)
    if node.get("type") == "object":
        properties = cast("dict[str, Any]", node.get("properties", {}))
        if node.get("additionalProperties") is not False:
            return False
        if set(properties) != set(cast("list[str]", node.get("required", []))):
            return False
    return all(keeps_strict_rules(value) for value in node.values())


def _messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Messages as the protocol has them.

    A tool's answer may hold text only, so its images follow in a user message, after the last
    answer of the same round (all answers of a round must stand together).
    """
    out: list[dict[str, Any]] = []
    images: list[Part] = []
    for message in messages:
        if message.role == "tool":
            out.append({"role": "tool", "tool_call_id": message.call_id, "content": message.text})
            images += [part for part in message.parts if isinstance(part, Image)]
            continue
        if images:
            out.append({"role": "user", "content": _content(images)})
            images = []
        out.append(_message(message))
    if images:
        out.append({"role": "user", "content": _content(images)})
    return out


def _message(message: Message) -> dict[str, Any]:
    one: dict[str, Any] = {"role": message.role, "content": _content(message.parts)}
    if message.calls:
        one["content"] = message.text or None
        one["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    return one


def _content(parts: list[Part]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in parts):  # plain text is what every server takes
        return "".join(part.text for part in parts if isinstance(part, Text))
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    data = base64.b64encode(part.data).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{data}"}}


def canonical_bytes(request: ChatRequest) -> bytes:
    """A request's bytes for hashing: equal for equal work, whatever its id and timeout."""
    bare = msgspec.structs.replace(request, call_id="", timeout_s=0.0)
    return msgspec.json.encode(bare, order="sorted")


def curl_line(
    wire: WireRequest,
    key_in_shell: str = "",
    key_header: str = "",
    in_words: Mapping[str, str] | None = None,
) -> str:
    """A shell line that sends the same request.

    Args:
        wire: The request.
        key_in_shell: How a shell comes by the key, such as ``$OPENAI_API_KEY``.
        key_header: The header that carries it, if not ``authorization``.
        in_words: Headers of the user's endpoint, in which a variable stands for its value. In all
            others, which a plan may set, no sign means anything to the shell.
    """
    in_words = in_words or {}
    words = ["curl", shlex.quote(wire.url)]
    for name, value in wire.headers.items():
        written = f"{name}: {value}"
        own = in_words.get(name) == value
        words += ["-H", _with_variables(written) if own else shlex.quote(written)]
    if key_in_shell:
        for name, value in key_headers(key_in_shell, key_header).items():
            words += ["-H", f'"{name}: {value}"']
    if wire.body:
        words += ["--data-raw", shlex.quote(wire.body.decode("utf-8"))]
    return " ".join(words)


def _with_variables(text: str) -> str:
    """Quoted for a shell, in which the variables that stand for values stay what they are."""
    quoted, at = "", 0
    for found in VARIABLE.finditer(text):
        quoted += _inert(text[at : found.start()]) + found[0]
        at = found.end()
    return f'"{quoted}{_inert(text[at:])}"' if quoted else shlex.quote(text)


def _inert(text: str) -> str:
    return re.sub(r'([\\"`$])', r"\\\1", text)
