"""The OpenAI protocol as this server reads and writes it, and a request's identity.

Reading is lenient where servers of this protocol are, and names what it cannot take.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from bpe_openai._bindings import PyTokenizer

MODEL = "apwa-practice"
CONTEXT_TOKENS = 131_072
FINGERPRINT = "apwa-practice-model-rules-not-a-language-model"


class Function(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    arguments: str = ""


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    function: Function
    type: str = "function"
    id: str = ""


class ContentPart(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    text: str = ""
    image_url: dict[str, Any] | None = None


class WireMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    role: str
    content: str | list[ContentPart] | None = None
    tool_calls: list[Tool] | None = None
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)

    @property
    def images(self) -> list[str]:
        """Its pictures, as addresses. This model knows that they are there, and no more."""
        if self.content is None or isinstance(self.content, str):
            return []
        return [str(part.image_url.get("url")) for part in self.content if part.image_url]


class JsonSchema(msgspec.Struct, frozen=True, omit_defaults=True):
    schema: dict[str, Any]
    name: str = "answer"


class ResponseFormat(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class ChatBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request of ``POST /v1/chat/completions``; parameters not used here are let pass."""

    messages: list[WireMessage]
    model: str = MODEL
    tools: list[Tool] | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tool_choice: str | dict[str, Any] | None = None

    @property
    def output_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def schema(self) -> dict[str, Any] | None:
        form = self.response_format
        return form.json_schema.schema if form and form.json_schema else None


class Call(msgspec.Struct, frozen=True):
    """A tool call that the model makes."""

    name: str
    arguments: dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """What the model says: text or tool calls."""

    text: str = ""
    calls: list[Call] = []
    refused: bool = False


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: dict[str, int] | None = None


class Refused(Exception):
    """A request that this server answers with an error. ``status`` is HTTP's."""

    def __init__(
        self, status: int, message: str, kind: str, code: str | None = None, param: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param


_decoder = msgspec.json.Decoder(ChatBody)


def read_body(data: bytes) -> ChatBody:
    """Raises Refused (400) saying what is wrong with the request."""
    try:
        body = _decoder.decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError) as problem:
        raise Refused(400, f"the request is not understood: {problem}", _BAD) from None
    if not body.messages:
        raise Refused(400, "messages: at least one is needed", _BAD)
    return body


_BAD = "invalid_request_error"

_TAG = re.compile(r"</?[a-z0-9_]{1,32}-([0-9a-zA-Z]{4,64})>")


def without_nonces(text: str) -> str:
    """The text with the tags' nonces put to one word, so that runs can be compared."""
    for nonce in sorted(set(_TAG.findall(text)), key=len, reverse=True):
        text = text.replace(f"-{nonce}>", "-N>")
    return text


def identity(body: ChatBody) -> str:
    """A hash of what is asked: roles, texts, pictures, calls, tools' names, schema; no nonces."""
    digest = hashlib.blake2b(digest_size=16)
    for message in body.messages:
        digest.update(f"\x00{message.role}\x01{without_nonces(message.text)}".encode())
        for image in message.images:
            digest.update(f"\x05{image}".encode())
        for call in message.tool_calls or []:
            digest.update(f"\x02{call.function.name}\x03{call.function.arguments}".encode())
    for tool in body.tools or []:
        digest.update(f"\x04{tool.function.name}".encode())
    digest.update(msgspec.json.encode(body.schema, order="deterministic"))
    return digest.hexdigest()


@functools.cache
def _tokeniser() -> PyTokenizer:
    # The package's own front (tiktoken's interface) has no plain count. Importing it takes most
    # of a second: the server does so once it has said where it is.
    from bpe_openai._bindings import tokenizer_for_encoding

    return tokenizer_for_encoding("o200k_base")


def count_tokens(text: str) -> int:
    """Tokens of the text as the o200k vocabulary has them."""
    return _tokeniser().count(text)


@functools.lru_cache(maxsize=256)
def _count_prefix(text: str) -> int:
    return count_tokens(text)


