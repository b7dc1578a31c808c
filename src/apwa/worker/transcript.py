"""What was said in an attempt of several turns, kept small enough for a journal."""

from __future__ import annotations

import zlib

import msgspec

from apwa.models import Message, Part, Text

MOST_BYTES = 256 * 1024
_CLIP = 4000  # characters of one message, where the whole would be too long
_FIRST, _LAST = 2, 20  # messages kept, where that is still too long


def transcript_of(messages: list[Message]) -> bytes:
    """Messages as compressed JSON; nothing for an attempt of one plain call."""
    if not messages:
        return b""
    shown = [_without_images(message) for message in messages]
    packed = _packed(shown)
    if len(packed) > MOST_BYTES:
        shown = [_clipped(message) for message in shown]
        packed = _packed(shown)
    if len(packed) > MOST_BYTES:
        left_out = Message("system", [Text(f"[{len(shown) - _FIRST - _LAST} messages left out]")])
        packed = _packed([*shown[:_FIRST], left_out, *shown[-_LAST:]])
    return packed


def read_transcript(data: bytes) -> list[Message]:
    """What ``transcript_of`` kept."""
    return msgspec.json.decode(zlib.decompress(data), type=list[Message]) if data else []


def _packed(messages: list[Message]) -> bytes:
    return zlib.compress(msgspec.json.encode(messages), 6)


def _without_images(message: Message) -> Message:
    parts: list[Part] = [
        part if isinstance(part, Text) else Text(f"[image, {len(part.data)} bytes]")
        for part in message.parts
    ]
    return msgspec.structs.replace(message, parts=parts)


def _clipped(message: Message) -> Message:
    calls = [
        msgspec.structs.replace(call, arguments=call.arguments[:_CLIP])
        for call in message.calls[:_LAST]
    ]
    return msgspec.structs.replace(message, parts=[Text(message.text[:_CLIP])], calls=calls)
