"""A mock endpoint that answers at once: one fixed reply over bare asyncio, for benches only.

    python bench/mock_endpoint.py [--cpu N]

Prints its address, and serves until its stdin closes. It is no model and says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

ANSWER = {"label": "positive", "reason": "It says so."}


def _reply(prompt_tokens: int) -> bytes:
    body = json.dumps(
        {
            "id": "mock",
            "object": "chat.completion",
            "model": "mock",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": json.dumps(ANSWER)},
                }
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": 12,
                "total_tokens": prompt_tokens + 12,
            },
        }
    ).encode()
    return _http(body)


def _http(body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


MODELS = _http(b'{"object":"list","data":[{"id":"mock","object":"model","context_length":131072}]}')


class Mock(asyncio.Protocol):
    """Reads requests by their content-length and writes the fixed reply."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (head_end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:head_end].lower()
            at = head.find(b"content-length:")
            length = (
                int(head[at + 15 : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None])
                if at >= 0
                else 0
            )
            end = head_end + 4 + length
            if len(self.buffer) < end:
                return
            self.buffer = self.buffer[end:]
            self.transport.write(MODELS if head.startswith(b"get") else _reply(length // 4))


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Mock, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", type=int)
    cpu = parser.parse_args().cpu
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    asyncio.run(serve())
