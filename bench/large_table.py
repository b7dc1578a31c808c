"""A table much larger than the cluster's object store: is it worked, and what does that take?

    python -m bench.large_table [--mb 1000] [--store-mb 300] [--nodes 2] [--apart]

Begins a cluster of nodes with small object stores (real raylets on this machine) and works a
Parquet table of rows of 100 KB each over an endpoint that answers with a digest of the text that it
was sent. With ``--apart`` the nodes do not see the table's file, so that its cells travel from the
driver. In the end every row must be done, with the digest of its own text.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from base64 import b85encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import web
from bench.raylets import add_node, begin_cluster

CHARS = 100_000
GROUP = 50  # rows
PLAN = """
apwa: 1
steps:
  digest:
    over: rows
    template: "Digest {{text}}."
    contract: {digest: str}
"""


@dataclass(frozen=True)
class Found:
    """What came of a run. Sizes in MiB, of the driver and of the largest host."""

    rows: int
    done: int
    wrong: int
    driver_mib: float
    host_mib: float
    seconds: float
    words: str

    @property
    def exact(self) -> bool:
        return self.done == self.rows and not self.wrong


def write_table(path: Path, rows: int) -> list[str]:
    """Write rows of random text that does not compress; their digests."""
    chance = random.Random(1)
    digests: list[str] = []
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for first in range(0, rows, GROUP):
            texts = [
                b85encode(chance.randbytes(CHARS * 4 // 5)).decode()
                for _ in range(min(GROUP, rows - first))
            ]
            digests += [digest(text) for text in texts]
            writer.write_table(pa.table({"text": texts}, schema))
    return digests


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


async def handle(request: web.Request) -> web.Response:
    body = json.loads(await request.read())
    text = body["messages"][-1]["content"]
    inside = text[text.find(">") + 1 : text.rfind("</")].strip("\n")
    message = {"role": "assistant", "content": json.dumps({"digest": digest(inside)})}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": len(str(body)), "completion_tokens": 9}
    return web.json_response({"id": "x", "model": "digests", "choices": [choice], "usage": usage})


async def measure(mb: int, store_mb: int, nodes: int, *, apart: bool) -> Found:
    """Begin a cluster, work the table, end the cluster."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    rows = mb * 1_000_000 // CHARS
    store = store_mb << 20
    cluster = await asyncio.to_thread(
        begin_cluster,
        num_cpus=0,
        include_dashboard=False,
        object_store_memory=store,
        shutdown_at_exit=False,  # which would want the main thread
    )
    try:
        for _ in range(nodes):
            await asyncio.to_thread(add_node, cluster, num_cpus=1, object_store_memory=store)
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            (at / "plan.yaml").write_text(PLAN)
            digests = await asyncio.to_thread(write_table, at / "rows.parquet", rows)
            # what a process calls its own working directory is another one for each
            table = "/proc/self/cwd/rows.parquet" if apart else str(at / "rows.parquet")
            env = os.environ | {"APWA_HOME": str(at / "home"), "RAY_ADDRESS": cluster.address}
            began = time.monotonic()
            with (at / "words.txt").open("wb") as words:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "apwa", "run", "plan.yaml", "-t", f"rows={table}", "-m",
                    f"{url}#digests", "--executor", "ray", "--yes", "--no-pilot", "-o", "out.jsonl",
                    "--display", "plain", "--concurrency", str(32 * nodes), cwd=at,
                    env=env, stdin=asyncio.subprocess.DEVNULL, stdout=words, stderr=words,
                )  # fmt: skip
            ending = asyncio.create_task(process.wait())
            driver = host = 0.0
            while not ending.done():
                await asyncio.wait([ending], timeout=0.5)
                driver = max(driver, _peak_mib(process.pid))
                host = max([host, *(_peak_mib(pid) for pid in _hosts())])
            seconds = time.monotonic() - began
            out = at / "out.jsonl"
            answers: list[dict[str, Any]] = []
            if out.exists():
                answers = [_without_text(line) for line in out.open()]
            return Found(
                rows,
                done=sum(row["_status"] == "done" for row in answers),
                wrong=sum(a["digest"] != d for a, d in zip(answers, digests, strict=False)),
                driver_mib=driver, host_mib=host, seconds=seconds,
                words=(at / "words.txt").read_text()[-2000:],
            )  # fmt: skip
    finally:
        await asyncio.to_thread(cluster.shutdown)
        await runner.cleanup()


def _without_text(line: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line)
    del row["text"]
    return row


def _hosts() -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::HostActor"):
                yield int(path.parent.name)
        except OSError:
            continue


def _peak_mib(process: int) -> float:
    """The most memory of its own that a process has had: shared pages are the object store's."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return int(sizes.get("RssAnon", 0)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--store-mb", type=int, default=300)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--apart", action="store_true")
    given = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    print(
        f"a table of {given.mb:,} MB (rows of {CHARS:,} characters), {given.nodes} nodes of one"
        f" CPU with {given.store_mb} MB of object store each; the nodes"
        f" {'do not see' if given.apart else 'see'} its file"
    )
    found = asyncio.run(measure(given.mb, given.store_mb, given.nodes, apart=given.apart))
    print(
        f"  {found.done:,} of {found.rows:,} rows done, {found.wrong} wrong, {found.seconds:.0f} s;"
        f" most own memory: driver {found.driver_mib:.0f} MiB, a host {found.host_mib:.0f} MiB"
    )
    if not found.exact:
        print(found.words)
        sys.exit(1)


if __name__ == "__main__":
    main()