def prompt_tokens(body: ChatBody) -> int:
    """Raises Refused (400, context_length_exceeded) for a prompt that fits no context here."""
    letters = sum(len(message.text) for message in body.messages)
    if letters > CONTEXT_TOKENS * 16:  # not worth counting
        raise too_long(letters // 4, CONTEXT_TOKENS)
    total = 3
    for message in body.messages:
        counted = _count_prefix(message.text) if message.role == "system" else None
        total += 4 + (count_tokens(message.text) if counted is None else counted)
        for call in message.tool_calls or []:
            total += 8 + count_tokens(call.function.arguments)
    if body.tools:
        total += _count_prefix(msgspec.json.encode(body.tools).decode())
    return total


def too_long(tokens: int, context: int) -> Refused:
    """The refusal of a prompt that does not fit."""
    return Refused(
        400,
        f"This model's maximum context length is {context} tokens. "
        f"However, your messages resulted in {tokens} tokens.",
        _BAD,
        "context_length_exceeded",
    )


def cut_to_tokens(text: str, limit: int) -> str:
    """The first ``limit`` tokens of the text."""
    tokeniser = _tokeniser()
    kept = tokeniser.encode(text)[:limit]
    while kept:
        try:
            return tokeniser.decode(kept)
        except ValueError:  # the cut falls inside a letter of several bytes
            kept = kept[:-1]
    return ""


def keep_last_tokens(text: str, limit: int) -> str:
    """The last ``limit`` tokens of the text."""
    tokeniser = _tokeniser()
    tokens = tokeniser.encode(text)
    kept = tokens[len(tokens) - limit :]
    while kept:
        try:
            return tokeniser.decode(kept)
        except ValueError:  # the cut falls inside a letter of several bytes
            kept = kept[1:]
    return ""


class Reply(msgspec.Struct, frozen=True):
    id: str
    choices: list[dict[str, Any]]
    usage: Usage | None
    object: str = "chat.completion"
    created: int = 0  # always 0: the same request brings the same bytes
    model: str = MODEL
    system_fingerprint: str = FINGERPRINT


def reply(answer: Answer, request_id: str, prompt: int, limit: int | None, *, cut: bool) -> Reply:
    """The body of a reply; ``limit`` cuts the text as an output limit does."""
    text = answer.text
    calls: list[dict[str, Any]] = [
        {
            "id": f"call_{request_id[:12]}_{number}",
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": msgspec.json.encode(call.arguments).decode(),
            },
        }
        for number, call in enumerate(answer.calls)
    ]
    finish = "tool_calls" if calls else "stop"
    spoken = text + "".join(call["function"]["arguments"] for call in calls)
    tokens = count_tokens(spoken)
    if cut and not calls:
        limit = min(limit or tokens, max(1, tokens // 2))
    if limit is not None and tokens > limit and not calls:
        text, tokens, finish = cut_to_tokens(text, limit), limit, "length"
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    if answer.refused:
        message["refusal"], message["content"] = text, None
    return Reply(
        id=f"chatcmpl-{request_id}",
        choices=[{"index": 0, "message": message, "finish_reason": finish}],
        usage=Usage(prompt, tokens, prompt + tokens),
    )


def events(whole: Reply, *, usage: bool) -> Iterator[bytes]:
    """The reply as server-sent events: a role, pieces of the text, the end, ``[DONE]``."""
    choice = whole.choices[0]
    message: dict[str, Any] = choice["message"]
    yield _event(whole, {"role": "assistant", "content": ""})
    for field in ("reasoning_content", "content", "refusal"):
        text: str = message.get(field) or ""
        for at in range(0, len(text), _PIECE):
            yield _event(whole, {field: text[at : at + _PIECE]})
    for number, call in enumerate(message.get("tool_calls") or []):
        yield _event(whole, {"tool_calls": [{"index": number, **call}]})
    yield _event(whole, {}, choice["finish_reason"])
    if usage and whole.usage is not None:
        yield _sse({**_chunk(whole), "choices": [], "usage": whole.usage})
    yield b"data: [DONE]\n\n"


_PIECE = 48  # letters in an event


def _event(whole: Reply, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _sse({**_chunk(whole), "choices": [choice]})


def _chunk(whole: Reply) -> dict[str, Any]:
    return {
        "id": whole.id,
        "object": "chat.completion.chunk",
        "created": whole.created,
        "model": whole.model,
        "system_fingerprint": whole.system_fingerprint,
    }


def _sse(data: Any) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
