"""Finding out what an endpoint does: one small call, and what it says of itself.

The call asks for an answer under a schema that no model would follow by chance, so that a true
answer shows that the schema was enforced; and it carries a filler of known length, so that a
prompt-token count below it shows that prompts are cut without a word. What the endpoint refuses
is mended on the way and stays in the client's dialect.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from apwa.models.dialect import Dialect
from apwa.models.endpoints import OpenedModel
from apwa.models.failures import clip
from apwa.models.prices import context_of
from apwa.models.seam import (
    ChatFailure,
    ChatReply,
    ChatRequest,
    Message,
    Structured,
    Text,
    Tokens,
    WireReply,
)
from apwa.vocabulary import ErrorKind

_WORDS = ("house", "river", "green", "stone", "light", "seven", "table", "north", "paper", "music")
_FILLER_WORDS = 600
_FIELD, _VALUE = "weather_on_the_moon", "grapefruit-71"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {_FIELD: {"type": "string", "enum": [_VALUE]}},
    "required": [_FIELD],
    "additionalProperties": False,
}
_FATAL = (ErrorKind.ACCOUNT, ErrorKind.MODEL_MISSING, ErrorKind.UNREACHABLE)
_CONTEXT_FIELDS = (
    "context_length",
    "context_window",
    "max_model_len",
    "max_context_length",
    "max_input_tokens",
    "inputTokenLimit",
    "n_ctx",
)


class EndpointTraits(msgspec.Struct, frozen=True):
    """What is known of an endpoint and model. Plain data: kept with the run.

    Attributes:
        dialect: How the endpoint wants to be spoken to; ``adopt`` it after a resume.
        context: The context size in tokens; None if nobody says.
        reports_usage: Whether replies count their tokens.
        cuts_prompts: Whether it cut the probe's prompt without a word.
        reasons: Whether it showed reasoning apart from the answer.
        tokens: What the probe itself used.
        notes: What a person should know, in sentences.
    """

    dialect: Dialect
    context: int | None = None
    reports_usage: bool = True
    cuts_prompts: bool = False
    reasons: bool = False
    tokens: Tokens = Tokens(reported=False)
    notes: list[str] = []

    @property
    def structured(self) -> Structured:
        return self.dialect.structured


async def find_out(
    opened: OpenedModel, *, context: int | None = None, timeout_s: float = 120.0
) -> EndpointTraits:
    """Call the endpoint once and see. What it refuses, the client leaves out from then on.

    Args:
        opened: The model; its client takes on the dialect found.
        context: The context size, if the user gave one.
        timeout_s: For the call; a local server may have to load its model first.

    Raises:
        ChatFailure: ACCOUNT, MODEL_MISSING or UNREACHABLE: no call will go through.
    """
    notes: list[str] = []
    reply: ChatReply | None = None
    try:
        reply = await opened.model.complete(_request(opened.model_name, timeout_s))
    except ChatFailure as failure:
        if failure.kind in _FATAL:
            raise await _with_models(opened, failure) from None
        notes.append(f"The probe call failed ({failure.kind.value}): {failure.message}")
    if reply is not None:
        _learn_structured(opened, reply, notes)
    cut = reply is not None and 0 < reply.tokens.input < _FILLER_WORDS
    if cut:
        notes.append("The endpoint cut the probe's prompt without a word: its context is tiny.")
    reported = reply is not None and reply.tokens.reported
    if reply is not None and not reported:
        notes.append("The endpoint reports no token counts: tokens and money are estimates.")
    size = context or await _context(opened)
    if size is None:
        notes.append("The context size is unknown: rows that do not fit show only when tried.")
    return EndpointTraits(
        dialect=opened.model.dialect,
        context=size,
        reports_usage=reported,
        cuts_prompts=cut,
        reasons=reply is not None and bool(reply.reasoning or reply.tokens.reasoning),
        tokens=reply.tokens if reply is not None else Tokens(reported=False),
        notes=notes,
    )


def _request(model: str, timeout_s: float) -> ChatRequest:
    filler = " ".join(_WORDS[i * 7 % len(_WORDS)] for i in range(_FILLER_WORDS))
    return ChatRequest(
        model=model,
        messages=[
            Message("system", [Text(f"These words mean nothing; pass over them: {filler}")]),
            Message("user", [Text("How are you? Answer in one short sentence, or in JSON.")]),
        ],
        max_output_tokens=400,  # room for the thoughts of a model that reasons first
        schema=_SCHEMA,
        timeout_s=timeout_s,
    )


def _learn_structured(opened: OpenedModel, reply: ChatReply, notes: list[str]) -> None:
    """Take on what the reply shows of how far the endpoint holds to a schema."""
    dialect = opened.model.dialect
    if dialect.structured != "json_schema" or not reply.text.strip():
        return  # a refusal has settled it already, or there is nothing to judge by
    if reply.stop == "length":
        return
    try:
        answer: Any = msgspec.json.decode(reply.text)
    except msgspec.DecodeError:
        answer = None
    if answer == {_FIELD: _VALUE}:
        return
    found: Structured = "json_object" if isinstance(answer, dict) else "prompt"
    opened.model.adopt(msgspec.structs.replace(dialect, structured=found))
    notes.append("The endpoint takes a schema and does not enforce it: answers are checked here.")


async def _context(opened: OpenedModel) -> int | None:
    """The context size, from the endpoint's own words if it has any, else the price book's."""
    base = opened.model.codec.base_url
    root = f"{urlsplit(base).scheme}://{urlsplit(base).netloc}"
    if opened.endpoint == "ollama":  # it serves less than the model can, and says so only here
        loaded = await _entries(opened, f"{root}/api/ps", "models")
        return _size_of(_pick(loaded, opened.model_name))
    entry = _pick(await _entries(opened, f"{base}/models", "data"), opened.model_name)
    if entry.get("owned_by") == "llamacpp":  # its list tells only what the model was trained for
        props = await _fetch(opened, f"{root}/props")
        served = _size_of(_object(props.get("default_generation_settings")))
        if served is not None:
            return served
    return _size_of(entry) or context_of(opened.endpoint, opened.model_name)


async def _with_models(opened: OpenedModel, failure: ChatFailure) -> ChatFailure:
    """The failure, and for a missing model the names of those that the endpoint has."""
    if failure.kind is not ErrorKind.MODEL_MISSING:
        return failure
    entries = await _entries(opened, f"{opened.model.codec.base_url}/models", "data")
    names = [str(entry["id"]) for entry in entries if isinstance(entry.get("id"), str)]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    message = f"{failure.message} (the endpoint has: {shown})" if names else failure.message
    return ChatFailure(failure.kind, clip(message), status=failure.status, sent=failure.sent)


async def _entries(opened: OpenedModel, url: str, field: str) -> list[dict[str, Any]]:
    listed: Any = (await _fetch(opened, url)).get(field)
    if not isinstance(listed, list):
        return []
    return [_object(entry) for entry in cast("list[Any]", listed)]


async def _fetch(opened: OpenedModel, url: str) -> dict[str, Any]:
    """A page of the endpoint as an object; empty if it has none, for nothing depends on it."""
    try:
        reply: WireReply = await opened.model.get(url, 10.0)
        return _object(msgspec.json.decode(reply.body)) if reply.status == 200 else {}
    except (ChatFailure, msgspec.DecodeError):
        return {}


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _pick(entries: list[dict[str, Any]], model: str) -> dict[str, Any]:
    """The entry of a model; a server with one model serves it under any name."""
    for entry in entries:
        if model in (entry.get("id"), entry.get("name"), entry.get("model")):
            return entry
    return entries[0] if len(entries) == 1 else {}


def _size_of(entry: dict[str, Any]) -> int | None:
    for fields in (entry, _object(entry.get("meta")), _object(entry.get("top_provider"))):
        for name in _CONTEXT_FIELDS:
            size = fields.get(name)
            if isinstance(size, int) and not isinstance(size, bool) and size > 0:
                return size
    return None
