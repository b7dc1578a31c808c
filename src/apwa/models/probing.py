"""Finding out what an endpoint does: a few small calls, and what it says of itself.

The first call asks for an answer under a schema that no model would follow by chance, so that a
true answer shows that the schema was enforced; and it carries a filler of known length, so that a
prompt-token count below it shows that prompts are cut without a word. Where the schema was not
enforced, the same is asked by the next best form. What the endpoint refuses is mended on the way
and stays in the client's dialect.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import msgspec

from apwa.models.addressing import page_of
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
_ROOMS = (400, 1600)  # tokens of output, for a model that reasons first
_FORMS: dict[Structured, Structured] = {  # what is tried after a form that is not kept to
    "json_schema": "tool",
    "tool": "json_object",
    "json_object": "prompt",
}
_LARGEST_TRIED = 40_000  # tokens of context that a thorough look fills to the brim
_FATAL = (ErrorKind.ACCOUNT, ErrorKind.MODEL_MISSING, ErrorKind.UNREACHABLE)
_OLLAMA_WIDENING = (
    "Ollama serves a small window unless told otherwise: start it with, for instance,"
    " OLLAMA_CONTEXT_LENGTH=32768 ollama serve"
)
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
        cuts_prompts: Whether it cuts prompts without a word; None if that was not tried.
        reasons: Whether the model reasons before it answers.
        thoughts: Whether its thoughts are shown; they are kept apart from the answer.
        tokens: What the probe itself used.
        notes: What a person should know, in sentences.
        answered: Whether the probe brought a reply; where not, the rest is what one hopes for.
        widening: How the server is made to serve a larger context, where it serves less than the
            model could; empty where that is not known.
    """

    dialect: Dialect
    context: int | None = None
    reports_usage: bool = True
    cuts_prompts: bool | None = None
    reasons: bool = False
    thoughts: bool = False
    tokens: Tokens = Tokens(reported=False)
    notes: list[str] = []
    widening: str = ""
    answered: bool = True

    @property
    def structured(self) -> Structured:
        return self.dialect.structured


async def find_out(
    opened: OpenedModel,
    *,
    context: int | None = None,
    timeout_s: float = 120.0,
    thorough: bool = False,
) -> EndpointTraits:
    """Call the endpoint and see. What it refuses, the client leaves out from then on.

    Args:
        opened: The model; its client takes on the dialect found.
        context: The context size, if the user gave one.
        timeout_s: For a call; a local server may have to load its model first.
        thorough: Also see whether it takes a temperature, and what it does with a prompt that
            does not fit, where its context is small enough to try.

    Raises:
        ChatFailure: ACCOUNT, MODEL_MISSING or UNREACHABLE: no call will go through.
    """
    notes: list[str] = []
    reply, tiny = await _try_forms(opened, notes, timeout_s)
    cut: bool | None = True if tiny else None
    if tiny:
        notes.append("The endpoint cut the probe's prompt without a word: its context is tiny.")
    reported = reply is not None and reply.tokens.reported
    if reply is not None and not reported:
        notes.append("The endpoint reports no token counts: tokens and money are estimates.")
    found = await _context(opened)
    size = context or found.size
    if size is None:
        notes.append("The context size is unknown: rows that do not fit show only when tried.")
    if thorough and reply is not None:
        await _try_temperature(opened, timeout_s)
        cut = cut or await _try_overflow(opened, size, notes, timeout_s)
    return EndpointTraits(
        dialect=opened.model.dialect,
        context=size,
        reports_usage=reported,
        cuts_prompts=cut,
        reasons=reply is not None and bool(reply.reasoning or reply.tokens.reasoning),
        thoughts=reply is not None and bool(reply.reasoning),
        tokens=reply.tokens if reply is not None else Tokens(reported=False),
        notes=notes,
        widening=_OLLAMA_WIDENING if found.ollama else "",
        answered=reply is not None,
    )


async def _try_forms(
    opened: OpenedModel, notes: list[str], timeout_s: float
) -> tuple[ChatReply | None, bool]:
    """Ask under a schema, form by form, until one is kept to.

    Gives the last reply (None if no call brought one), and whether the prompt was cut.
    """
    last: ChatReply | None = None
    filler, cut = _FILLER_WORDS, False
    while True:
        asked = opened.model.dialect.structured
        try:
            reply = last = await _ask_with_room(opened, filler, timeout_s)
        except ChatFailure as failure:
            if failure.kind in _FATAL:
                raise await _with_models(opened, failure) from None
            if failure.tokens is not None and filler:  # cut: see the rest without the filler
                filler, cut = 0, True
                continue
            if last is None:
                words = f"The probe call failed ({failure.kind.value}): {failure.message}"
                notes.append(words)
                return None, cut
            reply = None
        used = opened.model.dialect
        if reply is not None and _keeps(reply, used.structured, first=asked == "json_schema"):
            return reply, cut
        if used.structured == "json_schema":
            notes.append("The endpoint takes a schema and does not enforce it.")
        following = _FORMS[used.structured]
        opened.model.adopt(msgspec.structs.replace(used, structured=following))
        if following == "prompt":
            notes.append("It can only be asked in words: answers are checked here.")
            return last, cut


