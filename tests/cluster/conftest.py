"""A cluster of real raylets on this machine, an endpoint that counts, and the command line."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from bench.raylets import add_node, begin_cluster

from apwa.runs import RunDirectory, RunReader, list_runs
from apwa.vocabulary.events import HostChanged
from tests.canary import find

WITHIN_S = 200.0  # a bound for what hangs: raylets on a busy machine take their time

_PROGRAM = """
from apwa.cli import main
from apwa.executor import core

core.SILENCE_S, core.FROZEN_S = {silence_s}, {frozen_s}
main()
"""


def driver(silence_s: float, frozen_s: float = 200.0) -> list[str]:
    """What Python runs as the command line, with other bounds for hosts that are not heard of."""
    return ["-c", _PROGRAM.format(silence_s=silence_s, frozen_s=frozen_s)]


PATIENT = driver(100.0)
"""Hosts on a busy machine are silent for longer than is decent. A driver that waits for them leaves
only those losses that a test brings about."""

PLAN = """
apwa: 1
steps:
  rate:
    over: rows
    template: "Rate {{text}}."
    contract: {tone: str, stars: int}
"""


class Counting:
    """An endpoint that answers each row the same, after a while, and counts."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.calls: Counter[int] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.on_row: Callable[[int, web.Request], None] = lambda row, request: None
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        text = body["messages"][-1]["content"]
        found = re.search(r"row (\d+) ", text)
        row = int(found[1]) if found else -1
        if found:
            self.calls[row] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.on_row(row, request)
            await asyncio.sleep(self.latency_s if found else 0)
        finally:
            self.in_flight -= 1
        fast = "fast_" if "fast_tone" in body["messages"][0]["content"] else ""
        content = json.dumps({f"{fast}tone": f"tone {row}", f"{fast}stars": row % 5})
        return web.json_response(
            {
                "id": "x",
                "model": "counting",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": content},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": len(str(body)), "completion_tokens": 10},
            }
        )

    @property
    def repeated(self) -> int:
        """Calls that were made for rows that had one already."""
        return sum(self.calls.values()) - len(self.calls)


@pytest.fixture
async def endpoint() -> AsyncIterator[Counting]:
    counting = Counting(0.1)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", counting.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    counting.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield counting
    await runner.cleanup()


class Nodes:
    """A head that works nothing, and nodes beside it."""

    def __init__(self) -> None:
        self.cluster = begin_cluster(num_cpus=0, include_dashboard=False)

    def add(self, cpus: int = 1, **resources: float) -> Any:
        return self.begin(num_cpus=cpus, resources=resources)

    def begin(self, **arguments: Any) -> Any:
        """A node as Ray's arguments say."""
        return add_node(self.cluster, **arguments)

    def kill(self, node: Any) -> None:
        """End a node's processes as a power cut would."""
        self.cluster.remove_node(node, allow_graceful=False)

    @property
    def address(self) -> str:
        return self.cluster.address

    def end(self) -> None:
        self.cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    session = Path(made.cluster.head_node.get_session_dir_path())
    yield made
    made.end()
    assert find(session) == []  # no key in Ray's own logs


def host_processes(address: str) -> list[int]:
    """Processes of hosts of one cluster: their parents are its raylets."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::HostActor"):
                parent = (path.parent / "stat").read_text().rpartition(")")[2].split()[1]
                if address.encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.append(int(path.parent.name))
        except OSError:
            continue
    return found


class Apwa:
    """The command line on a cluster, in a directory of its own.

    Attributes:
        program: What Python runs as the command line.
    """

    def __init__(self, at: Path, endpoint: Counting, address: str) -> None:
        self.at = at
        self.endpoint = endpoint
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("APWA_")},
            "APWA_HOME": str(at / "home"),
            "RAY_ADDRESS": address,
            "COLUMNS": "160",
        }
        self.started: list[asyncio.subprocess.Process] = []
        self.program = PATIENT

    def table(self, rows: int) -> Path:
        path = self.at / "rows.jsonl"
        lines = (json.dumps({"text": f"row {n} of the table"}) for n in range(rows))
        path.write_text("\n".join(lines) + "\n")
        (self.at / "plan.yaml").write_text(PLAN)
        return path

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        with (self.at / "words.txt").open("ab") as words:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *self.program, *arguments, cwd=self.at, env=self.env,
                stdin=asyncio.subprocess.DEVNULL, stdout=words, stderr=words,
            )  # fmt: skip
        self.started.append(process)
        return process

    async def run(self, *more: str) -> asyncio.subprocess.Process:
        """Begin the plan over ``rows.jsonl``."""
        return await self.start(
            "run", "plan.yaml", "-t", "rows=rows.jsonl", "-m", f"{self.endpoint.url}#counting",
            "--executor", "ray", "--yes", "--no-pilot", "--display", "plain", *more,
        )  # fmt: skip

    @property
    def words(self) -> str:
        path = self.at / "words.txt"
        return path.read_text() if path.exists() else ""

    @property
    def directory(self) -> RunDirectory:
        return list_runs(self.at / "home")[-1]

    def reader(self) -> RunReader:
        return RunReader(self.directory)

    def hosts(self, change: str) -> list[HostChanged]:
        """The hosts of the last run that joined, left, were lost …, in order."""
        with self.reader() as reader:
            events = [numbered.event for numbered in reader.events()]
        return [e for e in events if isinstance(e, HostChanged) and e.change == change]

    async def ended(self, process: asyncio.subprocess.Process, within_s: float = WITHIN_S) -> int:
        async with asyncio.timeout(within_s):
            return await process.wait()

    async def until(self, ready: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Fails with all that was said if it does not come to be."""
        end = time.monotonic() + within_s
        while not ready():
            assert time.monotonic() < end, self.words
            await asyncio.sleep(0.2)  # what is asked may read the whole journal

    def close(self) -> None:
        for process in self.started:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)


@pytest.fixture
def apwa(tmp_path: Path, endpoint: Counting, nodes: Nodes) -> Iterator[Apwa]:
    made = Apwa(tmp_path, endpoint, nodes.address)
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def _one_cluster_at_a_time() -> Iterator[None]:
    """Clusters beside each other would starve: a few raylets fill a small machine."""
    with (Path(tempfile.gettempdir()) / "apwa-tests-cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
