"""Who sits in the model's chair: the rules, a person with files, or a recording."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from apwa.practice.planner import plan
from apwa.practice.request import is_manager, understand
from apwa.practice.solve import solve
from apwa.practice.tool_use import use_tools
from apwa.practice.wire import (
    Answer,
    Call,
    ChatBody,
    Function,
    Refused,
    Tool,
    WireMessage,
    identity,
)

_LONG = 60  # characters of a message, from which on it is kept once
_SEES_NOTHING = (
    "The practice model is a set of rules and sees no pictures, and there is no text beside them."
)
_LOOK_S = 0.1  # between looks for a person's answer


class Chair(Protocol):
    async def answer(self, body: ChatBody, *, obey: bool) -> Answer:
        """What the model says to a request. Raises Refused where it cannot say anything."""
        ...


class Rules:
    """The practice model itself."""

    async def answer(self, body: ChatBody, *, obey: bool) -> Answer:
        if is_manager(body):
            return plan(body)
        work = understand(body)
        if work.blank and any(message.images for message in body.messages):
            return Answer(_SEES_NOTHING, refused=True)
        return use_tools(body, work) or Answer(solve(work, obey=obey))


class ByHand:
    """A person answers: each request a file, each answer a file renamed into its place.

    ``0001.request.json`` is the request, ``0001.md`` the same to read. The answer is
    ``0001.answer.txt`` (the text) or ``0001.answer.json``: the JSON object that is the answer,
    or ``{"calls": [{"name": …, "arguments": {…}}]}`` for tool calls.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        taken = [int(p.name.partition(".")[0]) for p in folder.glob("[0-9]*.request.json")]
        self._last = max(taken, default=0)

    async def answer(self, body: ChatBody, *, obey: bool) -> Answer:
        self._last += 1
        stem = self._folder / f"{self._last:04d}"
        _put(stem.with_suffix(".md"), _readable(body).encode())
        _put(stem.with_suffix(".request.json"), msgspec.json.format(msgspec.json.encode(body)))
        while True:
            for suffix in (".answer.json", ".answer.txt"):
                path = stem.with_suffix(suffix)
                if path.exists():
                    return _written(path)
            await asyncio.sleep(_LOOK_S)


class Exchange(msgspec.Struct, frozen=True):
    """A request's identity, the request for people to read, and what was answered."""

    identity: str
    request: ChatBody
    answer: Answer


class Recorder:
    """Keeps each exchange of another chair as a file of the folder.

    A message that stands in an earlier exchange is only named, and tools are by name, so that a
    long conversation stays short to read. The identity is that of the whole request.
    """

    def __init__(self, chair: Chair, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._chair = chair
        self._folder = folder
        self._last = sum(1 for _ in folder.glob("*.exchange.json"))
        self._kept: dict[str, str] = {}  # where a message stands in full

    async def answer(self, body: ChatBody, *, obey: bool) -> Answer:
        answer = await self._chair.answer(body, obey=obey)
        self._last += 1
        data = msgspec.json.encode(Exchange(identity(body), self._short(body), answer))
        path = self._folder / f"{self._last:06d}.exchange.json"
        _put(path, msgspec.json.format(data))
        return answer

    def _short(self, body: ChatBody) -> ChatBody:
        messages: list[WireMessage] = []
        for message in body.messages:
            if message.images:  # equal texts, unlike pictures
                messages.append(message)
                continue
            where = self._kept.setdefault(message.text, f"{self._last:06d}")
            known = where != f"{self._last:06d}" and len(message.text) > _LONG
            messages.append(
                msgspec.structs.replace(message, content=f"(as in {where})") if known else message
            )
        tools = [Tool(Function(tool.function.name)) for tool in body.tools or []]
        return msgspec.structs.replace(body, messages=messages, tools=tools or None)


class Replay:
    """Answers from recordings, whatever their tags' nonces were."""

    def __init__(self, folder: Path) -> None:
        self._answers: dict[str, list[Answer]] = {}
        for path in sorted(folder.glob("*.exchange.json")):
            exchange = msgspec.json.decode(path.read_bytes(), type=Exchange)
            self._answers.setdefault(exchange.identity, []).append(exchange.answer)
        if not self._answers:
            raise ValueError(f"there are no recordings (*.exchange.json) in {folder}")

    async def answer(self, body: ChatBody, *, obey: bool) -> Answer:
        """The recorded answers to this very request in turn, the last one again and again."""
        found = self._answers.get(identity(body))
        if found is None:
            raise Refused(404, "this request is not among the recordings", "not_recorded")
        return found.pop(0) if len(found) > 1 else found[0]


def _written(path: Path) -> Answer:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".txt":
        return Answer(text.strip())
    try:
        said: Any = msgspec.json.decode(text)
    except msgspec.DecodeError as problem:
        raise Refused(500, f"{path.name} is no JSON: {problem}", "by_hand") from None
    if isinstance(said, dict) and cast("dict[str, Any]", said).keys() == {"calls"}:
        return Answer(calls=msgspec.convert(cast("dict[str, Any]", said)["calls"], list[Call]))
    return Answer(msgspec.json.encode(said).decode())


def _put(path: Path, data: bytes) -> None:
    """Write whole or not at all, for whoever watches the folder."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.rename(path)


def _readable(body: ChatBody) -> str:
    parts: list[str] = []
    for message in body.messages:
        parts.append(f"## {message.role}\n\n{message.text}")
        for call in message.tool_calls or []:
            parts.append(f"calls {call.function.name}({call.function.arguments})")
    for tool in body.tools or []:
        shape = msgspec.json.encode(tool.function.parameters).decode()
        parts.append(f"## tool {tool.function.name}\n\n{tool.function.description}\n\n{shape}")
    if body.schema:
        parts.append("## the answer's JSON Schema\n\n" + msgspec.json.encode(body.schema).decode())
    return "\n\n".join(parts) + "\n"
