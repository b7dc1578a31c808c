"""A real endpoint on a loopback socket that says what a test tells it to, and a driver of hosts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from apwa.executor.seam import Host
from apwa.vocabulary import ContractSpec, LeaseItem, Outcome, Price, TagSpec, WorkSpec
from apwa.vocabulary.messages import (
    Ack,
    FromHost,
    Grant,
    Lease,
    OpenStep,
    Outcomes,
)

T = TypeVar("T")
Body = dict[str, Any]
Answer = Callable[[Body], web.Response | None]

SCHEMA: Body = {
    "type": "object",
    "properties": {"tone": {"type": "string"}, "stars": {"type": "integer", "minimum": 1}},
    "required": ["tone", "stars"],
    "additionalProperties": False,
}


def says(text: str, *, finish: str = "stop", tokens: tuple[int, int] = (50, 10)) -> web.Response:
    return _completion({"role": "assistant", "content": text}, finish, tokens)


def calls(*tools: tuple[str, str]) -> web.Response:
    made = [
        {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(tools)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": made}
    return _completion(message, "tool_calls", (50, 10))


def fails(status: int, message: str, **headers: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message}},
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def _completion(message: Body, finish: str, tokens: tuple[int, int]) -> web.Response:
    put_in, put_out = tokens
    return web.json_response(
        {
            "id": "x",
            "model": "fake-1",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": put_in, "completion_tokens": put_out},
        }
    )


GOOD = '{"tone": "good", "stars": 5}'


def user_text(body: Body) -> str:
    return body["messages"][1]["content"]


@dataclass
class FakeEndpoint:
    """Answers by ``answer``; None holds the call until ``release`` is set."""

    answer: Answer = lambda body: says(GOOD)
    seen: list[Body] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        self.seen.append(body)
        response = self.answer(body)
        if response is None:
            await self.release.wait()
            return says(GOOD)
        return response

    def one_after_the_other(self, *answers: Callable[[], web.Response]) -> None:
        left = list(answers)
        self.answer = lambda body: left.pop(0)()


@asynccontextmanager
async def serving(endpoint: FakeEndpoint) -> AsyncIterator[FakeEndpoint]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    endpoint.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield endpoint
    finally:
        endpoint.release.set()
        await runner.cleanup()


def a_step(**changes: Any) -> WorkSpec:
    contract = {"schema": SCHEMA, **changes.pop("contract", {})}
    return WorkSpec(
        **{
            "step": "rate",
            "system": "Rate <body>.",
            "tags": [TagSpec("body", "body")],
            "nonce": "n0nce",
            "columns": ["body"],
            "contract": ContractSpec(**contract),
            "endpoint": "fake",
            "model": "fake-1",
            "prefix_hash": b"p" * 16,
            "price": Price(10.0, 20.0),
            **changes,
        }
    )


def items(*ids: int) -> list[LeaseItem]:
    return [LeaseItem(n, n * 10, 0, b"key", [f"row {n}"]) for n in ids]


class Driver:
    """Stands where the executor stands: sends, listens, acknowledges."""

    def __init__(self, host: Host, *, acks: bool = True) -> None:
        self.host = host
        self.acks = acks
        self.heard: list[FromHost] = []
        self.news = asyncio.Condition()
        self.listening = asyncio.create_task(self.listen())

    async def listen(self) -> None:
        async for message in self.host.messages():
            if self.acks and isinstance(message, Outcomes):
                self.host.send(Ack([outcome.lease_id for outcome in message.items]))
            async with self.news:
                self.heard.append(message)
                self.news.notify_all()

    def of(self, kind: type[T]) -> list[T]:
        return [message for message in self.heard if isinstance(message, kind)]

    @property
    def outcomes(self) -> Mapping[int, Outcome]:
        return {o.lease_id: o for message in self.of(Outcomes) for o in message.items}

    async def until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(ready)

    async def work(self, spec: WorkSpec, *ids: int, slots: int = 8) -> Mapping[int, Outcome]:
        """Work rows to their outcomes."""
        self.host.send(OpenStep("run", spec))
        self.host.send(Grant(spec.endpoint, slots))
        self.host.send(Lease("run", spec.step, items(*ids)))
        await self.until(lambda: set(ids) <= self.outcomes.keys())
        return self.outcomes
