"""How fast texts are cut into pieces: by ``chunk`` in a query, and by the splitter alone.

    python bench/pieces.py FILE.jsonl COLUMN [MEGABYTES]

Repeats the column's texts until there are so many megabytes (default 20), writes them as a table,
and cuts them into pieces of 2,000 tokens: with the splitter in one call a text, and in a query's
process, its start and the writing of the result included. Also counts their tokens both ways.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from semantic_text_splitter import TextSplitter

from apwa.tables import SqlProcess, count_tokens, read_table

TOKENS = 2_000


def main(path: Path, column: str, megabytes: int) -> None:
    given = [json.loads(line)[column] for line in path.read_text("utf-8").splitlines()]
    texts: list[str] = []
    size = 0
    for text in cycle(given):
        texts.append(text)
        size += len(text.encode())
        if size >= megabytes << 20:
            break
    print(f"{len(texts):,} texts, {size / 1e6:.0f} MB, pieces of {TOKENS:,} tokens")
    splitter = TextSplitter.from_tiktoken_model("gpt-4o", TOKENS, trim=False)
    _timed("splitter alone", size, lambda: [splitter.chunks(text) for text in texts])
    _timed("counter alone", size, lambda: [count_tokens(text) for text in texts])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.parquet"
        pq.write_table(pa.table({"text": texts}), file)
        cut = f"SELECT unnest(chunk(text, {TOKENS})) AS piece FROM texts"
        _timed("chunk in a query", size, lambda: asyncio.run(_query(cut, file)))
        counted = "SELECT sum(tokens(text)) AS n FROM texts"
        _timed("tokens in a query", size, lambda: asyncio.run(_query(counted, file)))


async def _query(sql: str, file: Path) -> None:
    table = read_table("texts", str(file), file.parent / "snapshot")
    process = SqlProcess()
    try:
        with tempfile.TemporaryDirectory() as into:
            await process.run(sql, {"texts": table}, Path(into) / "made", "made", [])
    finally:
        await process.close()


def _timed(what: str, size: int, work: Callable[[], object]) -> None:
    begun, before = time.perf_counter(), _cpu_s()
    work()
    seconds = time.perf_counter() - begun
    cpu_s = _cpu_s() - before
    print(
        f"{what:20} {seconds:6.1f} s  {size / seconds / 1e6:5.1f} MB/s"
        f"  {cpu_s:6.1f} s of CPU  {size / cpu_s / 1e6:5.1f} MB a CPU second"
    )


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 20)
