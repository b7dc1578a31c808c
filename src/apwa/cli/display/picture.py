"""The picture of a run: what its events so far come to. Pure; drawing is elsewhere.

Whoever folds the same events has the same picture: the driver's own terminal, or another process
that reads the run's journal. It holds counts and words, never a row's values.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from apwa.vocabulary import PILOT, Usage
from apwa.vocabulary.events import (
    ApprovalNeeded,
    Approved,
    ClusterFound,
    EndpointFound,
    HostChanged,
    HostLoad,
    HostsSeen,
    InputFetched,
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


class StepPicture(msgspec.Struct, frozen=True):
    """A step of one scope. ``closed``: its table is written, and the counts are final."""

    scope: str
    step: str
    kind: str
    rows: int
    done: int = 0
    quarantined: int = 0
    skipped: int = 0
    retries: int = 0
    in_flight: int = 0
    usage: Usage = Usage()
    rate: float = 0.0
    left_s: float | None = None
    limit: str = ""
    slowest: str = ""
    closed: bool = False

    @property
    def label(self) -> str:
        return f"pilot of {self.step}" if self.scope == PILOT else self.step


class Picture(msgspec.Struct, frozen=True):
    """A run as its events tell it, up to event ``number``."""

    number: int = 0
    run: str = ""
    job: str = ""
    models: list[str] = []
    practice: bool = False
    resumed: bool = False
    started_at: float = 0.0  # of the drive that goes on now, or went on last
    at: float = 0.0  # of the last event
    tables: list[TableRead] = []
    fetching: InputFetched | None = None  # an input that is on its way
    endpoints: list[EndpointFound] = []
    hosts: list[HostChanged] = []
    loads: list[HostLoad] = []  # of hosts on a cluster, as last seen
    cluster: ClusterFound | None = None
    slots: dict[str, int] = {}  # endpoint -> calls at once
    said: ManagerSaid | None = None
    turns: int = 0
    plan_version: int = 0
    plan_steps: list[str] = []
    steps: list[StepPicture] = []  # in the order in which they were first opened
    pilot: PilotDone | None = None
    waiting: str = ""  # why a person's approval is waited for
    approved_by: str = ""
    troubles: list[Trouble] = []
    ended: RunEnded | None = None

    @property
    def open_steps(self) -> list[StepPicture]:
        return [step for step in self.steps if not step.closed]

    @property
    def elapsed_s(self) -> float:
        return max(0.0, self.at - self.started_at)

    @property
    def usage(self) -> Usage:
        """What the workers of all steps have used; at the end, all of the run's use."""
        if self.ended is not None:
            return self.ended.usage
        total = Usage()
        for step in self.steps:
            total += step.usage
        return total

    def trouble(self, event: Trouble) -> Trouble | None:
        """The same trouble as this picture knows it."""
        same = (event.kind, event.message, event.step)
        return next((t for t in self.troubles if (t.kind, t.message, t.step) == same), None)


def picture_of(events: Iterable[Numbered], start: Picture | None = None) -> Picture:
    """Fold events, in their order, into a picture."""
    picture = start or Picture()
    for numbered in events:
        picture = after(picture, numbered)
    return picture


def after(picture: Picture, numbered: Numbered) -> Picture:
    """The picture after one more event. An event that it holds already changes nothing."""
    if numbered.number <= picture.number:
        return picture
    # tables are read and hosts join before a run says that it has started
    started_at = picture.started_at if picture.number else numbered.at
    picture = msgspec.structs.replace(
        picture, number=numbered.number, at=numbered.at, started_at=started_at
    )
    return _with(picture, numbered)


def _with(picture: Picture, numbered: Numbered) -> Picture:
    replace = msgspec.structs.replace
    match numbered.event:
        case RunStarted() as e:
            return replace(
                picture, run=e.run, job=e.job, models=e.models, practice=e.practice,
                resumed=e.resumed, waiting="", ended=None,
                started_at=numbered.at if e.resumed else picture.started_at,
            )  # fmt: skip
        case TableRead() as e:
            others = [table for table in picture.tables if table.table != e.table]
            return replace(picture, tables=[*others, e], fetching=None)
        case InputFetched() as e:
            return replace(picture, fetching=e)
        case EndpointFound() as e:
            same = (e.endpoint, e.model)
            others = [p for p in picture.endpoints if (p.endpoint, p.model) != same]
            return replace(picture, endpoints=[*others, e])
        case PaceChanged() as e:
            return replace(picture, slots={**picture.slots, e.endpoint: e.slots})
        case HostChanged() as e:
            others = [host for host in picture.hosts if host.host != e.host]
            return replace(picture, hosts=[*others, e])
        case HostsSeen() as e:
            return replace(picture, loads=e.hosts)
        case ClusterFound() as e:
            return replace(picture, cluster=e)
        case ManagerSaid() as e:
            return replace(picture, said=e, turns=picture.turns + 1)
        case PlanChanged() as e:
            # the pilot of an older version says nothing of this one; its cost stands in the total
            return replace(
                picture, plan_version=e.version, plan_steps=e.steps, pilot=None, approved_by="",
                steps=[step for step in picture.steps if step.scope != PILOT],
            )  # fmt: skip
        case PilotDone() as e:
            return replace(picture, pilot=e)
        case ApprovalNeeded() as e:
            return replace(picture, waiting=e.why)
        case Approved() as e:
            return replace(picture, waiting="", approved_by=e.by)
        case StepOpened() | StepProgress() | StepClosed() as e:
            return replace(picture, steps=_steps(picture.steps, e))
        case Trouble() as e:
            known = picture.trouble(e)
            others = [t for t in picture.troubles if t is not known]
            count = max(e.count, known.count if known is not None else 0)
            return replace(picture, troubles=[*others, replace(e, count=count)])
        case RunEnded() as e:
            return replace(picture, ended=e, waiting="")
        case _:
            return picture


def _steps(
    steps: list[StepPicture], event: StepOpened | StepProgress | StepClosed
) -> list[StepPicture]:
    place = next(
        (n for n, s in enumerate(steps) if (s.scope, s.step) == (event.scope, event.step)), None
    )
    before = StepPicture(event.scope, event.step, "", event.rows) if place is None else steps[place]
    changed = _step(before, event)
    if place is None:
        return [*steps, changed]
    return [*steps[:place], changed, *steps[place + 1 :]]


def _step(before: StepPicture, event: StepOpened | StepProgress | StepClosed) -> StepPicture:
    replace = msgspec.structs.replace
    match event:
        case StepOpened() as e:
            return StepPicture(e.scope, e.step, e.kind, e.rows, e.done)
        case StepProgress() as e:
            return replace(
                before, rows=e.rows, done=e.done, quarantined=e.quarantined, retries=e.retries,
                in_flight=e.in_flight, usage=e.usage, rate=e.rate, left_s=e.left_s,
                limit=e.limit, slowest=e.slowest,
            )  # fmt: skip
        case StepClosed() as e:
            return replace(
                before, rows=e.rows, done=e.done, quarantined=e.quarantined, skipped=e.skipped,
                in_flight=0, usage=e.usage, rate=0.0, left_s=None, limit="", slowest="",
                closed=True,
            )  # fmt: skip
