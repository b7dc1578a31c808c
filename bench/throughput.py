"""How much of the raw HTTP speed the whole of apwa keeps, on one core.

    python bench/throughput.py [--rows 20000] [--rounds 3] [--concurrency 128]

In turn, several rounds: bare aiohttp (same body, answer parsed, same concurrency), and apwa's
full path (plan given, contract, journal with durable commits, table written). The client has
one core, the mock endpoint another. Prints the ratio of rates, CPU per 1,000 rows, peak memory.
Times of a whole apwa run count, its start and its table included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLAN = """\
apwa: 1
steps:
  tag:
    template: Say whether the sentence {{text}} is positive or negative, and why.
    over: lines
    contract: {label: positive | negative, reason: str}
answer: tag
"""
TEXT = "The film is a quiet joy from its first scene to its last, and row {} is proof of it."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--side", choices=["raw", "apwa"])
    parser.add_argument("--url")
    arguments = parser.parse_args()
    if arguments.side:
        os.sched_setaffinity(0, {0})
        work = _raw if arguments.side == "raw" else _apwa
        seconds = asyncio.run(work(arguments.url, arguments.rows, arguments.concurrency))
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({
            "rate": arguments.rows / seconds,
            "cpu_ms": (used.ru_utime + used.ru_stime) * 1e6 / arguments.rows,
            "peak_mb": used.ru_maxrss / 1024,
        }))  # fmt: skip
        return
    _rounds(arguments)


def _rounds(arguments: argparse.Namespace) -> None:
    here = Path(__file__)
    mock = subprocess.Popen(
        [sys.executable, here.with_name("mock_endpoint.py"), "--cpu", str(os.cpu_count() - 1)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert mock.stdout is not None and mock.stdin is not None
    url = mock.stdout.readline().strip()
    print(f"{arguments.rows:,} rows, {arguments.concurrency} calls at once; client and"
          " mock endpoint have a core each")  # fmt: skip
    print(f"{'round':<7}{'side':<7}{'rows/s':>9}{'CPU ms/1,000 rows':>20}{'peak MB':>9}")
    ratios: list[float] = []
    for number in range(1, arguments.rounds + 1):
        seen = {}
        for side in ("raw", "apwa"):
            done = subprocess.run(
                [sys.executable, here, "--side", side, "--url", url,
                 "--rows", str(arguments.rows), "--concurrency", str(arguments.concurrency)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                sys.exit(done.stderr)
            seen[side] = json.loads(done.stdout.splitlines()[-1])
            print(f"{number:<7}{side:<7}{seen[side]['rate']:>9,.0f}{seen[side]['cpu_ms']:>20,.0f}"
                  f"{seen[side]['peak_mb']:>9,.0f}")  # fmt: skip
        ratios.append(seen["apwa"]["rate"] / seen["raw"]["rate"])
    mock.stdin.close()
    mock.wait()
    print(f"ratio of rates, apwa to raw: median {statistics.median(ratios):.2f}"
          f" ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


async def _raw(url: str, rows: int, concurrency: int) -> float:
    import aiohttp

    system = "Say whether the sentence <text> is positive or negative, and why. " * 12
    numbers = iter(range(rows))
    connector = aiohttp.TCPConnector(limit=0)
    began = time.monotonic()
    async with aiohttp.ClientSession(connector=connector) as session:

        async def work() -> None:
            for number in numbers:
                body = json.dumps({
                    "model": "mock",
                    "messages": [
                        {"role": "system", "content": system},
                        {"role": "user", "content": TEXT.format(number)},
                    ],
                    "max_tokens": 2048,
                }).encode()  # fmt: skip
                async with session.post(
                    f"{url}/chat/completions",
                    data=body,
                    headers={"content-type": "application/json"},
                ) as reply:
                    answer = json.loads(await reply.read())
                    assert json.loads(answer["choices"][0]["message"]["content"])["label"]

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return time.monotonic() - began


async def _apwa(url: str, rows: int, concurrency: int) -> float:
    import apwa

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "plan.yaml").write_text(PLAN)
        with (base / "lines.jsonl").open("w") as file:
            for number in range(rows):
                file.write(json.dumps({"text": TEXT.format(number)}) + "\n")
        began = time.monotonic()
        run = await apwa.arun(
            plan=base / "plan.yaml", tables={"lines": base / "lines.jsonl"}, model=f"{url}#mock",
            home=base / "home", pilot=False, yes=True, concurrency=concurrency,
        )  # fmt: skip
        seconds = time.monotonic() - began
        assert run.ending.done == rows, run.ending
        return seconds


if __name__ == "__main__":
    main()
