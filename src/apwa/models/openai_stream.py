"""A stream of server-sent events, put together into the completion that it is.

The client asks for streams only where an endpoint gives nothing else: a worker has no use for
half an answer. So a stream is read whole, and what comes of it is read like any other reply.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from apwa.models.seam import WireReply

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


def is_stream(reply: WireReply) -> bool:
    """Whether a reply is a stream, asked for or not."""
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        return True
    return reply.body[:200].lstrip().startswith((b"data:", b": ", b"event:"))


def joined(body: bytes) -> bytes:
    """The completion as JSON. Raises msgspec.DecodeError for an event that is none."""
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"message": message}
    for data in _events(body):
        chunk: Any = msgspec.json.decode(data)
        if not isinstance(chunk, dict):
            raise msgspec.DecodeError("an event is no object")
        fields = cast("dict[str, Any]", chunk)
        for name in ("id", "model", "usage", "error"):
            if fields.get(name):
                whole[name] = fields[name]
        for part in _objects(fields.get("choices")):
            if part.get("index", 0) == 0:
                _take(choice, message, part)
                whole["choices"] = [choice]
    if "choices" in whole and "finish_reason" not in choice:  # it broke off in mid-answer
        choice["error"] = whole.get("error") or {"message": "the stream broke off"}
    return msgspec.json.encode(whole)


def _take(choice: dict[str, Any], message: dict[str, Any], part: dict[str, Any]) -> None:
    delta = _object(part.get("delta") or part.get("message") or {})
    for name in _TEXTS:
        if isinstance(delta.get(name), str):
            message[name] = message.get(name, "") + delta[name]
    for call in _objects(delta.get("tool_calls")):
        _take_call(message, call)
    for name in ("finish_reason", "error"):
        if part.get(name):
            choice[name] = part[name]


def _take_call(message: dict[str, Any], part: dict[str, Any]) -> None:
    """The pieces of a call come with its index; some servers send calls whole and without."""
    calls: list[dict[str, Any]] = message.setdefault("tool_calls", [])
    at = part.get("index")
    if isinstance(at, int) and at < 0:
        raise msgspec.DecodeError("a tool call has a number below 0")
    while not isinstance(at, int) or at >= len(calls):
        calls.append({"function": {"name": "", "arguments": ""}})
        if not isinstance(at, int):
            at = len(calls) - 1
        if len(calls) > _MOST_CALLS:
            raise msgspec.DecodeError("more tool calls than any reply has")
    call, function = calls[at], _object(part.get("function") or {})
    call["id"] = part.get("id") or call.get("id") or ""
    call["function"]["name"] += str(function.get("name") or "")
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    call["function"]["arguments"] += arguments


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise msgspec.DecodeError("a part of an event is no object")
    return cast("dict[str, Any]", value)


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list | None):
        raise msgspec.DecodeError("a part of an event is no list")
    return [_object(part) for part in cast("list[Any]", value or [])]


_MOST_CALLS = 1000


def _events(body: bytes) -> list[bytes]:
    """The data of each event; comments, other fields and the end mark left out."""
    found: list[bytes] = []
    lines: list[bytes] = []
    for line in [*body.replace(b"\r\n", b"\n").split(b"\n"), b""]:
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line and lines:
            data = b"\n".join(lines).strip()
            lines = []
            if data and data != b"[DONE]":
                found.append(data)
    return found
