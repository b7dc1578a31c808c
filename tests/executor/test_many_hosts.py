"""The core with several hosts: slots, hosts that end, suspects, sick hosts, kinds of hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apwa.executor import Core, Finished, OpenBlock, Send, StepState
from apwa.executor.core import SICK_S, SILENCE_S
from apwa.executor.slots import Slots, share_out
from apwa.vocabulary import Attempt, Caps, ErrorKind, Outcome, Usage
from apwa.vocabulary.control import ChangeLimits
from apwa.vocabulary.events import HostChanged
from apwa.vocabulary.messages import (
    ALLOTMENT_S,
    Described,
    Gone,
    Grant,
    Heartbeat,
    Hungry,
    Lease,
    Outcomes,
    Pace,
    PaceSample,
    Returned,
    Revoke,
    Settled,
    Shutdown,
    ToHost,
)

from .conftest import job, spec, work

T = TypeVar("T")


class Many:
    """A core with hosts that do what a test says."""

    def __init__(self, *hosts: str, ceiling: int = 16) -> None:
        self.now = 0.0
        self.core = Core(
            caps=None, spent=Usage(), ceiling=ceiling, max_failures=1.0, seed=1, epoch=1
        )
        self.sent: list[tuple[str, ToHost]] = []
        self.events: list[object] = []
        self.beat = 0
        for host in hosts:
            self.describe(host)

    def describe(self, host: str, profile: str = "", node: str = "") -> None:
        self.core.message(host, Described(host, 256, [], {}, profile, node or host), self.now)
        self.take()

    def open(self, rows: int, name: str = "s", **resources: float) -> StepState:
        made = job(rows, name)
        made = type(made)(
            made.scope, msgspec.structs.replace(spec(name), resources=resources), made.rows,
            made.todo, made.expand,
        )  # fmt: skip
        step = self.core.open_step(made, self.now)
        self.core.supply(step, [work(n) for n in range(rows)], self.now)
        step.expanded = True
        self.take()
        return step

    def take(self) -> None:
        for instruction in self.core.take():
            if isinstance(instruction, Send):
                self.sent.append((instruction.host, instruction.message))
            elif hasattr(instruction, "event"):
                self.events.append(instruction.event)  # pyright: ignore

    def tick(self, seconds: float = 0.1) -> None:
        self.now += seconds
        self.core.tick(self.now, self.now)
        self.take()

    def beats(self, *hosts: str, takes: bool = True) -> None:
        """Heartbeats of hosts, which have taken all that they were sent."""
        self.beat += 1
        for host in hosts:
            granted = {}
            if takes:
                granted = {g.endpoint: (g.number, 0) for g in self.of(host, Grant)}
            held = sum(s.leased_on[host] for s in self.core.scheduler.steps.values())
            beat = Heartbeat(held, 0, number=self.beat, granted=granted)
            self.core.message(host, beat, self.now)
        self.take()

    def of(self, host: str, kind: type[T]) -> list[T]:
        return [m for name, m in self.sent if name == host and isinstance(m, kind)]

    def slots(self, host: str) -> int:
        return self.of(host, Grant)[-1].slots

    def leased(self, host: str) -> dict[int, int]:
        """Lease ids by ordinal that a host holds."""
        leases = self.core.scheduler.leases.items()
        return {row.work.ordinal: number for number, row in leases if row.host == host}

    def outcome(self, host: str, ordinals: Sequence[int], kind: ErrorKind | None) -> None:
        held = self.leased(host)
        attempt = Attempt("c", "m", kind, Usage(1, 1), 0.1)
        items = [
            Outcome(held[o], o, 0, o.to_bytes(16, "big"), kind, b"{}", "", "why", [attempt])
            for o in ordinals
        ]
        self.core.message(host, Outcomes(items), self.now)
        self.commit()

    def commit(self) -> list[Finished]:
        finished = self.core.scheduler.take_finished()
        self.core.committed(finished, self.now)
        self.take()
        return finished

    def changes(self) -> list[tuple[str, str]]:
        return [(e.host, e.change) for e in self.events if isinstance(e, HostChanged)]


def test_slots_are_shared_and_move_only_when_their_loss_is_confirmed() -> None:
    many = Many("a")
    many.open(200)
    assert many.slots("a") == 8
    many.describe("b")
    # a has 8 for all that is known: b gets none before a has heard that it keeps 4
    assert (many.slots("a"), many.slots("b")) == (4, 0)
    many.beats("a")
    assert (many.slots("a"), many.slots("b")) == (4, 4)


def test_slots_of_a_host_that_is_cut_off_are_free_when_they_lapse_and_not_before() -> None:
    many = Many("a", "b")
    many.open(200)
    many.beats("a", "b")
    many.beats("a", "b")
    assert (many.slots("a"), many.slots("b")) == (4, 4)
    until = many.now + ALLOTMENT_S
    while many.now + 0.5 < until:
        many.tick(0.5)
        many.beats("b")
        assert many.slots("b") == 4
    many.tick(1.0)
    many.beats("b")
    assert many.slots("b") == 8 and ("a", "lost") in many.changes()


def test_a_process_that_has_ended_frees_its_slots_at_once_and_a_node_only_when_they_lapse() -> None:
    for alone, slots in ((True, 8), (False, 4)):
        many = Many("a", "b")
        many.open(200)
        many.beats("a", "b")
        many.beats("a", "b")
        many.core.message("a", Gone("it ended", alone), many.now)
        many.take()
        assert not many.leased("a")
        many.beats("b")
        assert many.slots("b") == slots


def test_a_host_gets_one_suspect_at_a_time_and_two_ends_set_a_row_aside() -> None:
    many = Many("a")
    step = many.open(20)
    first = set(many.leased("a"))
    assert len(first) == 20
    many.core.message("a", Gone("killed", alone=True), many.now)
    many.describe("b")
    suspects = set(many.leased("b"))
    assert len(suspects) == 1, "all rows were on the host that ended: all are suspects"
    many.core.message("b", Gone("killed", alone=True), many.now)
    bad = many.commit()
    assert [f.result.kind for f in bad] == [ErrorKind.HOST_LOST]
    assert {f.row.work.ordinal for f in bad} == suspects and "killed" in bad[0].result.message
    many.describe("c")
    while step.open:
        many.outcome("c", list(many.leased("c")), None)
    assert (step.done, step.quarantined) == (19, 1)


def test_rows_of_a_node_that_has_ended_are_no_suspects() -> None:
    many = Many("a")
    many.open(20)
    for host in "bcd":
        many.core.message("abcd"["abcd".index(host) - 1], Gone("node", alone=False), many.now)
        many.describe(host)
    many.tick(ALLOTMENT_S)
    many.beats("d")
    assert len(many.leased("d")) == 20


def test_a_sick_host_is_sent_home_and_its_failures_are_not_counted() -> None:
    many = Many("a", "b")
    step = many.open(200)
    many.beats("a", "b")
    many.beats("a", "b")
    many.outcome("b", list(many.leased("b"))[:16], None)
    many.outcome("a", list(many.leased("a"))[:16], ErrorKind.INTERNAL)
    many.tick()
    assert ("a", "sick") in many.changes() and many.core.sick_nodes(many.now) == {"a"}
    assert any(m.begun for m in many.of("a", Revoke))
    charged = [row.charged for row in many.core.scheduler.leases.values() if row.host == "b"]
    many.tick(2.0)
    waiting = [row.charged for row in step.ready]
    assert set(charged) | set(waiting) == {0}


def test_a_host_that_reaches_nobody_is_sick_only_where_others_are_answered() -> None:
    for others_answered in (True, False):
        many = Many("a", "b")
        many.open(200)
        for _ in range(7):
            many.tick(1.0)
            many.beats("a", "b")
            lost = PaceSample(ErrorKind.UNREACHABLE, 0.1, None, "no route")
            good = PaceSample(None, 0.1)
            many.core.message("a", Pace("e", [lost], 1), many.now)
            many.core.message("b", Pace("e", [good if others_answered else lost], 1), many.now)
            many.take()
        assert (("a", "sick") in many.changes()) == others_answered


def test_a_step_that_fails_everywhere_makes_no_host_sick_beside_those_of_another_step() -> None:
    many = Many()
    many.describe("scans", "cpu=1")
    scan = many.open(40, "scan", cpu=1)
    while scan.open:
        many.beats("scans")
        many.outcome("scans", list(many.leased("scans")), None)
    many.core.close_step(scan)
    many.describe("judges", "gpu=1")
    judge = many.open(16, "judge", gpu=1)
    for _ in range(400):
        many.beats("scans", "judges")
        many.outcome("judges", list(many.leased("judges")), ErrorKind.TIMEOUT)
        many.tick(5.0)
    assert ("judges", "sick") not in many.changes()
    assert judge.quarantined == 16  # its rows' attempts are counted


def test_a_cap_that_is_lowered_waits_for_all_hosts_before_it_ends_the_run() -> None:
    many = Many("a", "b")
    many.core.change_limits(ChangeLimits(caps=Caps(tokens=1_000_000)), many.now)
    many.open(400)
    blocks = 0

    def beat(host: str, in_flight: int) -> None:
        nonlocal blocks
        many.beat += 1
        granted = {"e": (many.of(host, Grant)[-1].number, in_flight)}
        many.core.message(host, Heartbeat(20, in_flight, number=many.beat, granted=granted), 0.0)
        many.core.tick(0.0, 0.0)
        for instruction in many.core.take():
            if isinstance(instruction, Send):
                many.sent.append((instruction.host, instruction.message))
            elif isinstance(instruction, OpenBlock):
                blocks += 1
                many.core.block_opened(instruction.holder, blocks, instruction.limit)
        many.take()

    def paid(host: str) -> int:
        """Tokens that a host was given since it had nothing."""
        sums = 0
        for grant in many.of(host, Grant):
            sums = (grant.tokens or 0) + (0 if grant.anew else sums)
        return sums

    for host in "ab":
        beat(host, 0)
        many.core.message(host, Hungry("e", 1, 3000, 0), 0.0)
        beat(host, 4)
    assert paid("a") >= 3000 and paid("b") >= 3000
    many.core.change_limits(ChangeLimits(caps=Caps(tokens=20_000)), 0.0)
    many.take()
    assert paid("a") == paid("b") == 0
    for host in "ab":
        many.core.message(host, Hungry("e", 1, 3000, 0), 0.0)
    beat("b", 0)  # and a has calls under way
    assert not many.core.paused and paid("a") == paid("b") == 0
    many.core.message("a", Settled("e", 4, 4000, 0), 0.0)
    beat("a", 0)
    beat("b", 0)
    assert not many.core.paused and 3000 <= paid("a") + paid("b") <= 16_000


def test_a_host_with_another_apwa_or_of_an_unfit_node_is_ended_and_the_node_gets_no_other() -> None:
    many = Many("a")
    many.open(20)
    other = {"apwa": "0.0.0.dev0"}
    many.core.message("b", Described("b", 256, [], other, "", "late", "node late"), many.now)
    many.take()
    assert many.of("b", Shutdown) and not many.of("b", Lease)
    said = [e.detail for e in many.events if isinstance(e, HostChanged) and e.host == "b"]
    assert said and said[0].startswith("node late has apwa 0.0.0.dev0, and this run ")
    many.core.message("a", Gone("no such model there", unfit=True), many.now)
    assert many.core.sick_nodes(many.now) == {"a", "late"}


def test_a_node_that_was_sick_gets_hosts_again_after_a_while() -> None:
    many = Many("a", "b")
    many.open(200)
    many.beats("a", "b")
    many.beats("a", "b")
    many.outcome("b", list(many.leased("b"))[:16], None)
    many.outcome("a", list(many.leased("a"))[:16], ErrorKind.INTERNAL)
    many.tick()
    assert many.core.sick_nodes(many.now + SICK_S - 1.0) == {"a"}
    assert many.core.sick_nodes(many.now + SICK_S) == set()


def test_a_sick_host_is_sent_home_once_its_calls_have_ended_and_are_counted() -> None:
    many = Many("a", "b")
    many.open(200)
    many.beats("a", "b")
    many.beats("a", "b")
    many.outcome("b", list(many.leased("b"))[:16], None)
    many.core.message("b", Settled("e", 16, 16, 0), many.now)
    many.outcome("a", list(many.leased("a"))[:16], ErrorKind.INTERNAL)
    many.core.message("a", Settled("e", 16, 16, 0), many.now)
    many.tick()
    assert ("a", "sick") in many.changes()
    many.core.message("a", Returned(list(many.leased("a").values())), many.now)
    many.tick()
    assert not many.of("a", Shutdown), "what its calls drew that were called back is not told yet"
    for in_flight in (3, 0):
        many.beat += 1
        many.core.message("a", Heartbeat(0, in_flight, number=many.beat), many.now)
        many.tick()
        assert bool(many.of("a", Shutdown)) == (not in_flight)


def test_leases_are_sent_again_when_they_were_lost_and_not_while_they_are_on_their_way() -> None:
    many = Many("a")
    many.open(20)
    before = len(many.of("a", Lease))
    heard = {"e": (many.of("a", Grant)[-1].number, 0)}
    for _ in range(20):  # a slow link: the host has not got to the leases yet
        many.beat += 1
        many.core.message("a", Heartbeat(0, 0, number=many.beat, granted=heard), many.now)
        many.tick(1.0)
    assert len(many.of("a", Lease)) == before
    for _ in range(2):  # it has got what was sent after them
        many.beat += 1
        heard = {"e": (many.of("a", Grant)[-1].number, 0)}
        many.core.message("a", Heartbeat(15, 0, number=many.beat, granted=heard), many.now)
        many.tick(1.0)
    again = [item for lease in many.of("a", Lease)[before:] for item in lease.items]
    assert {item.lease_id for item in again} == set(many.leased("a").values())


def test_rows_that_were_lost_with_their_hosts_do_not_stay_in_memory() -> None:
    many = Many("a", "b")
    step = many.open(40)
    many.beats("a", "b")
    many.beats("a", "b")
    lost = dict(many.leased("a"))
    many.tick(SILENCE_S + 1)
    many.core.message("b", Heartbeat(0, 0, number=99), many.now)
    while step.open:
        many.tick(1.0)
        many.beats("b")
        many.outcome("b", list(many.leased("b")), None)
    kept = many.core.scheduler._expired  # pyright: ignore
    assert lost and all(row is None for _, row in kept.values())
    # but should the host come back, it is told not to begin them
    many.beat += 100
    many.core.message("a", Heartbeat(len(lost), 0, number=many.beat), many.now)
    many.take()
    assert set(many.of("a", Revoke)[-1].lease_ids) >= set(lost.values())


def test_a_failed_row_goes_to_another_host() -> None:
    many = Many("a", "b")
    many.open(40)
    many.beats("a", "b")
    many.beats("a", "b")
    row = min(many.leased("a"))
    many.outcome("a", [row], ErrorKind.CONTRACT)
    many.outcome("b", list(many.leased("b")), None)
    for _ in range(20):
        many.tick()
        many.beats("a", "b")
    assert row in many.leased("b")


def test_work_goes_to_hosts_with_the_resources_that_it_asks_for() -> None:
    many = Many()
    many.describe("plain")
    many.describe("large", "gpu=1")
    many.open(50, "s")
    many.open(50, "t", gpu=1)
    many.beats("plain", "large")
    many.tick()
    assert {lease.step for lease in many.of("plain", Lease)} == {"s"}
    assert {lease.step for lease in many.of("large", Lease)} == {"t"}
    demands = many.core.demands()
    assert demands["gpu=1"].resources == {"gpu": 1} and demands[""].rows == 50


def test_a_host_that_is_retired_finishes_what_it_holds_and_is_ended() -> None:
    many = Many("a", "b")
    many.open(100)
    many.beats("a", "b")
    many.beats("a", "b")
    begun = dict(list(many.leased("a").items())[:2])
    many.core.retire("a", many.now)
    many.take()
    given_back = [i for i in many.leased("a").values() if i not in begun.values()]
    many.core.message("a", Returned(given_back), many.now)
    many.take()
    assert set(many.leased("a")) == set(begun) and not many.of("a", Shutdown)
    many.outcome("a", list(begun), None)
    many.core.message("a", Settled("e", 2, 2, 0), many.now)
    many.tick()
    assert not many.of("a", Shutdown)  # a call that was called back may have drawn something
    many.beats("a")
    many.tick()
    assert many.of("a", Shutdown) and ("a", "left") in many.changes()


@given(st.integers(0, 300), st.lists(st.integers(0, 200), min_size=1, max_size=12))
def test_shares_add_up_and_nobody_has_less_than_another_who_wants_no_more(
    slots: int, wants: list[int]
) -> None:
    shares = share_out(slots, {str(n): want for n, want in enumerate(wants)})
    assert sum(shares.values()) == slots
    for n, want in enumerate(wants):
        for m, other in enumerate(wants):
            if want >= other:
                assert shares[str(n)] >= min(shares[str(m)], other) - 1


@pytest.mark.parametrize("late", [False, True])
def test_what_a_host_holds_is_the_most_of_what_it_may_still_believe(late: bool) -> None:
    slots = Slots()
    slots.tell(1, 8, 10.0)
    slots.tell(2, 3, 12.0)
    assert slots.held(5.0) == 8  # the second may be on its way
    assert slots.held(11.0) == 3  # the first has lapsed
    slots.heard(2, 5)
    assert slots.held(5.0) == 5  # of the first, five calls are under way yet
    slots.heard(2, 3)
    assert slots.held(5.0) == 3
    if late:
        slots.heard(1, 8)
        assert slots.held(5.0) == 3
