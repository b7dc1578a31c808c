"""Nodes that are drained, object stores that are full, tables that are larger than these."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.large_table import measure

from .conftest import WITHIN_S, Apwa, Counting, Nodes

pytestmark = [pytest.mark.timeout(600)]


ROWS = 1200


async def _at_work_on_two_nodes(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> tuple[asyncio.subprocess.Process, Any]:
    """A run that both nodes work, slow from then on, and the node that is to end."""
    endpoint.latency_s = 1.0
    apwa.table(ROWS)
    doomed = nodes.add()
    nodes.add()
    run = await apwa.run("--concurrency", "48", "-o", "out.jsonl")
    await apwa.until(lambda: len(endpoint.calls) > 100)
    endpoint.latency_s = 5.0  # so that the run outlasts what follows
    await apwa.until(lambda: len(apwa.hosts("joined")) >= 2)
    return run, doomed


async def test_hosts_of_a_drained_node_finish_what_they_have_begun_and_leave(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> None:
    run, doomed = await _at_work_on_two_nodes(apwa, endpoint, nodes)
    ray = Path(sys.executable).with_name("ray")
    drained = await asyncio.create_subprocess_exec(
        str(ray), "drain-node", "--address", nodes.address, "--node-id", doomed.node_id,
        "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a spot notice",
        "--deadline-remaining-seconds", "60", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert await drained.wait() == 0
    await apwa.until(lambda: len(apwa.hosts("left")) == 1)
    nodes.add()
    endpoint.latency_s = 0.2
    assert await apwa.ended(run) == 0, apwa.words
    assert f"node {doomed.node_id[:6]} is drained" in apwa.words
    assert len(endpoint.calls) == ROWS and endpoint.repeated == 0
    assert not apwa.hosts("lost")


async def test_a_node_that_is_told_to_end_loses_nothing_but_what_it_had_in_flight(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> None:
    run, doomed = await _at_work_on_two_nodes(apwa, endpoint, nodes)
    nodes.cluster.remove_node(doomed, allow_graceful=True)  # SIGTERM, as a container gets it
    endpoint.latency_s = 0.2
    assert await apwa.ended(run) == 0, apwa.words
    assert len(endpoint.calls) == ROWS and endpoint.repeated <= 48


@pytest.mark.parametrize(("mb", "apart"), [(100, True), (30, False)])
async def test_a_table_larger_than_the_object_store_is_worked(mb: int, apart: bool) -> None:
    found = await measure(mb, 76, 2, apart=apart)
    assert found.exact, found.words
    assert found.rows == mb * 10


HOG = """
import sys, time
import numpy, ray
ray.init(sys.argv[1], namespace="hog", log_to_driver=False, logging_level="error")

@ray.remote(num_cpus=0, resources={"here": 0.5})  # two at a time: as many processes as it needs
def much(n):
    return numpy.full(8 << 20, n, numpy.uint8)

held = [much.remote(n) for n in range(24)]  # 192 MB in a store of 80 MB, all of it wanted
ray.wait(held, num_returns=len(held))
print("full", flush=True)
while True:
    n = int(time.time()) % len(held)
    assert ray.get(held[n])[0] == n
    time.sleep(0.1)
"""


async def test_a_full_object_store_stops_nobody(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> None:
    rows = 1500
    apwa.table(rows)
    nodes.begin(num_cpus=1, object_store_memory=80 << 20, resources={"here": 1})
    hog = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOG, nodes.address, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert hog.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            while await hog.stdout.readline() != b"full\n":  # Ray has words of its own there
                assert not hog.stdout.at_eof(), "it ended before the store was full"
        run = await apwa.run("--concurrency", "32", "-o", "out.jsonl")
        assert await apwa.ended(run) == 0, apwa.words
        assert len(endpoint.calls) == rows and endpoint.repeated == 0
        assert hog.returncode is None
    finally:
        if hog.returncode is None:
            hog.kill()
        await hog.wait()
