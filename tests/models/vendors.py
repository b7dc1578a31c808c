"""Loopback servers that speak the vendors' own protocols; their official SDKs read the replies.

What a request asks for decides the reply: a forced tool or a schema brings ``{"label": "a"}``, an
offered tool is called once, a text in the prompt (``RATE LIMIT`` and the like) brings a failure,
``THINK ALOUD`` thoughts before the answer, ``FILTER THIS`` an answer that a filter has stopped.
"""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Json = dict[str, Any]
ANSWER = '{"label": "a"}'
_COUNTS = {  # where each tells the tokens that it was sent
    "anthropic": ("usage", "input_tokens"),
    "openai": ("usage", "input_tokens"),
    "google": ("usageMetadata", "promptTokenCount"),
    "bedrock": ("usage", "inputTokens"),
}


class Vendors:
    """All four, on one port; keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.vendors: list[str] = []
        self.counting = False  # whether usage follows what was sent
        self.ending = ""  # how each answer ends, if not as it should
        self.error: Json | None = None  # what a response of OpenAI's failed with
        self.refusing = ""  # why the next request is refused

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body: Json = await request.json()
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        path, text = request.path, json.dumps(body)
        self.paths.append(request.raw_path)
        vendor = _vendor(path)
        self.vendors.append(vendor)
        if self.refusing:
            words, self.refusing = self.refusing, ""
            return web.json_response(_refusal(vendor, words), status=400)
        for mark, failures in FAILURES.items():
            if mark in text:
                status, error, headers = failures[vendor]
                return web.json_response(error, status=status, headers=headers)
        stream = bool(body.get("stream")) or "stream" in path.lower()
        limited = "LIMIT REACHED" in text
        call = _call(vendor, body, text)
        made = _REPLIES[vendor](call, limited)
        if self.ending:
            _end(vendor, made, self.ending)
        if self.error is not None:
            made |= {"status": "failed", "error": self.error, "output": []}
        if "FILTER THIS" in text:
            _filter(vendor, made)
        if "THINK ALOUD" in text:
            _parts(vendor, made).insert(0, THOUGHTS[vendor])
        if self.counting:
            usage, field = _COUNTS[vendor]
            made[usage][field] = len(text) // 3
        if not stream:
            return web.json_response(made)
        kind = "text/event-stream"
        if vendor == "bedrock":
            kind = "application/vnd.amazon.eventstream"
        response = web.StreamResponse(headers={"content-type": kind})
        await response.prepare(request)
        for event in _STREAMS[vendor](made):
            await response.write(event)
        await response.write_eof()
        return response


@asynccontextmanager
async def vendors() -> AsyncIterator[Vendors]:
    served = Vendors()
    app = web.Application()
    app.router.add_post("/{rest:.*}", served.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


def _vendor(path: str) -> str:
    if path.endswith("/messages"):
        return "anthropic"
    if path.endswith("/responses"):
        return "openai"
    return "bedrock" if path.startswith("/model/") else "google"


def _call(vendor: str, body: Json, text: str) -> tuple[str, Json] | None:
    """The tool that is called, with its arguments: the forced one, or ``look`` the first time."""
    if '"answer"' in text and "tool" in text.lower() and '"strict"' not in text:
        return "answer", json.loads(ANSWER)
    answered = any(mark in text for mark in ("tool_result", "functionResponse", "toolResult"))
    if '"look"' in text and not answered and "function_call_output" not in text:
        return "look", {"what": "it"}
    return None


# ---- failures, as the vendors' references have them

_SLOW = {"retry-after": "7"}
FAILURES: dict[str, dict[str, tuple[int, Json, dict[str, str]]]] = {
    "RATE LIMIT": {
        "anthropic": (
            429,
            {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
            _SLOW,
        ),
        "openai": (
            429,
            {
                "error": {
                    "message": "Rate limit reached",
                    "type": "requests",
                    "code": "rate_limit_exceeded",
                }
            },
            _SLOW,
        ),
        "google": (
            429,
            {
                "error": {
                    "code": 429,
                    "message": "Resource has been exhausted",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [
                        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
                    ],
                }
            },
            {},
        ),
        "bedrock": (
            429,
            {"message": "Too many requests, please wait before trying again."},
            {"x-amzn-errortype": "ThrottlingException"},
        ),
    },
    "WRONG KEY": {
        "anthropic": (
            401,
            {
                "type": "error",
                "error": {"type": "authentication_error", "message": "invalid x-api-key"},
            },
            {},
        ),
        "openai": (
            401,
            {
                "error": {
                    "message": "Incorrect API key provided: sk-canary",
                    "code": "invalid_api_key",
                }
            },
            {},
        ),
        "google": (
            400,
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                }
            },
            {},
        ),
        "bedrock": (
            403,
            {"message": "The security token included in the request is invalid."},
            {"x-amzn-errortype": "UnrecognizedClientException"},
        ),
    },
    "TOO LONG": {
        "anthropic": (
            400,
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "prompt is too long: 205000 tokens > 200000 maximum",
                },
            },
            {},
        ),
        "openai": (
            400,
            {
                "error": {
                    "message": "Your input exceeds the context window of this model.",
                    "type": "invalid_request_error",
                    "code": "context_length_exceeded",
                }
            },
            {},
        ),
        "google": (
            400,
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (2000000) exceeds the maximum number of"
                    " tokens allowed (1048576).",
                    "status": "INVALID_ARGUMENT",
                }
            },
            {},
        ),
        "bedrock": (
            400,
            {"message": "Input is too long for requested model."},
            {"x-amzn-errortype": "ValidationException"},
        ),
    },
}


# ---- replies


def _anthropic(call: tuple[str, Json] | None, limited: bool) -> Json:
    content: list[Json] = [{"type": "text", "text": ANSWER}]
    if call is not None:
        content = [{"type": "tool_use", "id": "toolu_1", "name": call[0], "input": call[1]}]
    stop = "max_tokens" if limited else "tool_use" if call else "end_turn"
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": stop, "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 90,
                  "cache_creation_input_tokens": 0, "output_tokens": 12},
    }  # fmt: skip


def _openai(call: tuple[str, Json] | None, limited: bool) -> Json:
    output: list[Json] = [
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": ANSWER, "annotations": []}]}
    ]  # fmt: skip
    if call is not None:
        output = [
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": call[0],
             "arguments": json.dumps(call[1]), "status": "completed"}
        ]  # fmt: skip
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": output,
        "status": "incomplete" if limited else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if limited else None,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 90},
                  "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 5},
                  "total_tokens": 112},
    }  # fmt: skip


def _google(call: tuple[str, Json] | None, limited: bool) -> Json:
    part: Json = {"text": ANSWER}
    if call is not None:
        part = {"functionCall": {"name": call[0], "args": call[1]}}
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0,
                        "finishReason": "MAX_TOKENS" if limited else "STOP"}],
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 7,
                          "thoughtsTokenCount": 5, "cachedContentTokenCount": 90,
                          "totalTokenCount": 112},
        "modelVersion": "m", "responseId": "r1",
    }  # fmt: skip


def _bedrock(call: tuple[str, Json] | None, limited: bool) -> Json:
    content: Json = {"text": ANSWER}
    if call is not None:
        content = {"toolUse": {"toolUseId": "tooluse_1", "name": call[0], "input": call[1]}}
    stop = "max_tokens" if limited else "tool_use" if call else "end_turn"
    return {
        "output": {"message": {"role": "assistant", "content": [content]}}, "stopReason": stop,
        "usage": {"inputTokens": 10, "outputTokens": 12, "totalTokens": 112,
                  "cacheReadInputTokens": 90, "cacheWriteInputTokens": 0},
        "metrics": {"latencyMs": 1},
    }  # fmt: skip


THOUGHTS: dict[str, Json] = {
    "anthropic": {"type": "thinking", "thinking": "let me see", "signature": "c2lnbmVk"},
    "openai": {"type": "reasoning", "id": "rs_1",
               "summary": [{"type": "summary_text", "text": "let me see"}]},
    "google": {"text": "let me see", "thought": True},
    "bedrock": {"reasoningContent": {"reasoningText": {"text": "let me see",
                                                       "signature": "c2lnbmVk"}}},
}  # fmt: skip


def _end(vendor: str, made: Json, reason: str) -> None:
    if vendor == "google":
        made["candidates"][0]["finishReason"] = reason
    else:
        made[{"anthropic": "stop_reason", "bedrock": "stopReason", "openai": "status"}[vendor]] = (
            reason
        )


def _refusal(vendor: str, words: str) -> Json:
    if vendor == "bedrock":
        return {"message": words}
    if vendor == "google":
        return {"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}
    error = {"type": "invalid_request_error", "message": words}
    return {"type": "error", "error": error} if vendor == "anthropic" else {"error": error}


def _parts(vendor: str, made: Json) -> list[Json]:
    """Where a reply has what the model said."""
    if vendor == "bedrock":
        return made["output"]["message"]["content"]
    if vendor == "google":
        return made["candidates"][0]["content"]["parts"]
    return made["content" if vendor == "anthropic" else "output"]


def _filter(vendor: str, made: Json) -> None:
    """What a provider's filter leaves of a reply, as the vendors' references have it."""
    if vendor == "anthropic":
        made["stop_reason"] = "refusal"
    elif vendor == "google":
        made["candidates"][0]["finishReason"] = "SAFETY"
    elif vendor == "bedrock":
        made["stopReason"] = "content_filtered"
    else:
        made |= {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    if vendor != "openai":
        _parts(vendor, made)[:] = [{"type": "text", "text": "I"}] if vendor == "anthropic" else []
    if vendor == "bedrock":
        _parts(vendor, made).append({"text": "[blocked]"})


# ---- streams


def _sse(data: Json) -> bytes:
    head = f"event: {data['type']}\n" if "type" in data else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def _anthropic_stream(whole: Json) -> list[bytes]:
    start = {
        **whole,
        "content": [],
        "stop_reason": None,
        "usage": {**whole["usage"], "output_tokens": 1},
    }
    events = [{"type": "message_start", "message": start}]
    for at, block in enumerate(whole["content"]):
        if block["type"] == "text":
            opened: Json = {"type": "text", "text": ""}
            said = block["text"]
            pieces: list[Json] = [{"type": "text_delta", "text": c} for c in (said[:5], said[5:])]
        elif block["type"] == "thinking":
            opened = {"type": "thinking", "thinking": "", "signature": ""}
            pieces = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        else:
            opened = {**block, "input": {}}
            pieces = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append({"type": "content_block_start", "index": at, "content_block": opened})
        events += [{"type": "content_block_delta", "index": at, "delta": p} for p in pieces]
        events.append({"type": "content_block_stop", "index": at})
    events.append(
        {"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"],
         "stop_sequence": None}, "usage": {"output_tokens": whole["usage"]["output_tokens"]}}
    )  # fmt: skip
    return [_sse(event) for event in (*events, {"type": "message_stop"})]


def _openai_stream(whole: Json) -> list[bytes]:
    begun = {**whole, "output": [], "status": "in_progress", "usage": None}
    events: list[Json] = [{"type": "response.created", "response": begun}]
    for number, item in enumerate(whole["output"]):
        at = {"output_index": number, "item_id": item["id"]}
        started = {**item, "status": "in_progress"}
        if item["type"] == "message":
            text = {"content_index": 0, **at}
            events += [
                {"type": "response.output_item.added", "output_index": number,
                 "item": {**started, "content": []}},
                {"type": "response.content_part.added", **text,
                 "part": {"type": "output_text", "text": "", "annotations": []}},
                {"type": "response.output_text.delta", **text, "delta": ANSWER, "logprobs": []},
                {"type": "response.output_text.done", **text, "text": ANSWER, "logprobs": []},
            ]  # fmt: skip
        elif item["type"] == "reasoning":
            (said,) = item["summary"]
            part = {"summary_index": 0, **at}
            events += [
                {"type": "response.output_item.added", "output_index": number,
                 "item": {**started, "summary": []}},
                {"type": "response.reasoning_summary_part.added", **part,
                 "part": {"type": "summary_text", "text": ""}},
                {"type": "response.reasoning_summary_text.delta", **part, "delta": said["text"]},
                {"type": "response.reasoning_summary_text.done", **part, "text": said["text"]},
                {"type": "response.reasoning_summary_part.done", **part, "part": said},
            ]  # fmt: skip
        else:
            events += [
                {"type": "response.output_item.added", "output_index": number,
                 "item": {**started, "arguments": ""}},
                {"type": "response.function_call_arguments.delta", **at,
                 "delta": item["arguments"]},
                {"type": "response.function_call_arguments.done", **at, "name": item["name"],
                 "arguments": item["arguments"]},
            ]  # fmt: skip
        events.append({"type": "response.output_item.done", "output_index": number, "item": item})
    events.append({"type": f"response.{whole['status']}", "response": whole})
    return [_sse({**event, "sequence_number": n}) for n, event in enumerate(events)]


def _google_stream(whole: Json) -> list[bytes]:
    return [f"data: {json.dumps(whole)}\r\n\r\n".encode()]


def _bedrock_stream(whole: Json) -> list[bytes]:
    events = [_aws("messageStart", {"role": "assistant"})]
    for at, content in enumerate(whole["output"]["message"]["content"]):
        deltas: list[Json] = [{"text": content.get("text", "")}]
        if "toolUse" in content:
            tool = content["toolUse"]
            named = {"toolUseId": tool["toolUseId"], "name": tool["name"]}
            start = {"contentBlockIndex": at, "start": {"toolUse": named}}
            events.append(_aws("contentBlockStart", start))
            deltas = [{"toolUse": {"input": json.dumps(tool["input"])}}]
        elif "reasoningContent" in content:
            said = content["reasoningContent"]["reasoningText"]
            deltas = [{"reasoningContent": {name: said[name]}} for name in ("text", "signature")]
        for delta in deltas:
            events.append(_aws("contentBlockDelta", {"contentBlockIndex": at, "delta": delta}))
        events.append(_aws("contentBlockStop", {"contentBlockIndex": at}))
    return [
        *events,
        _aws("messageStop", {"stopReason": whole["stopReason"]}),
        _aws("metadata", {"usage": whole["usage"], "metrics": whole["metrics"]}),
    ]


def _aws(kind: str, data: Json) -> bytes:
    """An event in AWS's binary frame: lengths, their checksum, headers, payload, checksum."""
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"),
                        (":message-type", "event")):  # fmt: skip
        headers += struct.pack("!B", len(name)) + name.encode() + b"\x07"
        headers += struct.pack("!H", len(value)) + value.encode()
    payload = json.dumps(data).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", binascii.crc32(message))


_REPLIES = {"anthropic": _anthropic, "openai": _openai, "google": _google, "bedrock": _bedrock}
_STREAMS = {
    "anthropic": _anthropic_stream,
    "openai": _openai_stream,
    "google": _google_stream,
    "bedrock": _bedrock_stream,
}
