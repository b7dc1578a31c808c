"""The scheduler: which row is where. Pure: events in, decisions out, time as an argument.

A row of an open step is in one of these places, and moves along the arrows only:

    expanded ─▶ ready ─▶ leased ─▶ finished ─▶ committed (a bit in the counts, object dropped)
                  ▲         │
                  └─ retry ◀┘   (after its backoff)

or it is a *follower*: its request equals one under way, and it waits for that one's answer. A
follower whose leader is set aside takes its place. Refused rows and rows whose answer is known
are finished without a lease. Counts move only when the journal has the result.

A row on a host whose process ends by itself is a *suspect*: it may have been the reason. A
host gets one suspect at a time, so that the next such end tells which row it was.

A lease that is taken back from a lost host is remembered for a while: should its result come
after all, it is taken if the row has none yet, and the newer lease is revoked.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from apwa.executor.retry import verdict
from apwa.executor.rows import Finished, Row, StepState
from apwa.executor.seam import StepJob, Work
from apwa.journal.seam import StoredResult
from apwa.vocabulary import Attempt, ErrorKind, Follow, LeaseItem, Outcome

ROOM_ROWS = 2_000
ROOM_BYTES = 32 * 1024 * 1024
OPEN_BYTES = 256 * 1024 * 1024  # of rows leased too: pictures are large
MOST_FINISHING = 4096  # results on their way to the journal, above which nothing is taken on
_REMEMBERED = 20_000  # expired leases


class Halt(NamedTuple):
    """A failure that is nobody's row: the run must pause."""

    kind: ErrorKind
    message: str
    step: str


