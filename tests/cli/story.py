"""Event streams for the displays' tests."""

from __future__ import annotations

from apwa.vocabulary import PILOT, RUN, Usage
from apwa.vocabulary.events import (
    Approved,
    ClusterFound,
    EndpointFound,
    Event,
    HostChanged,
    HostLoad,
    HostsSeen,
    ManagerSaid,
    Numbered,
    PaceChanged,
    PilotDone,
    PlanChanged,
    RunEnded,
    RunStarted,
    StepClosed,
    StepOpened,
    StepProgress,
    TableRead,
    Trouble,
)

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202ered\r\nsecond line\x00"


def progress(done: int, scope: str = RUN, step: str = "redact", rows: int = 1824) -> StepProgress:
    usage = Usage(done, 100 * done, 10 * done, cost_nusd=12_345 * done)
    return StepProgress(
        scope, step, rows, done, done // 100, done // 50, 16, usage, 120.4, 0.5, 2.0,
        (rows - done) / 120.4, "endpoint", "row 17, for 12 s",
    )  # fmt: skip


def story(spice: str = "") -> list[Numbered]:
    """A whole run; ``spice`` goes wherever a model's or a table's words may stand."""
    used = Usage(1824, 182_400, 18_240, cost_nusd=22_517_280)
    events: list[Event] = [
        RunStarted("20261126-k3f9", f"Redact{spice}", [f"openai:m{spice}"], False),
        TableRead(f"notes{spice}", 1824, 3, f"notes.jsonl{spice}"),
        EndpointFound(
            f"openai{spice}", f"m{spice}", "json_schema", 128_000, "$1 in", [f"asked{spice}"]
        ),
        HostChanged(f"local{spice}", "joined", spice),
        ManagerSaid(f"3 rows of notes{spice}", "sample"),
        ManagerSaid(f"One template does it.{spice}"),
        PlanChanged(1, [f"redact{spice}"], f"first try{spice}"),
        StepOpened(PILOT, f"redact{spice}", "template", 10),
        StepClosed(PILOT, f"redact{spice}", 10, 9, 1, 0, Usage(12, 1200, 120, cost_nusd=148_140)),
        PilotDone(
            1,
            10,
            1,
            (20_000_000, 22_000_000, 30_000_000),
            (10.0, 15.2, 65.0),
            (150_000, 200_000, 300_000),
        ),
        Approved(1, f"--yes{spice}"),
        StepOpened(RUN, f"redact{spice}", "template", 1824, 24),
        PaceChanged(f"openai{spice}", 32, spice),
        progress(400, step=f"redact{spice}"),
        Trouble("rate_limited", f"slow down{spice}", 1, f"redact{spice}"),
        Trouble("rate_limited", f"slow down{spice}", 7, f"redact{spice}"),
        Trouble("rate_limited", f"slow down{spice}", 80, f"redact{spice}"),
        progress(1800, step=f"redact{spice}"),
        StepClosed(RUN, f"redact{spice}", 1824, 1800, 24, 0, used),
        RunEnded("done", spice, 1824, 1800, 24, 0, used, f"redact{spice}"),
    ]
    return [Numbered(n, 1000.0 + n, event) for n, event in enumerate(events, 1)]


def cluster_story(spice: str = "") -> list[Numbered]:
    """The begin of a run on a cluster, one host of which is lost."""
    loads = [HostLoad(f"h{n}{spice}", f"node {n // 2}{spice}", 5 + n, 30, n) for n in range(3)]
    events: list[Event] = [
        RunStarted("20261126-k3f9", "Redact", ["openai:m"], False),
        ClusterFound(
            f"192.0.2.1:6379{spice}", f"http://192.0.2.1:8265{spice}", 2, {"CPU": 4.0, "GPU": 1.0}
        ),
        HostChanged(f"h0{spice}", "joined", f"node 0{spice}"),
        StepOpened(RUN, "redact", "template", 1824),
        HostsSeen(loads),
        HostChanged(f"h0{spice}", "lost", f"5 leases taken back{spice}"),
        HostsSeen(loads[1:]),
    ]
    return [Numbered(n, 1000.0 + n, event) for n, event in enumerate(events, 1)]
