"""What a reply that is no answer means: status and body to ErrorKind, in the provider's words.

This is the one place where words of providers are matched; everything after it asks the kind.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from apwa.models.seam import ChatFailure, WireReply
from apwa.models.waits import asked_wait_s, reset_wait_s
from apwa.vocabulary import ErrorKind

_CLIP = 500

_KEYS = re.compile(
    r"\b(?:sk|pk|gsk|xai|hf|key)[-_][A-Za-z0-9_*.-]{6,}"
    r"|\bAIza[A-Za-z0-9_-]{10,}"
    r"|(?<=[Bb]earer )[^\s\"',]+"
    r"|(?<=://)[^/\s@]+:[^/\s@]+(?=@)"
)

_CREDIT = re.compile(
    r"insufficient.?quota|insufficient.?(?:credit|balance|funds)|current quota|billing"
    r"|credit balance|out of credits?|more credits|payment.?required|spending limit"
)
_KEY_WRONG = re.compile(
    r"(?:invalid|incorrect|expired|missing|not valid|no).{0,20}(?:api.?key|token provided)"
    r"|api.?key.{0,30}(?:invalid|not valid|expired|missing)|invalid_api_key|authentication_error"
)
_NO_MODEL = re.compile(
    r"model_not_found|model_not_available|not a valid model|no endpoints found"
    r"|model.{0,120}(?:does not exist|not found|not exist|is not available|deprecated)"
    r"|model identifier is invalid|on-demand throughput isn|inference profile"
    r"|(?:no such|unknown|invalid) model"
)
# Not "unsupported image": that is one picture's own trouble.
_NO_IMAGES = re.compile(
    r"(?:image|vision|multi-?modal)[\w ]{0,20}(?:input|content|data)?s?[\w ]{0,20}"
    r"(?:is|are) (?:not|only) (?:currently )?(?:supported|enabled|available|allowed)"
    r"|(?:do|does|can) ?(?:not|n't) (?:support|accept|take|process|handle) (?:any )?"
    r"(?:image|vision|picture|multi-?modal)"
    r"|not (?:a )?(?:multi-?modal|vision)|support(?:s)? image input|at most 0 image"
    r"|image_url.{0,80}(?:not supported|unsupported|only supported|expected|unknown)"
    r"|unknown variant .?image_url|content must be a string|required for image input"
)
_TOO_LONG = re.compile(
    r"context.?length|context.?window|maximum context|context.?size|exceed_context"
    r"|prompt is too long|input is too long|too many (?:input )?tokens|prompt.{0,40}too long"
    r"|reduce the length|request too large|input.{0,30}exceeds? .{0,40}tokens"
    r"|longer than the (?:maximum )?(?:model|context)|input tokens exceeds?|maximum prompt length"
    r"|input length and .max_tokens. exceed|max_new_tokens.{0,3} must be <="
)
_FILTER = re.compile(
    r"content.?filter|content management policy|content.?policy|responsibleai|moderation"
    r"|flagged|safety (?:system|filter)|prohibited_content"
)


class Said(msgspec.Struct, frozen=True):
    """The error that a body holds, as far as it can be told."""

    message: str
    code: str = ""
    parameter: str = ""
    status: int = 0  # the status inside the body, where a router wraps one

    @property
    def words(self) -> str:
        return f"{self.code} {self.message}".lower()


def failure_of(reply: WireReply) -> ChatFailure:
    """The failure that a reply is."""
    said = said_in(reply)
    status = said.status if reply.status < 400 and said.status else reply.status
    if status < 300:
        status = 500
    wait = asked_wait_s(reply.headers, said.message)
    kind = _kind(status, said, wait)
    if wait is None and kind in (ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED):
        wait = reset_wait_s(reply.headers)
    return ChatFailure(
        kind,
        clip(f"{status}: {said.message}" if said.message else f"{status} and no word why"),
        retry_after_s=wait,
        status=status,
        # what is turned away with a 4xx has not been worked on and costs nothing
        sent=status >= 500 or status == 408 or reply.status < 300,
    )


def no_completion(reply: WireReply, why: str) -> ChatFailure:
    """A 200 that holds no completion. A web page says that this is no such endpoint."""
    if _is_page(reply.body):
        return ChatFailure(
            ErrorKind.UNREACHABLE,
            f"the address answers with a web page, not with the OpenAI protocol: {_page(reply)}",
            status=reply.status,
        )
    return ChatFailure(
        ErrorKind.SERVER_ERROR, clip(f"the reply is no completion: {why}"), status=reply.status
    )


def scrub(text: str, *keys: str) -> str:
    """A text without keys: the given ones, and what looks like one."""
    for key in keys:
        if len(key) >= 6:
            text = text.replace(key, "[key]")
    return _KEYS.sub("[key]", text)


def clip(text: str) -> str:
    """One line of at most a few hundred characters."""
    line = " ".join(text.split())
    return line if len(line) <= _CLIP else line[: _CLIP - 1] + "…"


def _kind(status: int, said: Said, wait: float | None) -> ErrorKind:
    words = said.words
    if status in (400, 404, 415, 422, 500, 501) and _NO_IMAGES.search(words):
        return ErrorKind.NO_IMAGES
    if status in (401, 402, 403):
        return ErrorKind.FILTERED if status == 403 and _FILTER.search(words) else ErrorKind.ACCOUNT
    if status == 429:
        return _kind_of_429(words, wait)
    if status in (404, 410):
        return ErrorKind.MODEL_MISSING
    if status == 408 or status in (499, 504, 522, 524):
        return ErrorKind.TIMEOUT
    if status in (409, 425, 498, 502, 503, 529):
        return ErrorKind.OVERLOADED
    if status == 424:  # what Bedrock's models and others behind a gateway fail with
        return ErrorKind.SERVER_ERROR
    if status in (405, 407) or 300 <= status < 400:
        return ErrorKind.UNREACHABLE
    return _kind_by_words(status, words)


def _kind_of_429(words: str, wait: float | None) -> ErrorKind:
    if "request too large" in words:  # larger than the whole limit: no wait would help
        return ErrorKind.CONTEXT_TOO_LONG
    if wait is None and _CREDIT.search(words):
        return ErrorKind.ACCOUNT
    return ErrorKind.RATE_LIMITED


def _kind_by_words(status: int, words: str) -> ErrorKind:
    """400, 413, 422 and 500: servers use them for much, so the words decide."""
    if status == 413 or _TOO_LONG.search(words):
        return ErrorKind.CONTEXT_TOO_LONG
    if status >= 500:
        return ErrorKind.SERVER_ERROR
    if _FILTER.search(words):
        return ErrorKind.FILTERED
    if _CREDIT.search(words) or _KEY_WRONG.search(words):
        return ErrorKind.ACCOUNT
    if _NO_MODEL.search(words):
        return ErrorKind.MODEL_MISSING
    return ErrorKind.BAD_REQUEST


def said_in(reply: WireReply) -> Said:
    """The error in a body, whatever its form: the protocol's, a framework's, a web page, text."""
    if _is_page(reply.body):
        return Said(f"a web page: {_page(reply)}")
    try:
        body: Any = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Said(reply.body[:2000].decode("utf-8", "replace").strip())
    if isinstance(body, list) and body:
        body = cast("list[Any]", body)[0]
    if not isinstance(body, dict):
        return Said(_text(body))
    fields = cast("dict[str, Any]", body)
    error: Any = fields.get("error") or fields.get("Error") or fields
    if not isinstance(error, dict):
        return Said(_text(error))
    return _said(cast("dict[str, Any]", error))


def _said(error: dict[str, Any]) -> Said:
    said = error.get("message") or error.get("Message") or error.get("msg")
    message = _text(said or _without_echo(error.get("detail")) or "")
    metadata: Any = error.get("metadata") or error.get("details")
    if metadata:  # a router's own message is "Provider returned error"; the cause stands here
        message = f"{message} {_text(metadata)}".strip()
    code: Any = error.get("code") or error.get("Code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 0
    return Said(
        message or _text(error),
        f"{code or ''} {error.get('type') or ''} {error.get('status') or ''}".strip(),
        _text(error.get("param") or ""),
        status,
    )


def _without_echo(detail: Any) -> Any:
    """A framework's words on a field without the field itself: that is the row's, not its."""
    if not isinstance(detail, list):
        return detail
    entries = cast("list[Any]", detail)
    return [
        {n: v for n, v in cast("dict[str, Any]", e).items() if n not in ("input", "ctx", "url")}
        if isinstance(e, dict)
        else e
        for e in entries
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _is_page(body: bytes) -> bool:
    return body[:200].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def _page(reply: WireReply) -> str:
    page = reply.body[:20000].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    text = title.group(1) if title else re.sub(r"<[^>]{0,2000}>", " ", page)
    return clip(text)[:120] or "an empty one"
