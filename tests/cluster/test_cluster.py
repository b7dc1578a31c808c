"""Runs on a cluster of real raylets: hosts and nodes die, freeze and come, and nothing is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from aiohttp import web

from apwa.vocabulary import RUN

from .conftest import Apwa, Counting, Nodes, driver, host_processes

pytestmark = [pytest.mark.timeout(600)]


def _owner_of(port: int, address: str) -> int:
    """The process that has a local port of this machine."""
    inodes = set[str]()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if int(parts[1].split(":")[1], 16) == port:
            inodes.add(f"socket:[{parts[9]}]")
    for process in host_processes(address):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                if str(descriptor.readlink()) in inodes:
                    return process
            except OSError:
                continue
    raise AssertionError(f"nobody has port {port}")


async def test_hosts_and_nodes_die_freeze_and_come_and_the_answer_is_the_same_to_the_byte(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> None:
    rows = 3000
    apwa.program = ["-m", "apwa"]  # silence is to be noticed
    endpoint.latency_s = 0.8
    apwa.table(rows)
    doomed = nodes.add()
    for _ in range(3):
        nodes.add()
    run = await apwa.run("--concurrency", "64", "-o", "out.jsonl")
    await apwa.until(lambda: len(endpoint.calls) > 200)
    endpoint.latency_s = 3.0  # so that the run outlasts what follows
    await apwa.until(lambda: len(apwa.hosts("joined")) >= 4)

    killed, frozen, *_ = host_processes(nodes.address)
    os.kill(killed, signal.SIGKILL)
    await apwa.until(lambda: len(apwa.hosts("lost")) >= 1)
    os.kill(frozen, signal.SIGSTOP)
    await apwa.until(lambda: len(apwa.hosts("lost")) >= 2)
    os.kill(frozen, signal.SIGCONT)  # it comes back with late results
    await apwa.until(lambda: any("silent" in e.detail for e in apwa.hosts("joined")))

    nodes.kill(doomed)
    nodes.add()
    endpoint.latency_s = 0.3
    assert await apwa.ended(run) == 0, apwa.words
    assert len(endpoint.calls) == rows
    assert endpoint.most_in_flight <= 64 + 3 * 64  # what the dead had under way may still run
    assert endpoint.repeated <= len(apwa.hosts("lost")) * 64  # what these had in flight
    with apwa.reader() as reader:
        counts = reader.journal.counts(RUN, "rate")
    assert (counts.done, counts.quarantined) == (rows, 0)
    report = apwa.directory.report_path.read_text()
    assert "## Hosts" in report and report.count("lost: ") >= 2

    endpoint.latency_s = 0
    local = await apwa.start(
        "run", "plan.yaml", "-t", "rows=rows.jsonl", "-m", f"{endpoint.url}#counting",
        "--yes", "--no-pilot", "--no-reuse", "-o", "local.jsonl",
    )  # fmt: skip
    assert await apwa.ended(local) == 0
    assert (apwa.at / "out.jsonl").read_bytes() == (apwa.at / "local.jsonl").read_bytes()


async def test_a_killed_driver_leaves_no_hosts_and_its_run_goes_on(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> None:
    rows = 1500
    endpoint.latency_s = 0.2
    apwa.table(rows)
    nodes.add(2)
    apwa.env["APWA_API_KEY"] = "the-first"
    run = await apwa.run("--concurrency", "32")
    await apwa.until(lambda: len(endpoint.calls) > 300)
    hosts = host_processes(nodes.address)
    assert hosts
    run.kill()
    await run.wait()
    await apwa.until(lambda: not set(hosts) & set(host_processes(nodes.address)))
    in_flight = 32 * 3  # under way, and answered but not yet committed

    keys: list[str] = []
    endpoint.on_row = lambda row, request: keys.append(request.headers["authorization"])
    endpoint.latency_s = 3.0  # so that the run outlasts the change
    again = await apwa.start("resume", "--display", "plain", "-o", "out.jsonl")
    await apwa.until(lambda: len(keys) > 32)
    # the hosts get another key, with which they go on
    apwa.env["APWA_API_KEY"] = "the-second"
    assert await apwa.ended(await apwa.start("change", "--endpoints")) == 0, apwa.words
    await apwa.until(lambda: set(keys[-33:]) == {"Bearer the-second"})  # all that are under way
    endpoint.latency_s = 0
    assert await apwa.ended(again) == 0, apwa.words
    assert keys[-1] == "Bearer the-second" and keys[0] == "Bearer the-first"
    assert len(endpoint.calls) == rows
    assert endpoint.repeated <= in_flight


async def test_a_host_that_freezes_for_good_is_ended_and_replaced(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> None:
    apwa.program = driver(silence_s=5.0, frozen_s=15.0)
    apwa.table(400)
    nodes.add()  # with room for one host, whose place another is to take
    endpoint.latency_s = 3.0  # so that the run outlasts what follows
    run = await apwa.run("--concurrency", "16", "-o", "out.jsonl")
    await apwa.until(lambda: len(endpoint.calls) > 16)
    [frozen] = host_processes(nodes.address)
    os.kill(frozen, signal.SIGSTOP)
    await apwa.until(lambda: "nothing was heard of it for" in apwa.words)
    endpoint.latency_s = 0.1
    assert await apwa.ended(run) == 0, apwa.words
    assert len(endpoint.calls) == 400
    assert not Path(f"/proc/{frozen}").exists()


async def test_a_row_that_kills_its_host_twice_is_set_aside_and_no_other(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> None:
    rows = 300
    apwa.table(rows)
    nodes.add(2)

    def kills(row: int, request: web.Request) -> None:
        if row == 150 and request.transport is not None:
            port = request.transport.get_extra_info("peername")[1]
            os.kill(_owner_of(port, nodes.address), signal.SIGKILL)

    endpoint.on_row = kills
    run = await apwa.run("--concurrency", "16", "-o", "out.jsonl")
    assert await apwa.ended(run) == 3, apwa.words
    with apwa.reader() as reader:
        counts = reader.journal.counts(RUN, "rate")
        bad = list(reader.journal.results(RUN, "rate", 150, 151))
    assert (counts.done, counts.quarantined) == (rows - 1, 1)
    assert [r.kind.value for r in bad if r.kind is not None] == ["host_lost"]
    assert endpoint.calls[150] == 2 and "twice" in bad[0].message


async def test_templates_with_resources_run_on_the_nodes_that_have_them(
    apwa: Apwa, endpoint: Counting, nodes: Nodes
) -> None:
    apwa.table(120)
    (apwa.at / "plan.yaml").write_text(
        """
