"""Every example runs to its end over the bundled data."""

from __future__ import annotations

from pathlib import Path

import pytest

import apwa
from apwa.practice import sample

EXAMPLES = Path(__file__).parents[2] / "examples"
TABLES = {
    "redact": {"notes": sample("notes.jsonl")},
    "receipts": {"receipts": sample("receipts.jsonl")},
    "meetings": {"meetings": Path(__file__).with_name("meetings.jsonl")},
    "levels": {"addresses": sample("addresses")},
    "side_by_side": {"notes": sample("notes.jsonl")},
    "planets": {},
}


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
async def test_an_example_runs_to_its_end(name: str, tmp_path: Path) -> None:
    run = await apwa.arun(
        plan=EXAMPLES / f"{name}.yaml", tables=TABLES[name], model="practice", home=tmp_path,
        yes=True, pilot=False,
    )  # fmt: skip
    assert run.state == "done", run.ending
    assert run.ending.done + run.ending.quarantined + run.ending.skipped == run.ending.rows
    assert run.ending.done > 0.9 * run.ending.rows
    assert len(run.answer) == run.ending.rows