async def _ask_with_room(opened: OpenedModel, filler: int, timeout_s: float) -> ChatReply:
    """The probe call; again with more room where thoughts have taken all of it."""
    small, large = _ROOMS
    reply = await opened.model.complete(_request(opened.model_name, small, timeout_s, filler))
    if reply.stop == "length" and not reply.text.strip():
        reply = await opened.model.complete(_request(opened.model_name, large, timeout_s, filler))
    return reply


def _keeps(reply: ChatReply, form: Structured, *, first: bool) -> bool:
    """Whether a reply shows that the endpoint keeps to what it was asked for."""
    if first and form == "json_schema" and (reply.stop == "length" or not reply.text.strip()):
        return True  # nothing to judge by: think well of it, rows will show
    try:
        answer: Any = msgspec.json.decode(reply.text)
    except msgspec.DecodeError:
        answer = None
    if form == "json_object":
        return isinstance(answer, dict)
    return form == "prompt" or answer == {_FIELD: _VALUE}


async def _try_temperature(opened: OpenedModel, timeout_s: float) -> None:
    """A refusal stays in the client's dialect; any other failure says nothing of it."""
    request = _request(opened.model_name, _ROOMS[0], timeout_s)
    with contextlib.suppress(ChatFailure):
        await opened.model.complete(
            msgspec.structs.replace(
                request, messages=request.messages[1:], parameters={"temperature": 0.0}
            )
        )


async def _try_overflow(
    opened: OpenedModel, size: int | None, notes: list[str], timeout_s: float
) -> bool | None:
    """Whether a prompt that does not fit is cut without a word; None where it is not known."""
    if size is None or size > _LARGEST_TRIED:
        return None
    request = _request(opened.model_name, _ROOMS[0], timeout_s)
    too_much = Message("system", [Text(_filler(size * 3 // 2))])
    try:
        await opened.model.complete(
            msgspec.structs.replace(request, messages=[too_much, request.messages[1]])
        )
    except ChatFailure as failure:
        if failure.tokens is None:
            return False if failure.kind is ErrorKind.CONTEXT_TOO_LONG else None
        notes.append(
            f"Prompts past its {size:,} tokens are cut without a word: rows that do not fit are"
            " set aside, not answered."
        )
        return True
    return None


def _filler(words: int) -> str:
    return " ".join(_WORDS[i * 7 % len(_WORDS)] for i in range(words))


def _request(model: str, room: int, timeout_s: float, filler: int = _FILLER_WORDS) -> ChatRequest:
    return ChatRequest(
        model=model,
        messages=[
            Message(
                "system",
                [Text(f"These words mean nothing; pass over them: {_filler(filler)}")],
            ),
            Message("user", [Text("How are you? Answer in one short sentence, or in JSON.")]),
        ],
        max_output_tokens=room,
        schema=_SCHEMA,
        timeout_s=timeout_s,
    )


class _Context(NamedTuple):
    size: int | None
    ollama: bool = False


async def _context(opened: OpenedModel) -> _Context:
    """The context size, from the endpoint's own words if it has any, else the price book's."""
    base = opened.model.base_url
    root = f"{urlsplit(base).scheme}://{urlsplit(base).netloc}"
    entry = _pick(await _entries(opened, page_of(base, "models"), "data"), opened.model_name)
    if opened.endpoint == "ollama" or entry.get("owned_by") == "library":
        # Ollama serves less than the model can, and says so only here
        loaded = await _entries(opened, f"{root}/api/ps", "models")
        return _Context(_size_of(_pick(loaded, opened.model_name)), ollama=True)
    if entry.get("owned_by") == "llamacpp":  # its list tells only what the model was trained for
        props = await _fetch(opened, f"{root}/props")
        served = _size_of(_object(props.get("default_generation_settings")))
        if served is not None:
            return _Context(served)
    return _Context(_size_of(entry) or context_of(opened.endpoint, opened.model_name))


async def _with_models(opened: OpenedModel, failure: ChatFailure) -> ChatFailure:
    """The failure, and for a missing model the names of those that the endpoint has."""
    if failure.kind is not ErrorKind.MODEL_MISSING:
        return failure
    entries = await _entries(opened, page_of(opened.model.base_url, "models"), "data")
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
