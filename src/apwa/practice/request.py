"""Understanding a request: who asks (a manager, a worker, somebody else), and what for.

Nothing here knows apwa's code: only what its prompts say in plain sight, the tagged values,
the JSON Schema of the answer, the names of the tools.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from apwa.practice.wire import ChatBody

Fields = Mapping[str, str]
"""Values by tag name, in the order of the message."""

MANAGER_TOOLS = frozenset({"put_steps", "finish"})


@dataclass(frozen=True, slots=True)
class Work:
    """A worker's request, understood.

    Attributes:
        instruction: What is to be done, without the frame around it.
        schema: The JSON Schema of the answer; None if the request names none.
        items: The values of one row, or of each item of a reduce.
        reduce: Whether several items came.
        complaint: What was wrong with the last answer, in a repair round.
        rounds: How many answers have been sent back so far.
    """

    instruction: str
    schema: dict[str, Any] | None
    items: tuple[Fields, ...]
    reduce: bool = False
    complaint: str = ""
    rounds: int = 0

    @property
    def fields(self) -> Fields:
        """The values of the first item."""
        return self.items[0] if self.items else {}

    @property
    def blank(self) -> bool:
        """Whether no value says anything."""
        return not any(value.strip() for item in self.items for value in item.values())

    @property
    def text(self) -> str:
        """The longest value: what the work is about."""
        if self.reduce:
            return "\n".join(max(item.values(), key=len, default="") for item in self.items)
        return max(self.fields.values(), key=len, default="")


def is_manager(body: ChatBody) -> bool:
    """Whether the tools offered are those of a planning agent."""
    return {tool.function.name for tool in body.tools or []} >= MANAGER_TOOLS


def understand(body: ChatBody) -> Work:
    """Read a request that is no manager's."""
    system = "\n\n".join(m.text for m in body.messages if m.role in ("system", "developer"))
    users = [m.text for m in body.messages if m.role == "user"]
    rounds = sum(1 for m in body.messages if m.role == "assistant" and not m.tool_calls)
    first = users[0] if users else ""
    items, reduce = read_values(first)
    instruction, told = _instruction(system)
    if not items:
        items = ({"text": first},) if first else ()
    return Work(
        instruction=instruction or first,
        schema=body.schema or told,
        items=items,
        reduce=reduce,
        complaint=users[-1] if len(users) > 1 and rounds else "",
        rounds=rounds,
    )


_PICTURES = re.compile(r"(?:\[image \d+\]\s*)+")
_OPEN = re.compile(r"<([a-z0-9_]{1,32})-([0-9a-zA-Z]{4,64})>")


def read_values(message: str) -> tuple[tuple[Fields, ...], bool]:
    """The tagged values of a user message, and whether they are items of a reduce."""
    first = _OPEN.search(message)
    if first is None:
        return (), False
    nonce = first.group(2)
    blocks = _blocks(message, nonce)
    nested = [dict(_blocks(value, nonce)) for name, value in blocks if name == "item"]
    if nested and (len(nested) > 1 or nested[0]):  # else a column that is called "item"
        return tuple(nested), True
    # places of pictures, which this model does not see: it answers by the text beside them
    return ({n: "" if _PICTURES.fullmatch(value) else value for n, value in blocks},), False


def _blocks(text: str, nonce: str) -> list[tuple[str, str]]:
    """The outermost tagged blocks, each with its name, without the line breaks of the frame."""
    found: list[tuple[str, str]] = []
    opening = re.compile(rf"<([a-z0-9_]{{1,32}})-{re.escape(nonce)}>")
    at = 0
    while match := opening.search(text, at):
        closing = f"</{match.group(1)}-{nonce}>"
        end = text.find(closing, match.end())
        if end < 0:
            break
        value = text[match.end() : end]
        found.append((match.group(1), value.removeprefix("\n").removesuffix("\n")))
        at = end + len(closing)
    return found


# Sentences of the frame that speak about the message, not about the work.
_FRAME = re.compile(
    r"\b(JSON|schema|tags?|nonce|never (an )?instructions?|untrusted|contract|verbatim)\b", re.I
)


@functools.lru_cache(maxsize=256)
def _instruction(system: str) -> tuple[str, dict[str, Any] | None]:
    """The instruction in a system message, and the JSON Schema that it shows, if any."""
    schema, system = _cut_schema(system)
    told = re.search(r"<(task|instruction)>\s*(.*?)\s*</\1>", system, re.S)
    if told:
        return told.group(2), schema
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", system) if part.strip()]
    kept: list[str] = []
    for paragraph in paragraphs:
        sentences = re.split(r"(?<=[.!?:])\s+", paragraph)
        own = [s for s in sentences if not _FRAME.search(s) or re.search(r"<[a-z0-9_]+>", s)]
        if own:
            kept.append(" ".join(own))
    return "\n".join(kept) or system, schema


def _cut_schema(system: str) -> tuple[dict[str, Any] | None, str]:
    """The first JSON object with ``properties`` in the text, and the text without it."""
    at = 0
    while (start := system.find("{", at)) >= 0:
        end = _object_end(system, start)
        if end:
            try:
                found = msgspec.json.decode(system[start:end], type=dict[str, Any])
            except (msgspec.DecodeError, msgspec.ValidationError):
                found = {}
            if isinstance(found.get("properties"), dict):
                return found, system[:start] + system[end:]
        at = start + 1
    return None, system


def _object_end(text: str, start: int) -> int:
    """Where the JSON object that begins at ``start`` ends; 0 if it does not."""
    depth, quoted, at = 0, False, start
    while at < len(text):
        letter = text[at]
        if letter == "\\" and quoted:
            at += 1
        elif letter == '"':
            quoted = not quoted
        elif not quoted and letter in "{}":
            depth += 1 if letter == "{" else -1
            if depth == 0:
                return at + 1
        at += 1
    return 0
