"""The run's one stream of events: versioned, append-only, numbered from 1.

Kept in the journal and read alike by the terminal, ``--display json`` and whatever comes.
Rows are not events; steps, hosts, limits and the manager are, with aggregates once a second.
An event's ``at`` is seconds since the epoch, for people; nothing computes with it.
"""

from __future__ import annotations

import msgspec

from apwa.vocabulary.usage import Usage


class _Event(msgspec.Struct, frozen=True, tag=True):
    pass


class RunStarted(_Event, frozen=True):
    run: str
    job: str
    models: list[str]
    practice: bool  # the practice model answers: say so wherever it shows
    resumed: bool = False


class TableRead(_Event, frozen=True):
    """A table is there. ``left_out``: files of its folder that are of no kind that can be read."""

    table: str
    rows: int
    columns: int
    source: str
    left_out: int = 0


class InputFetched(_Event, frozen=True):
    """How far an input that lies elsewhere is on its way here.

    ``all_bytes`` None: not known.
    """

    table: str
    source: str
    files: int
    all_files: int
    size_bytes: int
    all_bytes: int | None = None


class FilesRead(_Event, frozen=True):
    """How many of the rows of a table of documents that were wanted have been read so far."""

    table: str
    read: int
    rows: int


class ManagerSaid(_Event, frozen=True):
    """A turn of the manager: its words, or the tool it called, in one line."""

    words: str
    tool: str = ""


class PlanChanged(_Event, frozen=True):
    version: int
    steps: list[str]
    reason: str = ""


class StepOpened(_Event, frozen=True):
    scope: str
    step: str
    kind: str  # template, reduce, query, rows
    rows: int
    done: int = 0  # by an earlier try


class AnswersReused(_Event, frozen=True):
    """Rows of a step that need no call: ``run`` has answered them, or, where that is empty, this
    run under an earlier contract."""

    step: str
    rows: int
    of: int
    run: str = ""


class StepProgress(_Event, frozen=True):
    """Aggregates of a step, once a second while it is open.

    ``limit`` names what bounds the pace now: ``endpoint``, ``ceiling``, ``budget``, ``rows``,
    ``cpu``, or ``waiting until 12:04 (429)``. Latencies in seconds.
    """

    scope: str
    step: str
    rows: int
    done: int
    quarantined: int
    retries: int
    in_flight: int
    usage: Usage
    rate: float  # rows a second, lately
    latency_p50: float = 0.0
    latency_p95: float = 0.0
    left_s: float | None = None
    limit: str = ""
    slowest: str = ""  # the row in flight for longest, and since when


class StepClosed(_Event, frozen=True):
    scope: str
    step: str
    rows: int
    done: int
    quarantined: int
    skipped: int
    usage: Usage


class Trouble(_Event, frozen=True):
    """Something a person should know; equal ones are said once, with a count."""

    kind: str
    message: str
    count: int = 1
    step: str = ""


class EndpointFound(_Event, frozen=True):
    """What the probe call found out about an endpoint."""

    endpoint: str
    model: str
    structured: str
    context: int | None
    price: str
    notes: list[str] = []


class PaceChanged(_Event, frozen=True):
    endpoint: str
    slots: int
    reason: str


class HostChanged(_Event, frozen=True):
    host: str
    change: str  # joined, lost, sick, left
    detail: str = ""


class HostLoad(msgspec.Struct, frozen=True):
    """One host: where it is, its calls under way, and what came of its work so far."""

    host: str
    place: str
    in_flight: int
    done: int
    failed: int


class HostsSeen(_Event, frozen=True):
    """The hosts at work, once a second, where there are several or they are elsewhere."""

    hosts: list[HostLoad]


class ClusterFound(_Event, frozen=True):
    """The Ray cluster that works the run. ``local``: it was begun for it, on this machine."""

    address: str
    dashboard: str
    nodes: int
    resources: dict[str, float]
    local: bool = False


class PilotDone(_Event, frozen=True):
    """Forecast for the full run, with its range: (low, likely, high). Money in nano-dollars."""

    plan_version: int
    rows: int
    failed: int
    cost_nusd: tuple[int, int, int] | None
    seconds: tuple[float, float, float]
    tokens: tuple[int, int, int]
    reasoning: int = 0  # of the likely tokens


class ApprovalNeeded(_Event, frozen=True):
    plan_version: int
    why: str


class Approved(_Event, frozen=True):
    plan_version: int
    by: str  # person, --yes, --max-cost


class CommandTaken(_Event, frozen=True):
    command: str


class RunEnded(_Event, frozen=True):
    """``state``: done, paused, cancelled, failed, refused. Counts are the answer step's."""

    state: str
    reason: str
    rows: int
    done: int
    quarantined: int
    skipped: int
    usage: Usage
    answer: str = ""


Event = (
    RunStarted
    | TableRead
    | InputFetched
    | FilesRead
    | ManagerSaid
    | PlanChanged
    | StepOpened
    | AnswersReused
    | StepProgress
    | StepClosed
    | Trouble
    | EndpointFound
    | PaceChanged
    | HostChanged
    | HostsSeen
    | ClusterFound
    | PilotDone
    | ApprovalNeeded
    | Approved
    | CommandTaken
    | RunEnded
)


class Numbered(msgspec.Struct, frozen=True):
    """An event with its place in the stream."""

    number: int
    at: float
    event: Event
    version: int = 1


_decoder = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    return msgspec.json.encode(event)


def decode_event(data: bytes) -> Event:
    """Raises msgspec.ValidationError for anything that is no event."""
    return _decoder.decode(data)