class Scheduler:
    """Rows and leases of all open steps.

    Attributes:
        finished: Results to be committed, in order; the driver takes them all at once.
        acks: (host, lease id) that may be acknowledged without a commit.
        revokes: (host, lease id) whose row has got its result elsewhere.
        halts: Failures that pause the run.
    """

    def __init__(self, seed: int, epoch: int) -> None:
        self.steps: dict[tuple[str, str], StepState] = {}
        self.leases: dict[int, Row] = {}
        self.finished: list[Finished] = []
        self.acks: list[tuple[str, int]] = []
        self.revokes: list[tuple[str, int]] = []
        self.halts: list[Halt] = []
        self._suspects: Counter[str] = Counter()  # leased, by host
        # the row is None once it has its result: it must not stay in memory for this
        self._expired: OrderedDict[int, tuple[str, Row | None]] = OrderedDict()
        self._finishing: set[int] = set()  # leases whose result is not committed yet
        self._retries: list[tuple[float, int, Row]] = []
        self._numbers = 0
        # an epoch's lease ids are its own: a host may still hold leases of the driver before
        self._next_lease = (epoch << 40) + 1
        self._chance = random.Random(seed)

    # ---- work in

    def open(self, job: StepJob, now: float) -> StepState:
        step = StepState(job, now)
        self.steps[step.key] = step
        return step

    def has_room(self, step: StepState) -> bool:
        return (
            step.waiting < ROOM_ROWS
            and step.waiting_bytes < ROOM_BYTES
            and step.open_bytes < OPEN_BYTES
            and step.finishing < MOST_FINISHING
        )

    def supply(self, step: StepState, batch: Sequence[Work]) -> None:
        """Take expanded rows in."""
        job = step.job
        share, known, leaders = job.share, job.known, step.leaders
        step.open += len(batch)
        for work in batch:
            row = Row(step, work)
            step.open_bytes += work.size_bytes
            if work.refused is not None:
                kind, message = work.refused
                self._finish(row, _set_aside(row, ErrorKind(kind), message, 0.0, "", b""))
                continue
            result = work.answered or (known.get(work.reuse_key) if known else None)
            if result is not None:
                self._finish(row, _reused(row, result))
                continue
            step.waiting += 1
            step.waiting_bytes += work.size_bytes
            if share:
                leader = leaders.setdefault(work.reuse_key, row)
                if leader is not row:
                    if leader.followers is None:
                        leader.followers = []
                    leader.followers.append(row)
                    continue
            step.ready.append(row)

    # ---- leases out

    def lease(
        self, step: StepState, host: str, most: int, *, alone: bool = True
    ) -> list[LeaseItem]:
        """Lease up to ``most`` rows of a step to a host, ``alone`` if there is no other."""
        items: list[LeaseItem] = []
        not_here: list[Row] = []
        ready, leases = step.ready, self.leases
        while ready and len(items) < most:
            row = ready.popleft()
            work = row.work
            if (row.suspect and self._suspects[host]) or (row.avoid == host and not alone):
                not_here.append(row)
                continue
            step.waiting -= 1
            step.waiting_bytes -= work.size_bytes
            if row.settled:
                continue
            lease_id = self._next_lease
            self._next_lease += 1
            row.lease_id, row.host = lease_id, host
            self._suspects[host] += row.suspect
            leases[lease_id] = row
            items.append(_item(lease_id, work))
        ready.extendleft(reversed(not_here))
        step.leased += len(items)
        step.leased_on[host] += len(items)
        return items

    def item_of(self, lease_id: int) -> LeaseItem:
        """A lease once more, for a host that seems not to have got it."""
        work = self.leases[lease_id].work
        return _item(lease_id, work)

    def due(self, now: float) -> None:
        """Rows whose backoff is over become ready, before rows that were never tried."""
        retries = self._retries
        while retries and retries[0][0] <= now:
            row = heapq.heappop(retries)[2]
            if not row.settled:
                row.step.ready.appendleft(row)
                row.step.waiting += 1
                row.step.waiting_bytes += row.work.size_bytes

    # ---- outcomes in

    def outcomes(self, host: str, items: Sequence[Outcome], now: float) -> None:
        """Take in what a host made of leases, in any order, any number of times."""
        for outcome in items:
            row = self._take_back(outcome.lease_id)
            if row is None:
                self._late(host, outcome)
                continue
            if outcome.kind is None:
                self._done(host, row, outcome)
            else:
                self._failed(host, row, outcome, now)

    def returned(self, lease_ids: Sequence[int]) -> None:
        """Leases given back unworked: ready at once, nobody charged."""
        for lease_id in lease_ids:
            row = self._take_back(lease_id)
            if row is not None:
                self._again(row)

    def host_lost(self, host: str, words: str = "", *, alone: bool = False) -> int:
        """Take back all leases of a host; how many.

        ``alone``: its process has ended and nothing else with it, for the reason in ``words``. A
        row for which that is so twice is set aside.
        """
        lost = [lease_id for lease_id, row in self.leases.items() if row.host == host]
        for lease_id in lost:
            row = self.leases[lease_id]
            self._take_back(lease_id)
            self._remember(lease_id, host, row)
            row.lost += 1
            kind = ErrorKind.HOST_LOST
            limits = row.step.job.spec.limits
            message = ""
            if alone and row.suspect:
                message = f"twice the process of its host ended while it worked: {words}"
            elif verdict(kind, row.charged, row.lost, limits, self._chance).follow is Follow.RETRY:
                row.suspect = row.suspect or alone
                row.step.retries += 1
                self._again(row)
            else:
                message = f"lost with its host {row.lost} times, last {host}"
            if message:
                self._finish(row, _set_aside(row, kind, message, 0.0, host, b""))
        return len(lost)

    def excuse(self, host: str) -> int:
        """Take attempts back that failures on a sick host have charged to rows; how many."""
        waiting = [entry[2] for entry in self._retries]
        for step in self.steps.values():
            waiting += step.ready
        excused = 0
        for row in [*waiting, *self.leases.values()]:
            if host in row.blamed:
                excused += row.blamed.count(host)
                row.charged -= row.blamed.count(host)
                row.blamed = tuple(name for name in row.blamed if name != host)
        return excused

    def expired_on(self, host: str) -> list[int]:
        """Leases that were taken back from a host and may still be held there."""
        return [lease_id for lease_id, (where, _) in self._expired.items() if where == host]

    def drop(self, step: StepState) -> dict[str, list[int]]:
        """Take back all leases of a step; gives by host what to revoke."""
        held: dict[str, list[int]] = {}
        for lease_id, row in list(self.leases.items()):
            if row.step is step:
                held.setdefault(row.host, []).append(lease_id)
                self._take_back(lease_id)
                self._again(row)
        return held

    # ---- commits back

    def committed(self, batch: Sequence[Finished]) -> None:
        """The journal has these results: only now do they count."""
        for finished in batch:
            step, result = finished.row.step, finished.result
            step.open -= 1
            step.open_bytes -= finished.row.work.size_bytes
            step.finishing -= 1
            self._finishing.discard(finished.lease_id)
            if result.kind is None:
                step.done += 1
            else:
                step.set_aside(result.kind, result.message)
            if result.attempts:
                step.spend(result.attempts)

    def take_finished(self) -> list[Finished]:
        taken, self.finished = self.finished, []
        return taken

    def close(self, step: StepState) -> None:
        """Forget a step. Its leases must be back."""
        self.steps.pop(step.key, None)
        if self._expired:
            over = [i for i, (_, row) in self._expired.items() if row and row.step is step]
            for lease_id in over:
                del self._expired[lease_id]
        self._retries = [entry for entry in self._retries if entry[2].step is not step]
        heapq.heapify(self._retries)

    # ---- inside

    def _done(self, host: str, row: Row, outcome: Outcome) -> None:
        work = row.work
        job = row.step.job
        result = StoredResult(
            job.scope, job.spec.step, work.ordinal, work.generation, work.reuse_key, "model", None,
            outcome.answer, outcome.raw, "", _attempts(row, outcome), outcome.duration_s, host,
            outcome.transcript,
        )  # fmt: skip
        self._finish(row, result, host, outcome.lease_id)

    def _failed(self, host: str, row: Row, outcome: Outcome, now: float) -> None:
        kind = outcome.kind
        assert kind is not None
        limits = row.step.job.spec.limits
        follow, delay_s, charged = verdict(kind, row.charged, row.lost, limits, self._chance)
        if follow is Follow.QUARANTINE:
            row.past += tuple(outcome.attempts)
            result = _set_aside(
                row, kind, outcome.message, outcome.duration_s, host, outcome.transcript,
                outcome.raw,
            )  # fmt: skip
            self._finish(row, result, host, outcome.lease_id)
            return
        row.past += tuple(outcome.attempts)
        row.charged += charged
        if charged:
            row.blamed += (host,)
        row.avoid = host
        self.acks.append((host, outcome.lease_id))
        if follow is Follow.PAUSE:
            self.halts.append(Halt(kind, outcome.message, row.step.job.spec.step))
            self._again(row)
            return
        row.step.retries += 1
        self._retry(row, now + delay_s)

    def _late(self, host: str, outcome: Outcome) -> None:
        """An outcome of a lease that is not held: a duplicate, or from a host given up."""
        _, row = self._expired.pop(outcome.lease_id, (host, None))
        if row is None or row.settled or outcome.kind is not None:
            # nothing of it counts; but if its result is only about to be committed, the
            # acknowledgement comes with that, and not before
            if outcome.lease_id not in self._finishing:
                self.acks.append((host, outcome.lease_id))
            return
        if row.lease_id:
            self.revokes.append((row.host, row.lease_id))
            self._take_back(row.lease_id)
        self._done(host, row, outcome)

    def _finish(self, row: Row, result: StoredResult, host: str = "", lease_id: int = 0) -> None:
        row.settled = True
        for expired in row.expired:
            if expired in self._expired:
                self._expired[expired] = (self._expired[expired][0], None)
        row.step.finishing += 1
        self._finishing.add(lease_id)
        self.finished.append(Finished(row, result, host, lease_id))
        leaders = row.step.leaders
        if leaders and leaders.get(row.work.reuse_key) is row:
            del leaders[row.work.reuse_key]
            if row.followers:
                self._release(row, result)

    def _release(self, leader: Row, result: StoredResult) -> None:
        followers, leader.followers = leader.followers or [], None
        step = leader.step
        if result.kind is None:
            for row in followers:
                step.waiting -= 1
                step.waiting_bytes -= row.work.size_bytes
                row.settled = True
                step.finishing += 1
                self.finished.append(Finished(row, _reused(row, result)))
            return
        heir = followers[0]
        heir.followers = followers[1:]
        step.leaders[heir.work.reuse_key] = heir
        step.ready.append(heir)

    def _take_back(self, lease_id: int) -> Row | None:
        row = self.leases.pop(lease_id, None)
        if row is not None:
            row.step.leased -= 1
            row.step.leased_on[row.host] -= 1
            self._suspects[row.host] -= row.suspect
            row.lease_id = 0
        return row

    def _again(self, row: Row) -> None:
        row.step.ready.appendleft(row)
        row.step.waiting += 1
        row.step.waiting_bytes += row.work.size_bytes

    def _retry(self, row: Row, due: float) -> None:
        self._numbers += 1  # rows are not ordered: the number breaks ties
        heapq.heappush(self._retries, (due, self._numbers, row))

    def _remember(self, lease_id: int, host: str, row: Row) -> None:
        row.expired += (lease_id,)
        self._expired[lease_id] = (host, row)
        if len(self._expired) > _REMEMBERED:
            self._expired.popitem(last=False)


def _item(lease_id: int, work: Work) -> LeaseItem:
    return LeaseItem(
        lease_id, work.ordinal, work.generation, work.reuse_key, work.values, work.cells
    )


def _attempts(row: Row, outcome: Outcome) -> list[Attempt]:
    return [*row.past, *outcome.attempts] if row.past else outcome.attempts


def _reused(row: Row, like: StoredResult) -> StoredResult:
    job, work = row.step.job, row.work
    return StoredResult(
        job.scope, job.spec.step, work.ordinal, work.generation, work.reuse_key, "reuse", None,
        like.answer, like.raw, "", [], 0.0, like.host,
    )  # fmt: skip


def _set_aside(
    row: Row,
    kind: ErrorKind,
    message: str,
    duration_s: float,
    host: str,
    transcript: bytes,
    raw: str = "",
) -> StoredResult:
    job, work = row.step.job, row.work
    return StoredResult(
        job.scope, job.spec.step, work.ordinal, work.generation, work.reuse_key, "model", kind,
        b"", raw, message, [*row.past], duration_s, host, transcript,
    )  # fmt: skip