apwa: 1
steps:
  rate_fast:
    over: rows
    template: "Rate {{text}} fast."
    contract: {fast_tone: str, fast_stars: int}
    resources: {fast: 1}
  rate_large:
    over: rows
    template: "Rate {{text}} thoroughly."
    contract: {tone: str, stars: int}
    resources: {cpu: 0.5, memory: 200MB, large: 1}
  both:
    query: SELECT f.text, f.fast_tone, l.tone FROM rate_fast f JOIN rate_large l USING (text)
    key: [text]
"""
    )
    fast, large = nodes.add(1, fast=1), nodes.add(1, large=1)
    run = await apwa.run("-o", "out.jsonl")
    code = await apwa.ended(run)
    where = {e.host: e.detail for e in apwa.hosts("joined")}
    with apwa.reader() as reader:
        hosts = {
            step: {r.host for r in reader.journal.results(RUN, step, 0, 120)}
            for step in ("rate_fast", "rate_large")
        }
    assert {where[host][5:11] for host in hosts["rate_large"]} == {large.node_id[:6]}, apwa.words
    assert {where[host][5:11] for host in hosts["rate_fast"]} == {fast.node_id[:6]}
    assert code == 0


async def test_no_room_is_said_in_words(apwa: Apwa, endpoint: Counting, nodes: Nodes) -> None:
    apwa.table(20)
    nodes.add(1)
    plan = (apwa.at / "plan.yaml").read_text()
    (apwa.at / "plan.yaml").write_text(plan + "    resources: {gpu: 1}\n")
    run = await apwa.run()
    await apwa.until(lambda: "has no room for it yet" in apwa.words)
    assert "cpu 1, gpu 1" in apwa.words
    run.send_signal(signal.SIGINT)
    assert await apwa.ended(run) == 130
    assert not endpoint.calls
