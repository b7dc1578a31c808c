"""Runs that a cluster drives: begun from outside, watched, stopped, resumed, fetched."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from apwa.runs import RunReader, list_runs

from .conftest import PLAN, Apwa, Counting

pytestmark = [pytest.mark.timeout(1200)]

CANARY = "canary-8f2e6b1c"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Away:
    """A cluster that is reached by its client's port alone, with runs of its own."""

    def __init__(self, home: Path) -> None:
        from ray.cluster_utils import Cluster

        os.environ["APWA_HOME"] = str(home)  # of the keeper and the drivers
        try:
            port = _free_port()
            self.cluster = Cluster(
                initialize_head=True,
                head_node_args={
                    "num_cpus": 2, "ray_client_server_port": port, "include_dashboard": True,
                    "dashboard_port": _free_port(),
                    # it takes the jobs; nodes of a cluster that is ending may still have its port
                    "dashboard_agent_listen_port": _free_port(),
                },
            )  # fmt: skip
        finally:
            del os.environ["APWA_HOME"]
        self.address = f"ray://127.0.0.1:{port}"
        self.home = home

    def drivers(self) -> list[int]:
        found: list[int] = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                parts = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"apwa.runs.detached.driving" in parts and b"-m" in parts:
                found.append(int(path.parent.name))
        return found


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Away]:
    made = Away(tmp_path / "away")
    yield made
    made.cluster.shutdown()


@pytest.fixture
def laptop(tmp_path: Path, endpoint: Counting, away: Away) -> Iterator[Apwa]:
    at = tmp_path / "laptop"
    at.mkdir()
    made = Apwa(at, endpoint, "")
    del made.env["RAY_ADDRESS"]
    made.env["APWA_API_KEY"] = CANARY
    yield made
    made.close()


async def _do(laptop: Apwa, *arguments: str) -> int:
    return await laptop.ended(await laptop.start(*arguments))


async def test_a_detached_run_is_watched_stopped_killed_resumed_and_fetched(
    laptop: Apwa, endpoint: Counting, away: Away
) -> None:
    rows = 4000  # so many that it is cancelled before its end, also on a busy machine
    endpoint.latency_s = 1.0
    laptop.table(rows)
    begin = (
        "run", "plan.yaml", "-t", "rows=rows.jsonl", "-m", f"{endpoint.url}#counting",
        "--executor", away.address, "--detach", "--yes", "--no-pilot", "--concurrency", "16",
    )  # fmt: skip
    # what is wrong is said here, before anything is spent
    (laptop.at / "plan.yaml").write_text(PLAN.replace("{{text}}", "{{txt}}"))
    assert await _do(laptop, *begin) == 2, laptop.words
    assert "'rows' has no column 'txt'" in laptop.words and not endpoint.calls
    (laptop.at / "plan.yaml").write_text(PLAN)

    # who leaves while the driver reads finds the run again, and stops it
    asked = asyncio.Event()
    silent = await asyncio.start_server(lambda *_: asked.set(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/rows.jsonl"
    reading = await laptop.start(*(part.replace("rows.jsonl", url) for part in begin))
    await laptop.until(asked.is_set)
    reading.send_signal(signal.SIGINT)
    assert await laptop.ended(reading) == 130 and "it with: apwa cancel" in laptop.words
    assert await _do(laptop, "cancel") == 0, laptop.words
    assert "stopped before its driver had begun: nothing is left of it" in laptop.words
    await laptop.until(lambda: not away.drivers())
    assert not _known(laptop) and not list((away.home / "runs").iterdir())
    silent.close()

    assert await _do(laptop, *begin) == 0, laptop.words
    await laptop.until(lambda: len(endpoint.calls) > 100)
    # another key, which goes through the keeper's calls and stands nowhere
    keys: set[str] = set()
    endpoint.on_row = lambda row, request: keys.add(request.headers["authorization"])
    laptop.env["APWA_API_KEY"] = f"{CANARY}-2"
    assert await _do(laptop, "change", "--endpoints") == 0, laptop.words
    await laptop.until(lambda: f"Bearer {CANARY}-2" in keys)
    assert await _do(laptop, "runs") == 0 and f"detached  at {away.address}" in laptop.words

    # its driver dies; the keeper lives and goes on with the run
    (driver,) = away.drivers()
    os.kill(driver, signal.SIGKILL)
    assert await _do(laptop, "resume") == 0, laptop.words
    before = len(endpoint.calls)
    await laptop.until(lambda: len(endpoint.calls) > before + 50)

    # it is stopped from here, and goes on again
    assert await _do(laptop, "cancel") == 0
    assert len(endpoint.calls) < rows
    await laptop.until(lambda: not away.drivers())
    [directory] = list_runs(away.home)
    with RunReader(directory) as reader:
        assert reader.ending is not None and reader.ending.reason == "cancelled on request"
    endpoint.latency_s = 0
    assert await _do(laptop, "resume") == 0
    assert await _do(laptop, "watch", "--display", "plain") == 0, laptop.words
    assert f"Run {directory.name}: done" in laptop.words  # as `show` says it there

    assert await _do(laptop, "export", "last", "rate", "-o", "out.jsonl") == 0, laptop.words
    answers = [json.loads(line) for line in (laptop.at / "out.jsonl").read_text().splitlines()]
    assert [row["tone"] for row in answers] == [f"tone {n}" for n in range(rows)]
    assert endpoint.repeated <= 3 * 16

    _no_key_is_anywhere(away)
    assert await _do(laptop, "purge", "last-of-none") == 2
    (run,) = _known(laptop)
    assert await _do(laptop, "purge", run) == 0 and not _known(laptop)
    assert not list((away.home / "runs").glob("*"))


def _known(laptop: Apwa) -> list[str]:
    return [path.stem for path in (laptop.at / "home" / "detached").glob("*.json")]


def _no_key_is_anywhere(away: Away) -> None:
    """Neither in Ray's job information nor in any of its logs, nor with the run."""
    from ray.job_submission import JobSubmissionClient

    jobs = JobSubmissionClient(away.cluster.address).list_jobs()
    assert len([job for job in jobs if job.submission_id]) == 5 and CANARY not in str(jobs)
    session = Path(away.cluster.head_node.get_session_dir_path())
    files = [p for top in (session / "logs", away.home) for p in top.rglob("*") if p.is_file()]
    assert len(files) > 20
    holding = [p for p in files if CANARY.encode() in p.read_bytes()]
    assert not holding
