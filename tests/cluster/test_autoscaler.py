"""Ray's autoscaler: nodes come as hosts find no room, and go when the run has ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from apwa.vocabulary.events import ClusterFound, HostsSeen
from tests.canary import find

from .conftest import Apwa, Counting

pytestmark = [pytest.mark.timeout(600)]

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
HEAD = "f" * 51 + "00000"  # what it calls its head
PORT = 6379  # Ray's provider of make-believe machines looks for its head here


class Growing:
    """A head without CPUs whose autoscaler begins real raylets on this machine, and ends them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="apwa-as-", dir="/tmp"))  # sockets: short names
        workers = {"CPU": 1, "object_store_memory": 80 << 20}
        config = {
            "cluster_name": "apwa-tests",
            "max_workers": 2,
            "provider": {
                "type": "external", "module": PROVIDER,
                "launch_multiple": True, "head_node_id": HEAD,
                "disable_node_updaters": True, "disable_launch_config_check": True,
            },
            "head_node_type": "ray.head.default",  # the provider knows no other name
            "available_node_types": {
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "worker": {
                    "resources": workers, "node_config": {}, "min_workers": 0, "max_workers": 2,
                },
            },
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 0.1,
            "auth": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "initialization_commands": [],
            "setup_commands": [],
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "head_start_ray_commands": [],
            "worker_start_ray_commands": [],
        }  # fmt: skip
        (self.folder / "config.json").write_text(json.dumps(config))
        self.address = f"127.0.0.1:{PORT}"
        ray_command = Path(sys.executable).with_name("ray")
        subprocess.run(
            [str(ray_command), "start", "--head", f"--port={PORT}", "--num-cpus=0",
             f"--temp-dir={self.folder}/r", f"--autoscaling-config={self.folder}/config.json",
             "--include-dashboard=false", "--object-store-memory=80000000"],
            env=os.environ | {
                "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1",
                "RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": HEAD,
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
            },
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def processes(self) -> list[int]:
        """The cluster's processes: those that name its folder."""
        found: list[int] = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def nodes(self) -> int:
        """Raylets beside the head's."""
        raylets = 0
        for process in self.processes():
            with contextlib.suppress(OSError):
                raylets += b"raylet/raylet" in Path(f"/proc/{process}/cmdline").read_bytes()
        return raylets - 1

    def end(self) -> None:
        for _ in range(3):
            for process in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        leaks = find(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        assert leaks == []


@pytest.fixture
def growing() -> Iterator[Growing]:
    made = Growing()
    yield made
    made.end()


@pytest.fixture
def apwa(tmp_path: Path, endpoint: Counting, growing: Growing) -> Iterator[Apwa]:
    made = Apwa(tmp_path, endpoint, growing.address)
    yield made
    made.close()


async def test_nodes_come_for_work_that_finds_no_room_and_go_after_it(
    apwa: Apwa, endpoint: Counting, growing: Growing
) -> None:
    rows = 600
    endpoint.latency_s = 0.3
    apwa.table(rows)
    grown: list[int] = []  # while a host calls, its node is there

    def look(row: int, request: web.Request) -> None:
        if row % 100 == 0:
            grown.append(growing.nodes())

    endpoint.on_row = look
    run = await apwa.run("--concurrency", "48", "-o", "out.jsonl")
    assert await apwa.ended(run) == 0, apwa.words
    assert len(endpoint.calls) == rows and endpoint.repeated == 0
    with apwa.reader() as reader:
        events = [numbered.event for numbered in reader.events()]
    [cluster] = [e for e in events if isinstance(e, ClusterFound)]
    assert not cluster.resources.get("CPU")
    assert min(grown) in (1, 2)  # one that begins a process is two for a moment
    loads = {load.host: load.done for e in events if isinstance(e, HostsSeen) for load in e.hosts}
    assert sum(loads.values()) == rows  # the last look at the hosts is after the last row
    assert apwa.hosts("joined")  # where no node had room for one when the run began
    await apwa.until(lambda: growing.nodes() == 0)
