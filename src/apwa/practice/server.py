"""The practice model's server: the OpenAI protocol over aiohttp, faults and all.

A request is read, the dice say what goes wrong with it, and whoever sits in the chair answers.
Every reply says that it comes from the practice model.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from apwa.practice.chairs import Chair
from apwa.practice.costumes import COSTUMES, as_call, forced
from apwa.practice.faults import Dice
from apwa.practice.slips import slip
from apwa.practice.wire import (
    FINGERPRINT,
    MODEL,
    Answer,
    ChatBody,
    Refused,
    Reply,
    events,
    identity,
    read_body,
    reply,
)

_LARGEST_BODY = 64 << 20
_HANG_S = 3600.0


class PracticeServer:
    """Answers requests; ``app`` is what aiohttp serves."""

    def __init__(self, chair: Chair, dice: Dice, now: Callable[[], float] = time.monotonic) -> None:
        self._chair = chair
        self._dice = dice
        self._costume = COSTUMES[dice.faults.costume]
        self._now = now
        self._start = now()
        self._in_flight = 0
        self.answered = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/api/ps", self._loaded)
        app.router.add_get("/health", self._health)
        return app

    async def _models(self, _request: web.Request) -> web.Response:
        return _json({"object": "list", "data": [self._costume.model_card()]})

    async def _loaded(self, _request: web.Request) -> web.Response:
        """Where Ollama, and no other, tells the context that it serves."""
        if not self._costume.cuts:
            raise web.HTTPNotFound
        model = {"name": MODEL, "model": MODEL, "context_length": self._costume.context}
        return _json({"models": [model]})

    async def _health(self, _request: web.Request) -> web.Response:
        faults = dict(self._dice.drawn)
        return _json({"status": "ok", "model": MODEL, "answered": self.answered, "faults": faults})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        try:
            return await self._answer(request, await request.read())
        except Refused as refused:
            return self._refusal(refused)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request, data: bytes) -> web.StreamResponse:
        faults = self._dice.faults
        body = read_body(data)
        drawn: frozenset[str] = frozenset()
        if faults.rates:
            drawn = self._dice.draw(identity(body).encode(), self._now() - self._start)
        if faults.latency_s or faults.jitter_s:
            await asyncio.sleep(self._dice.latency_s())
        self._check_parameters(data, body)
        self._costume.check(data, body)
        if "blind" in drawn and any(message.images for message in body.messages):
            self._dice.count("blind")
            raise Refused(
                400, "Image input is not supported by this model.", "invalid_request_error"
            )
        if drawn and (instead := await self._instead(request, drawn)) is not None:
            return instead
        heard, prompt = self._costume.hear(body)
        call = forced(heard)
        answer = await self._chair.answer(call or heard, obey="obey" in drawn)
        if call is not None:
            answer = as_call(answer, call)
        if drawn:
            answer = self._spoilt(answer, drawn)
        request_id = hashlib.blake2b(data, digest_size=12).hexdigest()
        whole = reply(answer, request_id, prompt, body.output_limit, cut="cut" in drawn)
        whole = self._costume.put(whole, body.output_limit)
        if "cut" in drawn:
            self._dice.count("cut")
        if "no_usage" in drawn:
            self._dice.count("no_usage")
            whole = msgspec.structs.replace(whole, usage=None)
        self.answered += 1
        return await _streamed(request, body, whole) if body.stream else _json(whole)

    def _check_parameters(self, data: bytes, body: ChatBody) -> None:
        faults = self._dice.faults
        if faults.slots and self._in_flight > faults.slots:
            self._dice.count("slots")
            raise Refused(429, "Too many requests in flight.", "rate_limit_error", "rate_limit")
        if faults.refuse_params:
            given = msgspec.json.decode(data)
            for name in faults.refuse_params:
                if name in given:
                    self._dice.count("refuse_param")
                    words = f"Unsupported parameter: '{name}' is not supported with this model."
                    raise Refused(400, words, "invalid_request_error", "unsupported_parameter")
        if faults.marker and any(faults.marker in message.text for message in body.messages):
            self._dice.count("marker")
            raise Refused(400, "The request was not accepted.", "invalid_request_error")

    async def _instead(
        self, request: web.Request, drawn: frozenset[str]
    ) -> web.StreamResponse | None:
        """What comes instead of an answer; None if an answer does."""
        for name in ("reset", "hang", "html", *_ERRORS):
            if name not in drawn:
                continue
            self._dice.count(name)
            if name == "reset":
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            if name == "hang":
                await asyncio.sleep(_HANG_S)
            if name == "html":
                return web.Response(status=502, text=_GATEWAY, content_type="text/html")
            raise _ERRORS[name]
        return None

    def _spoilt(self, answer: Answer, drawn: frozenset[str]) -> Answer:
        """The answer as a model that misbehaves gives it."""
        for name in ("refuse", "empty", "broken", "ignore_schema", "obey", "slip"):
            if name not in drawn or (answer.calls and name in ("broken", "ignore_schema")):
                continue
            if name == "slip" and slip(answer.text) == answer.text:
                continue  # no redaction, or nothing in it to be replaced
            self._dice.count(name)
            if name == "refuse":
                return Answer("I'm sorry, but I can't help with that.", refused=True)
            if name == "empty":
                return Answer("")
            if name == "broken":
                return Answer(answer.text[: max(1, len(answer.text) * 2 // 3)])
            if name == "ignore_schema":
                return Answer("Sure! I have read it with care and it is all quite clear.")
            if name == "slip":
                return Answer(slip(answer.text))
        return answer

    def _refusal(self, refused: Refused) -> web.Response:
        error = {
            "message": refused.message,
            "type": refused.kind,
            "code": refused.code,
            "model": MODEL,
        }
        if refused.param:
            error["param"] = refused.param
        headers: dict[str, str] = {}
        wait = self._dice.faults.retry_after_s
        if refused.status == 429 and refused.code != "insufficient_quota" and wait is not None:
            headers["Retry-After"] = f"{wait:g}"
        return _json({"error": error}, refused.status, headers)


_ERRORS = {
    "401": Refused(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "quota": Refused(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "gone": Refused(
        404, f"The model `{MODEL}` does not exist.", "invalid_request_error", "model_not_found"
    ),
    "429": Refused(429, "Rate limit reached.", "rate_limit_error", "rate_limit_exceeded"),
    "500": Refused(500, "The server had an error.", "server_error"),
    "400": Refused(400, "The request was not accepted.", "invalid_request_error"),
}
_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"


def _json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(data),
        status=status,
        headers={"X-Model": FINGERPRINT, **(headers or {})},
        content_type="application/json",
    )


async def _streamed(request: web.Request, body: ChatBody, whole: Reply) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "X-Model": FINGERPRINT}
    )
    await response.prepare(request)
    options = body.stream_options
    for event in events(whole, usage=options is not None and options.include_usage):
        await response.write(event)
    await response.write_eof()
    return response
