"""Mending a request that an endpoint refuses for its form, once per endpoint and model.

An endpoint is asked in the best form first; a refusal that names a parameter changes the
dialect, and the same request goes again. There is no list of models that want this or that.
"""

from __future__ import annotations

import re
from typing import cast

import msgspec

from apwa.models.dialect import Dialect
from apwa.models.failures import failure_of, said_in
from apwa.models.seam import WireReply
from apwa.vocabulary import ErrorKind

_REFUSED = re.compile(
    r"unsupported|not (?:currently )?(?:be )?support|unrecogni[sz]ed|unknown|not permitted"
    r"|not allowed|extra.?(?:inputs|fields|forbidden)|unexpected|only the default|deprecated"
    r"|may only be set|cannot both be|not enabled"
    r"|not available|unavailable|not implemented|invalid (?:argument|parameter|field) name"
)
_OWN = frozenset(("model", "messages", "tools", "tool_choice", "response_format", "stream"))
_STREAM = re.compile(
    r"\bstream(?:s|ing)?\b.{0,40}\b(?:only|true|mode|required|enable)"
    r"|\b(?:only|must|requires?|enable|set)\b.{0,40}\bstream(?:s|ing)?\b"
)
_TOOLS = re.compile(r"tool|function")
_SCHEMA = re.compile(
    r"response_format|response format|json_schema|json schema|schema|structured output"
    r"|guided|grammar|json_object"
)


def amend(dialect: Dialect, sent: bytes, reply: WireReply) -> tuple[Dialect, str] | None:
    """The dialect that a refused request calls for, and a notice; None if it names nothing.

    Args:
        dialect: The dialect in which the request was made.
        sent: The request's body.
        reply: The refusal.
    """
    if reply.status not in (400, 422) or failure_of(reply).kind is not ErrorKind.BAD_REQUEST:
        return None
    said = said_in(reply)
    words = f"{said.parameter} {said.words}".lower()
    fields = cast("dict[str, object]", msgspec.json.decode(sent))
    refused = _REFUSED.search(words) is not None
    if refused and dialect.limit in fields and _names(words, dialect.limit):
        return _rename_limit(dialect)
    streams = streaming(dialect, words)
    if streams is not None:
        return streams
    if dialect.structured == "tool" and "tool_choice" in fields and _TOOLS.search(words):
        return loosened(dialect)
    if refused:
        for name in sorted(fields.keys() - _OWN):
            if name != dialect.limit and _names(words, name):
                dropped = msgspec.structs.replace(dialect, dropped=dialect.dropped | {name})
                return dropped, f"the endpoint refuses the parameter {name}: left out from now on"
    if "response_format" in fields and _SCHEMA.search(words):
        return loosened(dialect)
    return None


def streaming(dialect: Dialect, words: str) -> tuple[Dialect, str] | None:
    """The dialect that streams, and a notice, where words ask for one."""
    if dialect.streams or not _STREAM.search(words.lower()):
        return None
    streams = msgspec.structs.replace(dialect, streams=True)
    return streams, "the endpoint answers in streams only: read as streams from now on"


def _names(words: str, name: str) -> bool:
    """Whether words, all in small letters, name a parameter, be it as ``topP``."""
    either = f"{re.escape(name.lower())}|{re.escape(name.lower().replace('_', ''))}"
    return re.search(rf"(?<![a-z_])(?:{either})(?![a-z_])", words) is not None


def _rename_limit(dialect: Dialect) -> tuple[Dialect, str] | None:
    if dialect.renamed:
        return None
    other = "max_completion_tokens" if dialect.limit == "max_tokens" else "max_tokens"
    renamed = msgspec.structs.replace(dialect, limit=other, renamed=True)
    return renamed, f"the endpoint wants its output limit named {other}"


def loosened(dialect: Dialect) -> tuple[Dialect, str] | None:
    """The next form in which an answer can be asked for, and a notice; None after the last."""
    if dialect.structured == "json_schema" and dialect.strict:
        looser = msgspec.structs.replace(dialect, strict=False)
        return looser, "the endpoint refuses strict schemas: asked for them without strictness"
    if dialect.structured == "json_schema":
        looser = msgspec.structs.replace(dialect, structured="tool")
        return looser, "the endpoint refuses schemas: asked for the answer as a tool call"
    if dialect.structured == "tool":
        looser = msgspec.structs.replace(dialect, structured="json_object")
        return looser, "the endpoint refuses forced tool calls: asked for any JSON object"
    if dialect.structured == "json_object":
        looser = msgspec.structs.replace(dialect, structured="prompt")
        return looser, "the endpoint cannot be held to JSON: asked in words only, checked here"
    return None
