"""Servers on loopback that give files: an S3 server, and a web server that can misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import Any

from aiohttp import web


class WebServer:
    """Gives ``content`` at any path, in a thread of its own, as its fields say.

    Attributes:
        break_after: Bytes after which a reply breaks off; each reply breaks, and later ones go on.
        hold: Says nothing while it is set.
        statuses: Answered one after another before anything is given.
        seen: (path with query, range header) of each request.
    """

    def __init__(self) -> None:
        self.content = b""
        self.headers: dict[str, str] = {}
        self.break_after: int | None = None
        self.ranges = True
        self.statuses: list[int] = []
        self.hold = False
        self.redirect_to: Callable[[str], str] | None = None
        self.seen: list[tuple[str, str]] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner: Any = None

        async def begin() -> None:
            nonlocal runner
            app = web.Application()
            app.router.add_get("/{path:.*}", self._give)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

        self._loop.run_until_complete(begin())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _give(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("range", "")
        self.seen.append((request.path_qs, asked))
        while self.hold:
            await asyncio.sleep(0.05)
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), text=str(request.url))
        if self.redirect_to is not None and (to := self.redirect_to(request.path)):
            return web.Response(status=302, headers={"location": to})
        etag = f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'
        start = 0
        if asked and self.ranges and request.headers.get("if-range") == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        data = self.content[start:]
        reply = web.StreamResponse(
            status=206 if start else 200, headers={"etag": etag, **self.headers}
        )
        if start:
            end = len(self.content)
            reply.headers["content-range"] = f"bytes {start}-{end - 1}/{end}"
        reply.content_length = len(data)
        await reply.prepare(request)
        if request.method == "HEAD":
            return reply
        if self.break_after is not None and len(data) > self.break_after:
            await reply.write(data[: self.break_after])
            await asyncio.sleep(0.05)  # so that what was written arrives
            assert request.transport is not None
            request.transport.abort()
            return reply
        await reply.write(data)
        return reply


class S3Server:
    """moto's S3 over real HTTP; the bucket ``bucket`` is there."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.env = {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE000000000",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-test-store", "AWS_REGION": "us-east-1",
        }  # fmt: skip
        import boto3

        self.client: Any = boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1",
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        self.client.create_bucket(Bucket="bucket")

    def put(self, **objects: bytes) -> None:
        for key, content in objects.items():
            self.client.put_object(Bucket="bucket", Key=key, Body=content)

    def stop(self) -> None:
        self._server.stop()
