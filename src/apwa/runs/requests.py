"""What was sent for one row, as a line for a shell: the request itself, the key by its name."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import msgspec

from apwa.journal import JournalReader
from apwa.models import (
    ChatRequest,
    Dialect,
    EndpointTraits,
    Image,
    Message,
    OpenAICodec,
    Text,
    ToolSpec,
    Way,
    WireRequest,
    curl_line,
    native_wire,
    shell_options,
)
from apwa.plan import user_message
from apwa.vocabulary import Misuse, Values, WorkSpec
from apwa.worker import request_of


def shell_line(reader: JournalReader, spec: WorkSpec, tools: list[ToolSpec], values: Values) -> str:
    """The first request of a row as a ``curl`` line; empty if its endpoint was never reached.

    Args:
        reader: Of the run.
        spec: The row's step.
        tools: What its grants show the model.
        values: The row's values, in the order of the step's columns.
    """
    way, traits = reader.fact(f"way:{spec.endpoint}"), reader.fact(f"traits:{spec.endpoint}")
    if not way or not traits:
        return ""
    reached = msgspec.msgpack.decode(way, type=Way)
    if not reached.address:
        return ""
    dialect = msgspec.msgpack.decode(traits, type=EndpointTraits).dialect
    shared = request_of(spec)
    text, _ = user_message(spec, values)
    images: list[dict[str, Any]] = [
        image
        for tag, value in zip(spec.tags, values, strict=False)
        if tag.images
        for image in value or ()
    ]
    # a picture by its size: its bytes would fill the terminal
    left_out = [f"[{image['size']:,} bytes left out]".encode() for image in images]
    parts = [Image(image["type"], words) for image, words in zip(images, left_out, strict=True)]
    user = Message("user", [Text(text), *parts])
    request = msgspec.structs.replace(shared, messages=[*shared.messages, user], tools=tools)
    sent = _sent(reached, dialect, request)
    if sent is None:
        return ""
    wire, key_header = sent
    for words in left_out:
        body = wire.body.replace(base64.b64encode(words), words)
        wire = msgspec.structs.replace(wire, body=body)
    line = curl_line(wire, reached.key_in_shell, key_header, reached.headers)
    return f"{line} {shell_options(reached)}".rstrip() if reached.provider else line


def _sent(way: Way, dialect: Dialect, request: ChatRequest) -> tuple[WireRequest, str] | None:
    if not way.provider:
        return OpenAICodec(way.address, dialect, way.headers).encode(request), way.key_header
    try:
        return asyncio.run(native_wire(way, request, dialect))
    except Misuse:  # the provider's libraries are not installed here
        return None
