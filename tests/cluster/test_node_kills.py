"""Two rounds of the bench that kills nodes under a run."""

from __future__ import annotations

import pytest
from bench.node_kills import AT_ONCE, one_round

from .conftest import PATIENT


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
async def test_nodes_are_killed_and_replaced_and_the_run_is_complete_and_exact(seed: int) -> None:
    # a driver that waits for hosts that are slow: whom it gives up is dead
    found = await one_round(20_000, 4.0, seed, program=PATIENT, least=2)
    assert found.exact, found
    assert found.kills >= 2
    assert found.repeated <= found.kills * AT_ONCE, "more than was in flight, on all nodes"
