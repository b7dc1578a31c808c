"""Nodes that are killed under a run, again and again: is it complete, exact, and what is repeated?

    python -m bench.node_kills [--rounds 20] [--first 1] [--rows 20000] [--every 4]

Each round begins a cluster of four nodes (real raylets on this machine), works a step of short rows
over an endpoint that counts, kills a random node every few seconds as a power cut would, and
replaces it. In the end every row must be done, each with its own answer, and each row that was
called again must have been called first by a host of a node that is dead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from bench.raylets import add_node, begin_cluster

NODES = 4
AT_ONCE = 96  # calls, on all nodes together
PLAN = """
apwa: 1
steps:
  tag:
    over: rows
    template: "Tag {{text}}."
    contract: {tone: str}
"""


@dataclass(frozen=True)
class Round:
    """What came of a round."""

    rows: int
    done: int
    wrong: int
    kills: int
    repeated: int
    unexcused: int  # rows called again although whoever called first still lives
    seconds: float

    @property
    def exact(self) -> bool:
        return self.done == self.rows and not self.wrong and not self.unexcused


class Endpoint:
    """Counts calls by row, and remembers over which connection each came."""

    def __init__(self, latency_s: float, freely: int) -> None:
        self.latency_s = latency_s
        self.freely = freely  # so many rows; more are answered once it may go on
        self.go_on = asyncio.Event()
        self.calls: Counter[int] = Counter()
        self.first: dict[int, asyncio.BaseTransport | None] = {}
        self.again: list[int] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        text = body["messages"][-1]["content"]
        found = re.search(r"row (\d+) ", text)
        row = int(found[1]) if found else -1
        if found:
            self.calls[row] += 1
            if self.calls[row] > 1:
                self.again.append(row)
            else:
                self.first[row] = request.transport
            if len(self.calls) > self.freely:
                await self.go_on.wait()
        await asyncio.sleep(self.latency_s if found else 0)
        message = {"role": "assistant", "content": json.dumps({"tone": f"tone {row}"})}
        return web.json_response(
            {
                "id": "x", "model": "counting",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": len(str(body)), "completion_tokens": 10},
            }
        )  # fmt: skip


async def one_round(
    rows: int,
    every_s: float,
    seed: int,
    *,
    program: Sequence[str] = ("-m", "apwa"),
    least: int = 0,
) -> Round:
    """Play a round. Raises nothing: what is wrong is counted.

    Args:
        program: What Python runs as the command line.
        least: So many nodes are killed, however long it takes: the last tenth of the rows waits.
    """
    chance = random.Random(seed)
    endpoint = Endpoint(0.05, rows * 9 // 10)
    if not least:
        endpoint.go_on.set()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    cluster = await asyncio.to_thread(
        begin_cluster,
        num_cpus=0,
        include_dashboard=False,
        shutdown_at_exit=False,  # which would want the main thread
    )
    try:
        nodes = [await asyncio.to_thread(add_node, cluster, num_cpus=1) for _ in range(NODES)]
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            (at / "plan.yaml").write_text(PLAN)
            lines = (json.dumps({"text": f"row {n} of the table"}) for n in range(rows))
            (at / "rows.jsonl").write_text("\n".join(lines) + "\n")
            process = await asyncio.create_subprocess_exec(
                sys.executable, *program, "run", "plan.yaml", "-t", "rows=rows.jsonl", "-m",
                f"{url}#counting", "--executor", "ray", "--yes", "--no-pilot", "-o", "out.jsonl",
                "--concurrency", str(AT_ONCE), "--quiet", cwd=at, stdin=asyncio.subprocess.DEVNULL,
                env=os.environ | {"APWA_HOME": str(at / "home"), "RAY_ADDRESS": cluster.address},
            )  # fmt: skip
            while len(endpoint.calls) < rows // 50 and process.returncode is None:
                await asyncio.sleep(0.1)
            began, kills = time.monotonic(), 0
            ending = asyncio.create_task(process.wait())
            while not ending.done():
                await asyncio.wait([ending], timeout=chance.uniform(0.5, 1.5) * every_s)
                if ending.done() or len(endpoint.calls) == rows:
                    break
                doomed = nodes.pop(chance.randrange(NODES))
                await asyncio.to_thread(cluster.remove_node, doomed, allow_graceful=False)
                kills += 1
                nodes.append(await asyncio.to_thread(add_node, cluster, num_cpus=1))
                if kills >= least:
                    endpoint.go_on.set()
            await ending
            answers = [json.loads(line) for line in (at / "out.jsonl").open()]
            seconds = time.monotonic() - began
    finally:
        await asyncio.to_thread(cluster.shutdown)
        await runner.cleanup()
    return Round(
        rows,
        done=sum(row["_status"] == "done" for row in answers),
        wrong=sum(row["tone"] != f"tone {n}" for n, row in enumerate(answers)),
        kills=kills,
        repeated=len(endpoint.again),
        unexcused=sum(_lives(endpoint.first[row]) for row in endpoint.again),
        seconds=seconds,
    )


def _lives(transport: Any) -> bool:
    return transport is not None and not transport.is_closing()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="number of the first round")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--every", type=float, default=4.0)
    arguments = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_raylet_start_wait_time_s"] = "180"  # noqa: SIM112 so Ray spells it
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    print(
        f"{arguments.rounds} rounds, {arguments.rows:,} rows, {NODES} nodes of one CPU, one"
        f" killed about every {arguments.every:g} s and replaced; {AT_ONCE} calls at once, 50 ms"
        " each"
    )
    rounds: list[Round] = []
    for number in range(arguments.first, arguments.first + arguments.rounds):
        found = asyncio.run(one_round(arguments.rows, arguments.every, number))
        rounds.append(found)
        print(f"  round {number:>2}: {found.done:,} of {found.rows:,} done, {found.wrong} wrong,"
              f" {found.kills} nodes killed,"
              f" {found.repeated} calls repeated ({found.unexcused} of living hosts),"
              f" {found.seconds:.0f} s", flush=True)  # fmt: skip
    kills = sum(r.kills for r in rounds)
    print(f"in all: {kills} nodes killed, {sum(r.repeated for r in rounds)} calls repeated,"
          f" {sum(not r.exact for r in rounds)} rounds that were not exact")  # fmt: skip
    if not all(r.exact for r in rounds):
        sys.exit(1)


if __name__ == "__main__":
    main()
