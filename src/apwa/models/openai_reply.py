"""Reading a chat completion: typed, lenient where servers differ, never guessing.

Reasoning, wherever a server puts it, is kept apart from the answer's text.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from apwa.models.failures import failure_of, no_completion
from apwa.models.openai_stream import is_stream, joined
from apwa.models.prices import nusd_of
from apwa.models.seam import ChatFailure, ChatReply, Stop, Tokens, ToolCall, WireReply
from apwa.vocabulary import ErrorKind


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str | dict[str, Any] | None = ""


class _Call(msgspec.Struct):
    id: str | None = ""
    function: _Function = msgspec.field(default_factory=_Function)


class _Chunk(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Chunk] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | dict[str, Any] | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    finish_reason: str | None = None
    error: Any = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = 0


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = 0


class _CostDetails(msgspec.Struct):
    upstream_inference_cost: float | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    cached_tokens: int | None = None  # Moonshot
    cost: float | dict[str, Any] | None = None  # OpenRouter's is a number, others' an object
    is_byok: bool | None = None
    cost_details: _CostDetails | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = ""
    id: str | None = ""
    error: Any = None


_decoder = msgspec.json.Decoder(_Completion, strict=False)

_STOPS: dict[str, Stop] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "filter",
    "safety": "filter",
    "recitation": "filter",
    "prohibited_content": "filter",
    "sensitive": "filter",
    "refusal": "refusal",
}
_BROKEN_OFF = re.compile(r"error|abort|insufficient_system_resource|malformed")
_COST_HEADER = "x-litellm-response-cost"
_LIMIT_MARKS = ("x-ratelimit-", "ratelimit-", "anthropic-ratelimit-")


def read_reply(reply: WireReply, *, answer_tool: str = "") -> ChatReply:
    """Read a completion, whole or as a stream of events.

    Args:
        reply: What came.
        answer_tool: A call of this tool is the answer: its arguments become the text.

    Raises:
        ChatFailure: The body is no completion, or an error in disguise.
    """
    try:
        body = joined(reply.body) if is_stream(reply) else reply.body
        completion = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise no_completion(reply, str(error)) from None
    if not completion.choices:
        if completion.error:
            raise failure_of(WireReply(reply.status, reply.headers, body))
        raise no_completion(reply, "it has no choices")
    choice = completion.choices[0]
    if choice.error:  # a router's upstream broke off in mid-answer
        said = msgspec.json.encode({"error": choice.error})
        raise failure_of(WireReply(reply.status, reply.headers, said))
    tokens = _tokens(completion.usage, reply.headers.get(_COST_HEADER, ""))
    if choice.finish_reason and _BROKEN_OFF.search(choice.finish_reason.lower()):
        words = f"the endpoint broke its answer off: {choice.finish_reason}"
        raise ChatFailure(ErrorKind.SERVER_ERROR, words, status=reply.status, tokens=tokens)
    message = choice.message
    text, reasoning = _without_thoughts(message)
    calls = [_call(call, index) for index, call in enumerate(message.tool_calls or [])]
    if len(calls) == 1 and calls[0].name == answer_tool and answer_tool:
        text, calls = calls[0].arguments, []
    stop = _stop(choice, text, calls)
    return ChatReply(
        text=(message.refusal or text) if stop == "refusal" else text,
        calls=calls,
        stop=stop,
        tokens=tokens,
        model=completion.model or "",
        request_id=reply.headers.get("x-request-id") or completion.id or "",
        reasoning=reasoning,
        limits={
            name: value for name, value in reply.headers.items() if name.startswith(_LIMIT_MARKS)
        },
    )


def _call(call: _Call, index: int) -> ToolCall:
    arguments = call.function.arguments
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall(call.id or f"call_{index}", call.function.name, arguments or "{}")


def _stop(choice: _Choice, text: str, calls: list[ToolCall]) -> Stop:
    known = _STOPS.get((choice.finish_reason or "").lower())
    if known is not None:
        return known
    if calls:
        return "tools"
    if choice.message.refusal and not text:
        return "refusal"
    return "end"


def _without_thoughts(message: _Message) -> tuple[str, str]:
    """The answer's text, and the reasoning from wherever it stands."""
    content = message.content
    if isinstance(content, list):
        content = "".join(chunk.text or "" for chunk in content if chunk.type == "text")
    text, inline = split_thoughts(content or "")
    apart = message.reasoning_content or ""
    if not apart and isinstance(message.reasoning, str):
        apart = message.reasoning
    return text, apart or inline


def split_thoughts(text: str) -> tuple[str, str]:
    """Cut ``<think>…</think>`` off the front of a text: (text, thoughts).

    Some chat templates open the tag in the prompt, so that the reply only closes it. A JSON
    answer that merely speaks of the tag is left whole.
    """
    head = text.lstrip()
    if head.startswith("<think>"):
        thoughts, closed, rest = head[len("<think>") :].partition("</think>")
        return (rest.lstrip() if closed else ""), thoughts.strip()
    if "</think>" in head and not head.startswith(("{", "[", "```")):
        thoughts, _, rest = head.partition("</think>")
        return rest.lstrip(), thoughts.strip()
    return text, ""


def _tokens(usage: _Usage | None, header: str) -> Tokens:
    if usage is None or not usage.prompt_tokens:
        return Tokens(reported=False, cost_nusd=_own_figure(usage or _Usage(), header))
    cached = usage.prompt_cache_hit_tokens or usage.cached_tokens
    if usage.prompt_tokens_details is not None:
        cached = usage.prompt_tokens_details.cached_tokens
    details = usage.completion_tokens_details
    output = usage.completion_tokens or 0
    if usage.total_tokens:  # some leave their thoughts out of the completion, and bill them
        output = max(output, usage.total_tokens - usage.prompt_tokens)
    return Tokens(
        input=usage.prompt_tokens,
        output=output,
        cached=min(cached or 0, usage.prompt_tokens),
        reasoning=min((details.reasoning_tokens if details else 0) or 0, output),
        cost_nusd=_own_figure(usage, header),
    )


def _own_figure(usage: _Usage, header: str) -> int | None:
    """What the provider says that the call cost; None where it does not say.

    With a key of one's own at a router, its fee and what the provider behind it charges.
    """
    cost = usage.cost
    if isinstance(cost, dict):
        total = cost.get("total_cost")
        cost = float(total) if isinstance(total, int | float) else None
    if cost is not None and usage.is_byok and usage.cost_details is not None:
        cost += usage.cost_details.upstream_inference_cost or 0.0
    if cost is not None:
        return nusd_of(cost)
    try:
        # a gateway that does not know the price says 0
        return nusd_of(float(header)) or None
    except ValueError:
        return None
