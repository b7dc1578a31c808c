"""Costumes of the practice model: the ways in which servers of the OpenAI protocol differ.

A costume changes what the server takes, what it hears of it and how it puts its replies; the
rules that answer stay the same. So one plan can be run against each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

from apwa.practice.wire import (
    CONTEXT_TOKENS,
    MODEL,
    Answer,
    Call,
    ChatBody,
    ContentPart,
    JsonSchema,
    Refused,
    Reply,
    ResponseFormat,
    count_tokens,
    cut_to_tokens,
    keep_last_tokens,
    prompt_tokens,
    too_long,
)

Thinks = Literal["", "aloud", "apart", "hidden"]

_BAD = "invalid_request_error"
_KNOWN = frozenset(
    {
        "messages", "model", "tools", "tool_choice", "parallel_tool_calls", "response_format",
        "max_tokens", "max_completion_tokens", "stream", "stream_options", "temperature", "top_p",
        "n", "stop", "seed", "user", "metadata", "frequency_penalty", "presence_penalty",
        "logprobs", "top_logprobs", "reasoning_effort", "store", "service_tier",
    }
)  # fmt: skip
_THOUGHTS = (  # with something in it that looks like an answer and is none
    'Let me see what is asked. An answer such as {"maybe": 1} would be short, but I had better'
    " read the values once more and then write down what was asked for."
)
_HIDDEN_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Costume:
    """How a server behaves.

    Attributes:
        words: What it plays, in a sentence.
        context: Its context in tokens.
        cuts: A prompt that does not fit is cut at its beginning, without a word.
        refuses: Parameters answered with 400, and in which words.
        closed: Fields that it does not know, and loose schemas marked strict, are refused.
        sums: Prompt and output limit must fit into the context together.
        deaf: Schemas and forced tool calls are taken and passed over.
        formless: ``response_format`` is refused; an answer can only be forced as a tool call.
        thinks: Where its thoughts go: before the answer, into a field of their own, or nowhere
            but into the token counts.
        counts: Whether replies carry token counts.
        streams: It answers in streams only.
        card: Fields of its entry in the list of models, ``context`` standing for the size.
    """

    words: str
    context: int = CONTEXT_TOKENS
    cuts: bool = False
    refuses: Mapping[str, str] = field(default_factory=dict[str, str])
    closed: bool = False
    sums: bool = False
    deaf: bool = False
    formless: bool = False
    thinks: Thinks = ""
    counts: bool = True
    streams: bool = False
    card: Mapping[str, Any] = field(default_factory=dict[str, Any])

    # ---- what it takes

    def check(self, data: bytes, body: ChatBody) -> None:
        """Raises Refused for what this server does not take."""
        given: dict[str, Any] = msgspec.json.decode(data)
        for name, words in self.refuses.items():
            if name in given:
                raise Refused(400, words, _BAD, "unsupported_parameter", name)
        if self.closed:
            _check_closed(given, body)
        if self.formless and body.response_format is not None:
            words = "This response_format type is unavailable now"
            raise Refused(400, words, _BAD, "invalid_request_error", "response_format")
        if self.streams and not body.stream:
            words = "This model only supports streaming: set stream to true."
            raise Refused(400, words, _BAD, "invalid_parameter")

    def hear(self, body: ChatBody) -> tuple[ChatBody, int]:
        """What reaches the model of a request, and its tokens. Raises Refused: too long."""
        if self.deaf:
            body = msgspec.structs.replace(body, response_format=None, tool_choice=None)
        tokens = prompt_tokens(body)
        if self.cuts and tokens > self.context:
            return _without_beginning(body, tokens - self.context), self.context
        if tokens + (body.output_limit or 0 if self.sums else 0) > self.context:
            raise too_long(tokens, self.context)
        return body, tokens

    # ---- how it puts its replies

    def put(self, whole: Reply, limit: int | None) -> Reply:
        """A reply in this server's form, its thoughts where this server has them."""
        choice = dict(whole.choices[0])
        message: dict[str, Any] = dict(choice["message"])
        usage = whole.usage
        if usage is None:
            return whole
        spent, hidden = usage.completion_tokens, 0
        if self.thinks == "apart":
            message["reasoning_content"] = _THOUGHTS
            spent += count_tokens(_THOUGHTS)
        elif self.thinks == "aloud" and not message.get("tool_calls"):
            said = f"<think>\n{_THOUGHTS}\n</think>\n\n{message['content'] or ''}"
            spent = count_tokens(said)
            if limit is not None and spent > limit:
                said, spent, choice["finish_reason"] = cut_to_tokens(said, limit), limit, "length"
            message["content"] = said
        elif self.thinks == "hidden":
            spent, hidden = spent + _HIDDEN_TOKENS, _HIDDEN_TOKENS
            if limit is not None and spent > limit:
                message = {"role": "assistant", "content": ""}
                spent, choice["finish_reason"] = limit, "length"
        choice["message"] = message
        details = {"reasoning_tokens": min(hidden, spent)} if hidden else None
        counted = msgspec.structs.replace(
            usage,
            completion_tokens=spent,
            total_tokens=usage.prompt_tokens + spent,
            completion_tokens_details=details,
        )
        return msgspec.structs.replace(
            whole, choices=[choice], usage=counted if self.counts else None
        )

    def model_card(self) -> dict[str, Any]:
        """Its entry in the list of models."""
        ours: Mapping[str, Any] = self.card or {
            "owned_by": "apwa: rules, not a language model",
            "context_length": "context",
        }
        card = {name: self.context if value == "context" else value for name, value in ours.items()}
        return {"id": MODEL, "object": "model", "created": 0, **card}


