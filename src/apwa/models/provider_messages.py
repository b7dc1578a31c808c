"""Requests and replies in the words of pydantic-ai's model classes, and back. Pure.

Its classes speak the protocols of Anthropic, Google, Bedrock and OpenAI's Responses API; here is
only the translation from and to our seam.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import msgspec
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.profiles.anthropic import ANTHROPIC_THINKING_BUDGET_MAP
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from apwa.models.dialect import Dialect
from apwa.models.openai_codec import ANSWER, keeps_strict_rules
from apwa.models.prices import nusd_of
from apwa.models.seam import (
    ChatFailure,
    ChatReply,
    ChatRequest,
    Message,
    Part,
    Stop,
    Text,
    Tokens,
    ToolCall,
)
from apwa.vocabulary import ErrorKind

_EFFORT = "reasoning_effort"
_SHARED = {  # parameters that all providers know, each under its own name
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "parallel_tool_calls": "parallel_tool_calls",
    "service_tier": "service_tier",
    "stop": "stop_sequences",
    _EFFORT: "thinking",
}
_EFFORTS: dict[str, bool | str] = {
    "none": False,
    **{level: level for level in ANTHROPIC_THINKING_BUDGET_MAP if isinstance(level, str)},
}
_STOPS: dict[str, Stop] = {
    "length": "length",
    "content_filter": "filter",
    "stop": "end",
    "tool_call": "tools",
}

# What the classes take for no reason at all: no answer ends so.
_BROKEN_OFF = frozenset((
    "other", "too_many_tool_calls", "missing_thought_signature", "malformed_response",
    "pause_turn", "cancelled", "queued", "in_progress",
))  # fmt: skip

Kept = Mapping[str, ModelResponse]
"""Replies with tool calls by the calls' ids: providers want their own words back unchanged."""


def messages_of(request: ChatRequest, kept: Kept) -> list[ModelMessage]:
    """The conversation, each run of our messages that is no model's as one request."""
    found: list[ModelMessage] = []
    parts: list[ModelRequestPart] = []
    names: dict[str, str] = {}
    for message in request.messages:
        if message.role == "assistant":
            if parts:
                found.append(ModelRequest(parts))
                parts = []
            names |= {call.id: call.name for call in message.calls}
            found.append(_spoken(message, kept))
        else:
            parts += _told(message, names)
    if parts:
        found.append(ModelRequest(parts))
    return found


def _spoken(message: Message, kept: Kept) -> ModelResponse:
    if message.calls and message.calls[0].id in kept:
        return kept[message.calls[0].id]
    parts: list[ModelResponsePart] = [TextPart(message.text)] if message.text else []
    parts += [ToolCallPart(call.name, call.arguments, call.id) for call in message.calls]
    return ModelResponse(parts or [TextPart("")])


def _told(message: Message, names: Mapping[str, str]) -> list[ModelRequestPart]:
    if message.role == "system":
        return [SystemPromptPart(message.text)]
    images = [part for part in message.parts if not isinstance(part, Text)]
    if message.role == "tool":
        name = names.get(message.call_id, "tool")
        answer: list[ModelRequestPart] = [ToolReturnPart(name, message.text, message.call_id)]
        return answer + ([UserPromptPart([_part(image) for image in images])] if images else [])
    if not images:
        return [UserPromptPart(message.text)]
    return [UserPromptPart([_part(part) for part in message.parts])]


def _part(part: Part) -> str | BinaryContent:
    return (
        part.text
        if isinstance(part, Text)
        else BinaryContent(part.data, media_type=part.media_type)
    )


def parameters_of(request: ChatRequest, dialect: Dialect) -> ModelRequestParameters:
    """Tools, and how the answer is held to its schema."""
    tools = [
        ToolDefinition(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=tool.parameters,
        )
        for tool in request.tools
    ]
    schema = request.schema
    if schema is None or tools or dialect.structured in ("json_object", "prompt"):
        return ModelRequestParameters(function_tools=tools)
    if dialect.structured == "tool":
        answer = ToolDefinition(
            name=ANSWER,
            description="Give the answer.",
            parameters_json_schema=schema,
            kind="output",
        )
        return ModelRequestParameters(
            output_mode="tool", output_tools=[answer], allow_text_output=False
        )
    strict = keeps_strict_rules(schema) if dialect.strict else None
    form = OutputObjectDefinition(json_schema=schema, name=ANSWER, strict=strict)
    return ModelRequestParameters(output_mode="native", output_object=form)


