from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from apwa.executor.budget import Budget
from apwa.executor.scheduler import Scheduler
from apwa.simulate import Broken, Course, fault_plan, simulate
from apwa.vocabulary import Caps

_SEEDS = 300
_PARTS = 10


@pytest.mark.parametrize("part", range(_PARTS))
def test_whatever_fails_every_row_ends_with_one_result_and_no_cap_is_passed(part: int) -> None:
    for seed in range(part, _SEEDS, _PARTS):
        simulate(seed)


def test_the_faults_really_happen() -> None:
    plans = [fault_plan(seed) for seed in range(_SEEDS)]
    assert sum(bool(plan.host_crashes) for plan in plans) > 50
    assert sum(bool(plan.driver_crashes) for plan in plans) > 50
    assert sum(bool(plan.silences) for plan in plans) > 50
    assert sum(plan.account_at is not None for plan in plans) > 20
    assert sum(plan.caps is not None for plan in plans) > 50


def test_a_seed_gives_the_same_course_each_time() -> None:
    assert [simulate(seed) for seed in range(8)] == [simulate(seed) for seed in range(8)]


def test_a_resumed_run_reaches_its_end_in_the_same_counts() -> None:
    """Crashes of the driver change what calls cost, and nothing of what is done."""
    quiet = replace(
        fault_plan(1), rows=80, driver_crashes=(), host_crashes=(), silences=(), lost=0.0,
        account_at=None, caps=None, bad_rows=0.3, flaky=0.0, storms=(),
    )  # fmt: skip
    undisturbed = Course(1, quiet).play()
    crashing = Course(1, replace(quiet, driver_crashes=(0.3, 2.0, 3.7, 5.5))).play()
    assert crashing.drivers > 3
    assert crashing.kinds == undisturbed.kinds


def test_a_storm_of_429_costs_no_row() -> None:
    plan = replace(
        fault_plan(2), storms=((0.0, 600.0),), rows=40, caps=None, account_at=None,
        bad_rows=0.0, flaky=0.0, host_crashes=(), silences=(), driver_crashes=(),
    )  # fmt: skip
    report = Course(2, plan).play()
    assert report.ended == "done"
    assert set(report.kinds) <= {"done", "bad_input"}


def test_the_invariants_notice_a_budget_that_gives_away_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The simulation is worth what it finds: break the books and it must say so."""
    monkeypatch.setattr(Budget, "left", lambda self: (10_000, 10_000, 10_000))
    assert _broken(replace(fault_plan(3), rows=60, caps=Caps(calls=30), account_at=None))


def test_the_invariants_notice_a_lost_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "_retry", lambda self, row, due: None)
    assert _broken(replace(fault_plan(3), flaky=0.3, caps=None, driver_crashes=()))


def test_the_invariants_notice_a_lease_held_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "_take_back", lambda self, lease_id: self.leases[lease_id])
    plan = replace(fault_plan(3), silences=((0.3, 20.0),), rows=80, hosts=1, caps=None)
    assert _broken(replace(plan, driver_crashes=(), host_crashes=(0.5,)))


def _broken(plan: object) -> bool:
    found: Counter[bool] = Counter()
    for seed in range(5):
        try:
            Course(seed, plan).play()  # pyright: ignore[reportArgumentType]
            found[False] += 1
        except Broken:
            found[True] += 1
    return found[True] > 0
