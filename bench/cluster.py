"""What a Ray cluster costs: throughput beside the local executor, and the driver's CPU a row.

    python bench/cluster.py [--rows 20000] [--rounds 3]

Two measures, each beside its peer in the same run:

- *throughput*: one step over a mock endpoint that answers at once, through the local executor and
  through one host of a local Ray, in turn. All of apwa and Ray has one core, the endpoint the
  other. The times are the step's own, from its opening to its closing: starts do not count.
- *feed*: hosts that answer every lease at once, without any call: what the driver can feed, and its
  CPU per 1,000 rows, journal and expansion included, beside the same host without Ray.
"""

from __future__ import annotations

import argparse
import asyncio
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

from bench.throughput import PLAN, TEXT
from pyroaring import BitMap

from apwa.executor import Executor, StepJob, Work
from apwa.vocabulary import Attempt, ContractSpec, Outcome, Usage, WorkSpec
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
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--side", choices=["local", "ray", "feed-local", "feed-ray"])
    parser.add_argument("--url")
    arguments = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    if arguments.side in ("local", "ray"):
        os.sched_setaffinity(0, {0})
        print(json.dumps({"rate": _through(arguments.side, arguments)}))
    elif arguments.side:
        print(json.dumps(asyncio.run(_feed(arguments.side == "feed-ray", arguments.rows))))
    else:
        _throughput(arguments)
        _feeds(arguments)


def _side(side: str, *more: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.cluster", "--side", side, *more],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _throughput(arguments: argparse.Namespace) -> None:
    mock = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("mock_endpoint.py"), "--cpu",
         str((os.cpu_count() or 1) - 1)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert mock.stdout is not None and mock.stdin is not None
    url = mock.stdout.readline().strip()
    print(f"throughput: {arguments.rows:,} rows, {arguments.concurrency} calls at once; all but the"
          " endpoint on one core")  # fmt: skip
    ratios: list[float] = []
    for number in range(1, arguments.rounds + 1):
        more = ("--url", url, "--rows", str(arguments.rows),
                "--concurrency", str(arguments.concurrency))  # fmt: skip
        rates = {side: _side(side, *more)["rate"] for side in ("local", "ray")}
        ratios.append(rates["ray"] / rates["local"])
        print(f"  round {number}: local {rates['local']:,.0f} rows/s, Ray {rates['ray']:,.0f}"
              f" rows/s, ratio {ratios[-1]:.2f}")  # fmt: skip
    mock.stdin.close()
    mock.wait()
    print(f"  ratio, Ray to local: median {statistics.median(ratios):.2f}"
          f" ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


def _through(side: str, arguments: argparse.Namespace) -> float:
    """Rows a second of the step itself."""
    import apwa
    from apwa.vocabulary.events import Numbered, StepClosed, StepOpened

    times: dict[type, float] = {}

    def listen(numbered: Numbered) -> None:
        times[type(numbered.event)] = time.monotonic()

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "plan.yaml").write_text(PLAN)
        with (base / "lines.jsonl").open("w") as file:
            for number in range(arguments.rows):
                file.write(json.dumps({"text": TEXT.format(number)}) + "\n")
        (base / "warm.jsonl").write_text(json.dumps({"text": "x"}) + "\n")
        plan = (base / "plan.yaml").read_text()
        # a first step of one row has the host come up, so that the second finds it ready
        warm = plan.replace("answer: tag", "").replace(
            "steps:\n", "steps:\n  first:\n    template: Say whether {{text}} is positive.\n"
            "    over: one\n    contract: {label: positive | negative, reason: str}\n"
        )  # fmt: skip
        warm = warm.replace("over: lines", "over: held") + (
            "  held:\n    query: >-\n      SELECT l.text FROM lines l\n"
            "      WHERE (SELECT count(*) FROM first) = 1\nanswer: tag\n"
        )
        (base / "plan.yaml").write_text(warm)
        run = apwa.run(
            plan=base / "plan.yaml",
            tables={"lines": base / "lines.jsonl", "one": base / "warm.jsonl"},
            model=f"{arguments.url}#mock", home=base / "home", pilot=False, yes=True,
            concurrency=arguments.concurrency, executor=side, listeners=[listen],
        )  # fmt: skip
        assert run.ending.done == arguments.rows, run.ending
        return arguments.rows / (times[StepClosed] - times[StepOpened])


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
        def __init__(self, name: str, profile: str) -> None:
            super().__init__(name, profile)
            self._host = Instant(name)  # pyright: ignore

    return InstantActor


def _feeds(arguments: argparse.Namespace) -> None:
    rows = str(10 * arguments.rows)
    print(f"feed: {int(rows):,} rows through hosts that answer at once, results of 43 bytes")
    for side in ("feed-local", "feed-ray"):
        found = [_side(side, "--rows", rows) for _ in range(arguments.rounds)]
        rates = statistics.median(f["rate"] for f in found)
        cpu = statistics.median(f["cpu_ms"] for f in found)
        print(f"  {side.removeprefix('feed-'):<6} {rates:>9,.0f} rows/s, driver CPU"
              f" {cpu:.1f} ms per 1,000 rows: one core feeds {1e6 / cpu:,.0f} rows/s")  # fmt: skip


async def _feed(over_ray: bool, rows: int) -> dict[str, float]:
    from apwa.executor.cluster import RayHost
    from apwa.journal import open_journal

    def expand() -> Iterator[list[Work]]:
        for start in range(0, rows, 2048):
            numbers = range(start, min(start + 2048, rows))
            yield [Work(n, 0, n.to_bytes(16, "big"), [TEXT.format(n)], 90) for n in numbers]

    spec = WorkSpec(
        "s", "Do it.", [], "n", ["text"], ContractSpec({"type": "object"}), "e", "m", b"p" * 16
    )
    ray: Any = None
    hosts: list[Any] = [Instant("h1")]
    if over_ray:
        import ray

        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        made = ray.remote(_instant_actor()).options(max_concurrency=64)
        names = ("h1", "h2")
        hosts = [RayHost(n, made.remote(n, ""), lambda _: None, lambda: False) for n in names]
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(Path(folder) / "run.db")
        executor = Executor(
            hosts, journal, caps=None, ceilings=None, max_failures=1.0, emit=lambda _: None, seed=0
        )
        await executor.start()
        while not all(executor.host_names().values()):
            await asyncio.sleep(0.05)
        for scope in ("first", "second"):  # the first lets the gate open
            job = StepJob(scope, spec, rows, BitMap(range(rows)), expand())
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
