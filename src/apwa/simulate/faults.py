"""What goes wrong in a simulated run, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from apwa.vocabulary import Caps


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults of one course. Shares are of messages or calls; times are virtual seconds."""

    steps: int
    rows: int
    hosts: int
    lost: float  # of messages that may be lost
    doubled: float
    late: float  # of messages that take seconds instead of milliseconds
    host_crashes: tuple[float, ...]
    ends: tuple[float, ...]  # a host ends, and the driver is told so at once
    given_up: tuple[float, ...]  # a host is cut off for good and said to be dead, and works on
    silences: tuple[tuple[float, float], ...]  # (from, for how long) a host is cut off
    driver_crashes: tuple[float, ...]
    storms: tuple[tuple[float, float], ...]  # (from, for how long) the endpoint answers 429
    bad_rows: float  # that never satisfy their contract
    flaky: float  # calls that fail once
    account_at: float | None  # when the key is refused, until the run is resumed
    caps: Caps | None


def fault_plan(seed: int) -> FaultPlan:
    """Draw a plan. Some seeds are quiet, some have everything at once."""
    chance = random.Random(f"faults {seed}")
    rough = chance.random()

    def times(most: int) -> tuple[float, ...]:
        return tuple(chance.uniform(0.1, 30.0) for _ in range(chance.randint(0, most)))

    steps, rows = chance.randint(1, 3), chance.randint(1, 80)
    caps = None
    if chance.random() < 0.4:
        calls = chance.randint(1, 2 * steps * rows)
        caps = chance.choice(
            [
                Caps(calls=calls),
                Caps(tokens=calls * 20),
                Caps(cost_nusd=calls * 200),
                Caps(cost_nusd=calls * 200, tokens=calls * 40, calls=calls * 2),
            ]
        )
    return FaultPlan(
        steps=steps,
        rows=rows,
        hosts=chance.randint(1, 3),
        lost=0.1 * rough * chance.random(),
        doubled=0.2 * rough * chance.random(),
        late=0.1 * rough * chance.random(),
        host_crashes=times(round(3 * rough)),
        ends=times(round(2 * rough)),
        given_up=times(round(2 * rough)),
        silences=tuple((at, chance.uniform(1.0, 25.0)) for at in times(round(2 * rough))),
        driver_crashes=times(round(3 * rough)),
        storms=tuple((at, chance.uniform(1.0, 20.0)) for at in times(2)),
        bad_rows=chance.choice([0.0, 0.05, 0.3]),
        flaky=chance.choice([0.0, 0.1]),
        account_at=chance.uniform(0.1, 10.0) if chance.random() < 0.15 else None,
        caps=caps,
    )
