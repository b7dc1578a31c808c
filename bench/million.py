"""Memory and resume at size: a million short rows, and a journal of three million results.

    python bench/million.py [--rows 1000000] [--small 10000] [--results 3000000]

Runs one plan over a small and a large table against a mock endpoint that answers at once, each in
a process of its own, and prints the peak memory of the driver beside each other. Then fills a
journal with results and times how long a resume takes to know what is done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pyroaring import BitMap

PLAN = """\
apwa: 1
steps:
  tag:
    template: Say whether {{text}} is positive or negative, and why.
    over: lines
    contract: {label: positive | negative, reason: str}
answer: tag
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--results", type=int, default=3_000_000)
    parser.add_argument("--one", type=int)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    if arguments.one:
        asyncio.run(_run(arguments.one, arguments.url))
        return
    if arguments.rows:
        _memory(arguments.small, arguments.rows)
    if arguments.results:
        asyncio.run(_resume(arguments.results))


def _memory(small: int, large: int) -> None:
    here = Path(__file__)
    mock = subprocess.Popen(
        [sys.executable, here.with_name("mock_endpoint.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert mock.stdout is not None and mock.stdin is not None
    url = mock.stdout.readline().strip()
    peaks: list[float] = []
    for rows in (small, large):
        done = subprocess.run(
            [sys.executable, here, "--one", str(rows), "--url", url],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stderr)
        seen = json.loads(done.stdout.splitlines()[-1])
        peaks.append(seen["peak_mb"])
        print(f"{rows:>9,} rows: {seen['rate']:,.0f} rows/s, peak {seen['peak_mb']:,.0f} MB")
    mock.stdin.close()
    mock.wait()
    print(f"peak memory, {large:,} rows to {small:,}: {peaks[1] / peaks[0]:.2f}")


async def _run(rows: int, url: str) -> None:
    import apwa

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "plan.yaml").write_text(PLAN)
        with (base / "lines.jsonl").open("w") as file:
            for number in range(rows):
                file.write(json.dumps({"text": f"line {number} is a joy"}) + "\n")
        began = time.monotonic()
        run = await apwa.arun(
            plan=base / "plan.yaml",
            tables={"lines": base / "lines.jsonl"},
            model=f"{url}#mock",
            home=base / "home",
            pilot=False,
            yes=True,
            concurrency=128,
        )
        seconds = time.monotonic() - began
        assert run.ending.done == rows, run.ending
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rate": rows / seconds, "peak_mb": peak}))


async def _resume(results: int) -> None:
    from apwa.journal import StoredResult, open_journal
    from apwa.vocabulary import RUN, Attempt, Usage

    usage = Usage(1, 100, 20, cost_nusd=1000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        journal = open_journal(path)
        for start in range(0, results, 4096):
            await journal.append([
                StoredResult(
                    scope=RUN, step="tag", ordinal=ordinal, generation=0,
                    reuse_key=ordinal.to_bytes(16, "big"), source="model", kind=None,
                    answer=b'{"label":"positive","reason":"It says so."}', raw="", message="",
                    attempts=[Attempt("c", "m", None, usage, 0.1)], duration_s=0.1, host="local",
                )
                for ordinal in range(start, min(start + 4096, results))
            ])  # fmt: skip
        await journal.close()
        began = time.monotonic()
        journal = open_journal(path)
        done = journal.reader.done(RUN, "tag") | journal.reader.quarantined(RUN, "tag")
        counts = journal.reader.counts(RUN, "tag")
        todo = BitMap(range(results + 1)) - done
        seconds = time.monotonic() - began
        assert list(todo) == [results] and counts.done == results
        await journal.close()
    print(f"{results:,} results: open and know what is done in {seconds:.1f} s")


if __name__ == "__main__":
    main()
