"""What a Ray cluster costs: throughput beside the local executor, and the driver's CPU a row.

    python bench/cluster.py [--rows 4000] [--rounds 12]

Two measures, each beside its peer in the same run:

- *throughput*: steps over a mock endpoint that answers at once, through a host in the driver's
  process and through one on a local Ray, in turn: rows per second of CPU of the driver and all that
  it has started, Ray's own processes among them, and rows a second where all of these have one core
  and the endpoint the other. Starts do not count.
- *feed*: hosts that answer every lease at once, without any call: what the driver can feed, and its
  CPU per 1,000 rows, journal and expansion included, beside the same host without Ray.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from bench.throughput import TEXT
from pyroaring import BitMap

from apwa.executor import Executor, StepJob, Work
from apwa.garbage import look_less_often
from apwa.vocabulary import Attempt, ContractSpec, Outcome, TagSpec, Usage, WorkSpec
from apwa.vocabulary.messages import (
    Described,
    FromHost,
    Grant,
    Heartbeat,
    Lease,
    Outcomes,
    Pace,
    PaceSample,
    Shutdown,
    ToHost,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000, help="of each turn")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--side", choices=["local", "ray", "feed-local", "feed-ray"])
    parser.add_argument("--url")
    arguments = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    look_less_often()  # as the command line does
    if arguments.side in ("local", "ray"):
        os.sched_setaffinity(0, {0})
        asyncio.run(_through(arguments.side == "ray", arguments))
    elif arguments.side:
        print(json.dumps(asyncio.run(_feed(arguments.side == "feed-ray", arguments.rows))))
    else:
        _throughput(arguments)
        _feeds(arguments)


def _spec(url: str) -> WorkSpec:
    tags = [TagSpec("text", "text")]
    contract = ContractSpec({
        "type": "object", "additionalProperties": False, "required": ["label", "reason"],
        "properties": {
            "label": {"type": "string", "enum": ["positive", "negative"]},
            "reason": {"type": "string"},
        },
    })  # fmt: skip
    system = "Say whether the sentence <text> is positive or negative, and why."
    return WorkSpec("s", system, tags, "n0nce", ["text"], contract, url, "mock", b"p" * 16)


def _expand(rows: int) -> Iterator[list[Work]]:
    for start in range(0, rows, 2048):
        numbers = range(start, min(start + 2048, rows))
        yield [Work(n, 0, n.to_bytes(16, "big"), [TEXT.format(n)], 90) for n in numbers]


# ---- throughput: hosts that call a mock endpoint


class _Side:
    """One executor in a process of its own, which works a step whenever it is told to."""

    def __init__(self, side: str, url: str, arguments: argparse.Namespace) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.cluster", "--side", side, "--url", url,
             "--rows", str(arguments.rows), "--concurrency", str(arguments.concurrency)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parent.parent,
        )  # fmt: skip

    def work(self) -> dict[str, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate()


def _throughput(arguments: argparse.Namespace) -> None:
    mock = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("mock_endpoint.py"), "--cpu",
         str((os.cpu_count() or 1) - 1)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert mock.stdout is not None and mock.stdin is not None
    url = mock.stdout.readline().strip()
    print(f"throughput: {arguments.rows:,} rows a turn, {arguments.concurrency} calls at once;"
          " all but the endpoint on one core")  # fmt: skip
    sides = {side: _Side(side, url, arguments) for side in ("local", "ray")}
    for side in sides.values():
        side.work()
    time.sleep(15)  # until Ray's processes have settled
    ratios: dict[str, list[float]] = {"per core used": [], "on one core": []}
    for number in range(1, arguments.rounds + 1):
        # who begins alternates too: a machine that slows down favours nobody
        order = list(sides) if number % 2 else list(reversed(sides))
        found = {side: sides[side].work() for side in order}
        local, ray = found["local"], found["ray"]
        ratios["per core used"].append(ray["rows_per_cpu_s"] / local["rows_per_cpu_s"])
        ratios["on one core"].append(ray["rows_per_s"] / local["rows_per_s"])
        print(f"  round {number:>2}: rows per second of CPU: local {local['rows_per_cpu_s']:,.0f},"
              f" Ray {ray['rows_per_cpu_s']:,.0f}; rows a second: local"
              f" {local['rows_per_s']:,.0f}, Ray {ray['rows_per_s']:,.0f}")  # fmt: skip
    for side in sides.values():
        side.end()
    mock.stdin.close()
    mock.wait()
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"  ratio, Ray to local, {name}: median {middle:.2f} (middle half {low:.2f} to"
              f" {high:.2f})")  # fmt: skip


async def _through(over_ray: bool, arguments: argparse.Namespace) -> None:
    """A turn for each line that comes."""
    from apwa.capabilities import Registry
    from apwa.executor import LocalHost
    from apwa.executor.cluster import Baggage, Equip, HostActor, RayHost
    from apwa.journal import open_journal
    from apwa.models import Dialect, LeanChat, ModelKit
    from apwa.tables import CheckProcess

    url, registry = arguments.url, Registry.builtin()
    model = LeanChat(url)
    host: Any = LocalHost("h1", {url: model}, registry, CheckProcess())
    if over_ray:
        import ray

        ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        kit = ModelKit(f"{url}#mock", "", {}, Dialect())
        made = ray.remote(HostActor).options(num_cpus=1, max_concurrency=64)
        host = RayHost(
            "h1", made.remote("h1", ""), Baggage([], {}, registry), lambda s: Equip(s, kit, {}),
            lambda: False,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(Path(folder) / "run.db")
        executor = Executor(
            [host], journal, caps=None, ceilings=arguments.concurrency, max_failures=1.0,
            emit=lambda _: None, seed=0,
        )  # fmt: skip
        await executor.start()
        while not all(executor.host_names().values()):
            await asyncio.sleep(0.05)
        turns = 0
        while await asyncio.to_thread(sys.stdin.readline):
            turns += 1
            rows = arguments.rows
            job = StepJob(str(turns), _spec(url), rows, BitMap(range(rows)), _expand(rows))
            began, cpu = time.monotonic(), _cpu_s()
            end = await executor.run_step(job)
            seconds, cpu = time.monotonic() - began, _cpu_s() - cpu
            assert end.done == rows, end
            rates = {"rows_per_s": rows / seconds, "rows_per_cpu_s": rows / cpu}
            print(json.dumps(rates), flush=True)
        await executor.close()
        await journal.close()
        await model.close()


def _cpu_s() -> float:
    """Seconds of CPU that this process and all that it has started have used."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            used[int(path.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf(
                "SC_CLK_TCK"
            )
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used[pid] for pid in ours)


