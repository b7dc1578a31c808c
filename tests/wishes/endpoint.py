"""A real endpoint on a loopback socket that answers each request as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
PROBE = "weather_on_the_moon"


@dataclass(frozen=True)
class Reply:
    body: Body
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    at_once: int = 1  # calls under way when it came, itself included

    @property
    def body(self) -> Body:
        return json.loads(self.raw)

    @property
    def user(self) -> str:
        """The row, as the worker sees it."""
        return next(m["content"] for m in self.body["messages"] if m["role"] == "user")


Answer = Callable[[Request], Reply]


def size(request: Request) -> int:
    """About as many tokens as a real server would count."""
    return sum(len(str(m.get("content") or "")) for m in request.body["messages"]) // 4 + 8


def says(text: str | Body, request: Request, *, finish: str = "stop", **usage: Any) -> Reply:
    """A completion. ``usage`` is laid over the token counts; a value of None takes one away."""
    content = text if isinstance(text, str) else json.dumps(text)
    counts = {"prompt_tokens": size(request), "completion_tokens": 10} | usage
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": finish,
    }
    kept = {name: value for name, value in counts.items() if value is not None}
    return Reply({"id": "x", "model": "scripted-1", "choices": [choice], "usage": kept})


def fails(status: int, message: str, code: str = "", **headers: str) -> Reply:
    error = {"message": message, "type": code or "error", "code": code or None}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply({"error": error}, status, named)


class Scripted:
    """What was asked, in order. ``answer`` may be changed while it serves."""

    def __init__(self, answer: Answer, url: str = "") -> None:
        self.answer = answer
        self.url = url
        self.requests: list[Request] = []
        self.in_flight = 0
        self.probe_tokens = 0  # what it says it has read of the probe, if not all
        self.lock = threading.Lock()

    @property
    def model(self) -> str:
        return f"{self.url}#scripted"

    @property
    def rows(self) -> list[Request]:
        """The calls but for the probe's."""
        return [r for r in self.requests if r.method == "POST" and PROBE not in r.raw.decode()]


@contextmanager
def serving(answer: Answer) -> Iterator[Scripted]:
    """Serve until the block ends. The probe is answered as a sound server answers it."""
    scripted = Scripted(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._note(b"")
            self._give(Reply({"object": "list", "data": [{"id": "scripted"}]}))

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            with scripted.lock:
                scripted.in_flight += 1
            request = self._note(raw)
            if PROBE in request.raw.decode():
                counted = scripted.probe_tokens or size(request)
                reply = says({PROBE: "grapefruit-71"}, request, prompt_tokens=counted)
            else:
                reply = scripted.answer(request)
            with scripted.lock:
                scripted.in_flight -= 1
            self._give(reply)

        def _note(self, raw: bytes) -> Request:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, raw, scripted.in_flight)
            scripted.requests.append(request)
            return request

        def _give(self, reply: Reply) -> None:
            data = json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scripted.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield scripted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
