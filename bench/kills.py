"""Kills the driver again and again, planning included, and checks that nothing is lost.

    python bench/kills.py [--rows 5000] [--kills 50] [--seed 1]

A real job in words over real rows, the practice model behind a counting proxy, kill -9 at random
moments, each followed by a resume. Checked at the end: every row has one result; calls repeated
are at most those in flight at the kills; the cap in money holds over all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import aiohttp
from aiohttp import web

JOB = "Replace every piece of personal information in the text with a tag such as [NAME]"
CONCURRENCY = 16
CAP_USD = 5.0
PRICE = {"input": 0.1, "output": 0.4}  # as the practice model declares, US dollars per M tokens


class Proxy:
    """Forwards to the practice model, and counts what each request cost and how often it came."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.seen: Counter[str] = Counter()
        self.spent_usd = 0.0

    async def start(self) -> str:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/v1/{rest:.*}", self.forward)
        self.session = aiohttp.ClientSession()
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # pyright: ignore
        return f"http://127.0.0.1:{port}/v1"

    async def forward(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self.session.request(
            request.method, f"{self.target}/{request.match_info['rest']}", data=body,
            headers={"content-type": "application/json"},
        ) as reply:  # fmt: skip
            answer = await reply.read()
        if request.method == "POST" and reply.status == 200:
            self.seen[hashlib.sha256(body).hexdigest()] += 1
            usage = json.loads(answer)["usage"]
            self.spent_usd += usage["prompt_tokens"] * PRICE["input"] / 1e6
            self.spent_usd += usage["completion_tokens"] * PRICE["output"] / 1e6
        return web.Response(body=answer, status=reply.status, content_type="application/json")


def write_rows(path: Path, rows: int) -> None:
    """Real notes, numbered so that no two rows are equal."""
    from apwa.practice import sample

    notes = [json.loads(line)["text"] for line in sample("notes.jsonl").read_text().splitlines()]
    with path.open("w") as file:
        for number in range(rows):
            text = f"Note {number}. {notes[number % len(notes)]}"
            file.write(json.dumps({"text": text}) + "\n")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        await _bench(Path(folder), arguments.rows, arguments.kills, chance)


async def _bench(base: Path, rows: int, kills: int, chance: random.Random) -> None:
    practice = subprocess.Popen(
        [sys.executable, "-m", "apwa.practice", "--port", "0", "--until-eof",
         "--faults", "latency=150"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert practice.stdout is not None and practice.stdin is not None
    proxy = Proxy(practice.stdout.readline().strip())
    url = await proxy.start()
    write_rows(base / "notes.jsonl", rows)
    model = f"{url}#apwa-practice"
    (base / "apwa.toml").write_text(
        f'[prices."{model}"]\ninput = {PRICE["input"]}\noutput = {PRICE["output"]}\n'
    )
    first = ["run", JOB, "--table", "notes=notes.jsonl", "--model", model, "--yes",
             "--max-cost", str(CAP_USD), "--concurrency", str(CONCURRENCY),
             "-o", "out.jsonl"]  # fmt: skip
    done_kills, planned_kills = 0, 0
    resume = first
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "apwa", *resume, "--display", "none",
            cwd=base, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "APWA_HOME": str(base / "home")},
        )  # fmt: skip
        ended = asyncio.create_task(process.communicate())
        if done_kills < kills:
            early = done_kills < kills // 5  # these fall into reading, planning and the pilot
            wait = chance.uniform(0.3, 3.0) if early else chance.uniform(0.8, 2.2)
            await asyncio.wait([ended], timeout=wait)
        if not ended.done() and done_kills < kills:
            process.kill()
            done_kills += 1
            planned_kills += 1 if early else 0
            await ended
            if list((base / "home" / "runs").glob("*/run.db")):
                resume = ["resume", "last", "--yes"]
            continue
        _, errors = await ended
        if process.returncode:
            sys.exit(f"exit code {process.returncode}\n{errors.decode()}")
        break
    _check(base, rows, done_kills, planned_kills, proxy)
    await proxy.session.close()
    practice.stdin.close()
    practice.wait()


def _check(base: Path, rows: int, kills: int, early: int, proxy: Proxy) -> None:
    from apwa.runs import RunReader, find_run
    from apwa.vocabulary import RUN

    answers = [json.loads(line) for line in (base / "out.jsonl").read_text().splitlines()]
    assert len(answers) == rows, f"{len(answers)} rows in the answer"
    assert all(row["_status"] == "done" for row in answers), "not all rows are done"
    with RunReader(find_run(base / "home", "last")) as reader:
        answer = reader.ending.answer
        ordinals = [result.ordinal for result in reader.journal.results(RUN, answer)]
        assert ordinals == list(range(rows)), "a row has not exactly one result"
        spent = reader.journal.spent()
    repeated = sum(count - 1 for count in proxy.seen.values())
    print(
        f"{kills} kills over {rows:,} rows, {early} of them from the start on (reading, planning,"
        f" pilot), {CONCURRENCY} calls at once"
    )
    print(f"results: {len(ordinals):,}, each row once")
    print(f"calls repeated: {repeated:,}, at most {kills * CONCURRENCY:,} were in flight")
    print(f"spent at the endpoint ${proxy.spent_usd:.4f}, journaled ${spent.cost_nusd / 1e9:.4f},"
          f" cap ${CAP_USD:.2f}")  # fmt: skip
    assert repeated <= kills * CONCURRENCY
    assert proxy.spent_usd <= spent.cost_nusd / 1e9 <= CAP_USD


if __name__ == "__main__":
    asyncio.run(main())