# ---- feed: hosts that answer at once


class Instant:
    """A host that answers each lease at once, and makes no call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._out: list[FromHost] = [Described(name, 16_384, [], {}, "", "")]
        self._news = asyncio.Event()
        self._news.set()
        self._number = self._granted = 0
        self._beat_at = 0.0
        self._ended = False

    async def start(self) -> None: ...

    def send(self, message: ToHost) -> None:
        if isinstance(message, Lease):
            self._out.append(
                Outcomes(
                    [
                        Outcome(
                            i.lease_id, i.ordinal, i.generation, i.reuse_key, None,
                            b'{"label":"positive","reason":"It says so."}', "", "",
                            [Attempt("c" * 16, "mock", None, Usage(1, 300, 12), 0.01)], 0.01,
                        )
                        for i in message.items
                    ]
                )
            )  # fmt: skip
            self._out.append(Pace("e", [PaceSample(None, 0.01) for _ in message.items], 64))
            if time.monotonic() - self._beat_at > 1.0:
                self._beat_at = time.monotonic()
                self._number += 1
                granted = {"e": (self._granted, 0)}
                self._out.append(Heartbeat(10**6, 64, number=self._number, granted=granted))
        elif isinstance(message, Grant):
            self._granted = message.number
        elif isinstance(message, Shutdown):
            self._ended = True
        self._news.set()

    async def messages(self) -> AsyncIterator[FromHost]:
        while not self._ended or self._out:
            self._news.clear()
            while self._out:
                yield self._out.pop(0)
            if not self._ended:
                await self._news.wait()

    async def stop(self) -> None:
        self._ended = True
        self._news.set()


def _instant_actor() -> Any:
    from apwa.executor.cluster import HostActor

    class InstantActor(HostActor):
        def _made(self, registry: Any) -> Any:
            return Instant(self._name)

    return InstantActor


def _feeds(arguments: argparse.Namespace) -> None:
    rows = str(50 * arguments.rows)
    print(f"feed: {int(rows):,} rows through hosts that answer at once, results of 43 bytes")
    for side in ("feed-local", "feed-ray"):
        found = [_fed(side, rows) for _ in range(3)]
        rates = statistics.median(f["rate"] for f in found)
        cpu = statistics.median(f["cpu_ms"] for f in found)
        print(f"  {side.removeprefix('feed-'):<6} {rates:>9,.0f} rows/s, driver CPU"
              f" {cpu:.1f} ms per 1,000 rows: one core feeds {1e6 / cpu:,.0f} rows/s")  # fmt: skip


def _fed(side: str, rows: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.cluster", "--side", side, "--rows", rows],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


async def _feed(over_ray: bool, rows: int) -> dict[str, float]:
    from apwa.capabilities import Registry
    from apwa.executor.cluster import Baggage, RayHost
    from apwa.journal import open_journal

    ray: Any = None
    hosts: list[Any] = [Instant("h1")]
    if over_ray:
        import ray

        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        made = ray.remote(_instant_actor()).options(max_concurrency=64)
        names = ("h1", "h2")
        nothing = Baggage([], {}, Registry.builtin())
        hosts = [
            RayHost(n, made.remote(n, ""), nothing, lambda _: None, lambda: False) for n in names
        ]
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(Path(folder) / "run.db")
        executor = Executor(
            hosts, journal, caps=None, ceilings=None, max_failures=1.0, emit=lambda _: None, seed=0
        )
        await executor.start()
        while not all(executor.host_names().values()):
            await asyncio.sleep(0.05)
        for scope in ("first", "second"):  # the first lets the gate open
            job = StepJob(scope, _spec("e"), rows, BitMap(range(rows)), _expand(rows))
            began, cpu = time.monotonic(), time.process_time()
            end = await executor.run_step(job)
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            assert end.done == rows
        await executor.close()
        await journal.close()
    if ray is not None:
        ray.shutdown()
    return {"rate": rows / seconds, "cpu_ms": cpu * 1e6 / rows}


if __name__ == "__main__":
    main()