COSTUMES: Mapping[str, Costume] = {
    "": Costume("a server that takes what it gets"),
    "strict": Costume(
        "OpenAI: unknown fields and loose schemas marked strict are refused, nothing said of size",
        closed=True,
        card={"owned_by": "system"},
    ),
    "vllm": Costume(
        "vLLM: thoughts in a field of their own; prompt and output limit must fit together",
        context=16_384,
        sums=True,
        thinks="apart",
        card={"owned_by": "vllm", "max_model_len": "context"},
    ),
    "ollama": Costume(
        "Ollama: prompts past its context are cut without a word",
        context=4_096,
        cuts=True,
        card={"owned_by": "library"},
    ),
    "ignores": Costume("a server that takes schemas and ignores them", deaf=True),
    "reasons": Costume(
        "a model that reasons in secret: no max_tokens, no temperature",
        refuses={
            "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model."
            " Use 'max_completion_tokens' instead.",
            "temperature": "Unsupported value: 'temperature' does not support this value with this"
            " model. Only the default (1) value is supported.",
        },
        thinks="hidden",
        card={"owned_by": "system"},
    ),
    "thinks": Costume("a model that thinks aloud, before its answer", thinks="aloud"),
    "uncounted": Costume("a server that counts no tokens", counts=False),
    "streams": Costume(
        "a server that streams only, and holds to a schema only as a tool call",
        streams=True,
        formless=True,
    ),
}
"""By name; the empty one is worn where none is named."""


def forced(body: ChatBody) -> ChatBody | None:
    """A request that forces a tool call, as one for an answer under that tool's schema.

    None if it forces none. Raises Refused for a tool that is not offered.
    """
    choice = body.tool_choice
    if not isinstance(choice, dict):
        return None
    named: Any = choice.get("function")
    name = cast("dict[str, Any]", named).get("name") if isinstance(named, dict) else None
    for tool in body.tools or []:
        if tool.function.name == name:
            form = ResponseFormat("json_schema", JsonSchema(tool.function.parameters, str(name)))
            return msgspec.structs.replace(body, tools=None, tool_choice=None, response_format=form)
    raise Refused(400, "tool_choice names a function that is not among the tools", _BAD)


def as_call(answer: Answer, body: ChatBody) -> Answer:
    """An answer to what ``forced`` made, as the tool call that was asked for."""
    form = body.response_format
    try:
        arguments = msgspec.json.decode(answer.text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return answer
    name = form.json_schema.name if form and form.json_schema else "answer"
    return Answer(calls=[Call(name, arguments)])


def _check_closed(given: Mapping[str, Any], body: ChatBody) -> None:
    unknown = sorted(given.keys() - _KNOWN)
    if unknown:
        words = f"Unrecognized request argument supplied: {unknown[0]}"
        raise Refused(400, words, _BAD, None, unknown[0])
    form: Any = given.get("response_format")
    named: dict[str, Any] = (form or {}).get("json_schema") or {}
    if named.get("strict") and body.schema is not None and not _is_closed(body.schema):
        words = (
            f"Invalid schema for response_format '{named.get('name')}': each object needs"
            " additionalProperties false and all its properties in required."
        )
        raise Refused(400, words, _BAD, None, "response_format")
    if form and form.get("type") == "json_object":
        said = " ".join(message.text for message in body.messages)
        if "json" not in said.lower():
            words = "'messages' must contain the word 'json' to use 'response_format' json_object."
            raise Refused(400, words, _BAD, None, "messages")


def _is_closed(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(_is_closed(item) for item in cast("list[Any]", schema))
    if not isinstance(schema, dict):
        return True
    node = cast("dict[str, Any]", schema)
    if node.get("type") == "object" and (
        node.get("additionalProperties") is not False
        or set(node.get("required") or []) != set(node.get("properties") or {})
    ):
        return False
    return all(_is_closed(value) for value in node.values())


def _without_beginning(body: ChatBody, over: int) -> ChatBody:
    """A request whose messages lack ``over`` tokens at their beginnings, the last one's first."""
    messages = list(body.messages)
    for at in reversed(range(len(messages))):
        text = messages[at].text
        tokens = count_tokens(text)
        gone = min(over, tokens)
        if gone:
            left = keep_last_tokens(text, tokens - gone)
            messages[at] = msgspec.structs.replace(
                messages[at], content=[ContentPart("text", left)]
            )
            over -= gone
    return msgspec.structs.replace(body, messages=messages)
