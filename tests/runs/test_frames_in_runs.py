"""Data frames go into runs and come out of them; a run needs no frame to go on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import apwa
from apwa.runs import RunReader, find_run, take_up
from apwa.vocabulary import BadInput, Misuse
from tests.runs.plan import PLAN, one_done

TEXTS = [f"Peter Miller has called {n} times." for n in range(1, 7)]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"id": list("abcdef"), "text": TEXTS}),
        pl.DataFrame({"id": list("abcdef"), "text": TEXTS}),
        pa.table({"id": list("abcdef"), "text": TEXTS}).to_reader(2),
        [{"id": i, "text": t} for i, t in zip("abcdef", TEXTS, strict=True)],
    ],
    ids=["pandas", "polars", "reader", "rows"],
)
async def test_a_frame_goes_in_and_frames_come_out(frame: Any, plan: Path, tmp_path: Path) -> None:
    run = apwa.run(  # inside a running loop, as in a notebook
        plan=plan, tables={"notes": frame}, keys={"notes": ["id"]}, model="practice", yes=True,
        home=tmp_path / "home",
    )  # fmt: skip
    assert run.state == "done"
    expected = [text.replace("Peter Miller", "[NAME]") for text in TEXTS]
    assert run.answer.to_pandas()["redacted"].to_list() == expected
    assert run.table("redact").to_polars()["redacted"].to_list() == expected
    assert [row["id"] for row in run.table("notes")] == list("abcdef")
    with RunReader(run.directory) as reader:
        assert reader.request is not None
        assert reader.request.tables[0].source.endswith("of the caller")


async def test_a_run_goes_on_without_the_frame(plan: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": TEXTS})
    task = asyncio.create_task(
        apwa.arun(
            plan=plan, tables={"notes": frame}, yes=True, pilot=False,
            model="practice:latency=1000", home=tmp_path / "home", concurrency=1,
        )
    )  # fmt: skip
    await one_done(tmp_path / "home")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    frame.loc[:, "text"] = "changed since"
    driver = await take_up(find_run(tmp_path / "home", "last"), {"model": "practice"})
    ended = await driver.drive(resumed=True)
    assert ended.ending.state == "done"
    with RunReader(ended.directory) as reader:
        done = [row for _, b in reader.table("redact").batches() for row in b.to_pylist()]
    assert [row["text"] for row in done] == TEXTS
    assert {row["_status"] for row in done} == {"done"}


def test_what_is_wrong_with_a_frame_is_said_before_anything_is_made(
    plan: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="column 'text' holds a int in row 1 and a str in row 2"):
        apwa.run(
            plan=plan, tables={"notes": pd.DataFrame({"text": [1, "x"]})}, model="practice",
            home=tmp_path / "home",
        )  # fmt: skip
    with pytest.raises(BadInput, match="a int is no table"):
        apwa.run(plan=plan, tables={"notes": 7}, model="practice", home=tmp_path / "home")
    assert list((tmp_path / "home" / "runs").iterdir()) == []


def test_a_library_that_is_missing_is_named(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = apwa.run(
        plan=plan, tables={"notes": [{"text": TEXTS[0]}]}, model="practice", yes=True, pilot=False,
        home=tmp_path / "home",
    )  # fmt: skip
    for library in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(Misuse, match=f"{library} is not installed") as caught:
            getattr(run.answer, f"to_{library}")()
        assert caught.value.todo == f"Install it with: pip install {library}"