def settings_of(
    request: ChatRequest,
    dialect: Dialect,
    body_field: str,
    raw: Collection[str] = (),
    *,
    effort_field: str = "",
    budgets: bool = False,
) -> tuple[ModelSettings, list[str]]:
    """Limits and parameters, and what is to be said of parameters that are not sent as they are.

    ``body_field``: where this provider takes fields it alone knows; empty: nowhere. ``raw``:
    settings that its class would leave out without a word: they go there too, and the provider has
    its say. ``effort_field``: a setting that takes an effort as it is. ``budgets``: the model's
    thoughts are given a budget, which must be below its output limit.
    """
    settings: dict[str, Any] = {"max_tokens": request.max_output_tokens}
    others: dict[str, Any] = {}
    notices: list[str] = []
    for name, value in request.parameters.items():
        if name in dialect.dropped:
            continue
        shared = _SHARED.get(name)
        if name == _EFFORT and effort_field:
            settings[effort_field] = value
            continue
        effort = _EFFORTS.get(value) if name == _EFFORT and isinstance(value, str) else None
        if shared is None or shared in raw or (name == _EFFORT and effort is None):
            others[name] = value
        elif name == _EFFORT:
            settings[shared] = effort
        else:
            one = name == "stop" and isinstance(value, str)
            settings[shared] = [value] if one else value
    if budgets and isinstance(effort := settings.get("thinking"), str):
        fitting = _fitting(effort, request.max_output_tokens)
        if fitting != effort:
            settings["thinking"] = fitting or False
            needed = ANTHROPIC_THINKING_BUDGET_MAP[cast("Any", effort)]
            notices.append(
                f"{_EFFORT}: {effort} takes {needed:,} tokens of thoughts, and"
                f" limits.output_tokens is {request.max_output_tokens:,}: the model thinks"
                f" {f'at {fitting}' if fitting else 'not at all'}."
            )
    if others and body_field:
        settings[body_field] = others
    elif others:
        notices += [
            f"The parameter {name} is not sent: there is no place for it here."
            for name in sorted(others)
        ]
    if request.headers:
        settings["extra_headers"] = dict(request.headers)
    return cast("ModelSettings", settings), notices


def _fitting(effort: str, limit: int) -> str:
    """The most that a model may think, up to ``effort``, below an output limit; empty: nothing."""
    most = ANTHROPIC_THINKING_BUDGET_MAP[cast("Any", effort)]
    if most < limit:
        return effort
    return max(
        (
            (budget, level)
            for level, budget in ANTHROPIC_THINKING_BUDGET_MAP.items()
            if isinstance(level, str) and budget <= most and budget < limit
        ),
        default=(0, ""),
    )[1]


def reply_of(response: ModelResponse) -> ChatReply:
    """The reply; the call that is the answer becomes its text.

    Raises ChatFailure for one that the provider has broken off.
    """
    raw = str((response.provider_details or {}).get("finish_reason") or "")
    if response.finish_reason == "error" or raw.lower() in _BROKEN_OFF:
        words = f"the provider broke its answer off: {raw or 'error'}"
        raise ChatFailure(ErrorKind.SERVER_ERROR, words, tokens=_tokens(response))
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    thoughts = "".join(part.content for part in response.parts if isinstance(part, ThinkingPart))
    calls = [
        ToolCall(part.tool_call_id, part.tool_name, _arguments(part.args))
        for part in response.parts
        if isinstance(part, ToolCallPart)
    ]
    if len(calls) == 1 and calls[0].name == ANSWER:
        text, calls = calls[0].arguments, []
    stop = _STOPS.get(response.finish_reason or "stop", "end")
    if stop in ("end", "tools"):
        stop = "tools" if calls else "end"
    return ChatReply(
        text=text,
        calls=calls,
        stop=stop,
        tokens=_tokens(response),
        model=response.model_name or "",
        request_id=response.provider_response_id or "",
        reasoning=thoughts,
    )


def _arguments(args: Any) -> str:
    return args or "{}" if isinstance(args, str) else msgspec.json.encode(args or {}).decode()


def _tokens(response: ModelResponse) -> Tokens:
    usage = response.usage
    if not usage.input_tokens:
        return Tokens(reported=False)
    thought = usage.details.get("reasoning_tokens") or usage.details.get("thoughts_tokens") or 0
    own = getattr(usage, "cost", None)
    return Tokens(
        input=usage.input_tokens,
        output=usage.output_tokens,
        cached=min(usage.cache_read_tokens, usage.input_tokens),
        reasoning=min(thought, usage.output_tokens),
        cost_nusd=None if own is None else nusd_of(float(own)),
    )
