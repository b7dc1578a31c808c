"""Rows of the answer while the run goes on: each once, none lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import apwa
from apwa.runs import RunReader, list_runs
from apwa.vocabulary import RUN, BadInput, Misuse, RunFailed
from tests.runs.plan import PLAN

COUNTED = PLAN.replace(
    "answer: redact",
    "  counted: {query: 'SELECT count(*) AS n FROM redact', key: [n]}\nanswer: counted",
)


def notes(count: int) -> list[dict[str, object]]:
    return [{"id": n, "text": f"Peter Miller has called {n} times."} for n in range(count)]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


async def test_rows_come_before_the_run_ends_and_each_once(plan: Path, tmp_path: Path) -> None:
    rows = apwa.rows(
        plan=plan, tables={"notes": notes(90)}, model="practice:latency=200", concurrency=3,
        yes=True, pilot=False, home=tmp_path / "home",
    )  # fmt: skip
    with pytest.raises(Misuse, match="not ended yet"):
        _ = rows.run
    ids: list[int] = []
    early = 0
    for row in rows:
        assert row["_status"] == "done" and "[NAME]" in row["redacted"]
        ids.append(row["id"])
        with RunReader(list_runs(tmp_path / "home")[0]) as reader:
            early += reader.ending is None
    assert sorted(ids) == list(range(90))
    assert early >= 3
    assert rows.run.state == "done"
    with pytest.raises(Misuse, match="only once"):
        next(iter(rows))


def test_leaving_the_loop_stops_the_run_and_keeps_it(plan: Path, tmp_path: Path) -> None:
    rows = apwa.rows(
        plan=plan, tables={"notes": notes(60)}, model="practice:latency=1000", concurrency=2,
        yes=True, pilot=False, home=tmp_path / "home",
    )  # fmt: skip
    for row in rows:
        assert row["_status"] == "done"
        break
    assert rows.run.state == "paused" and rows.run.usage.calls >= 1
    (directory,) = list_runs(tmp_path / "home")
    with RunReader(directory) as reader:
        assert reader.ending is not None and reader.ending.state == "paused"
        assert 1 <= reader.journal.counts(RUN, "redact").done < 60


def test_a_run_that_stops_before_its_end_says_so(plan: Path, tmp_path: Path) -> None:
    rows = apwa.rows(
        plan=plan, tables={"notes": notes(30)}, model="practice", home=tmp_path / "home"
    )
    with pytest.raises(RunFailed, match="the plan waits for approval"):
        list(rows)  # nobody can be asked, and no --yes was given
    assert rows.run.state == "paused"


def test_the_answer_of_a_query_comes_at_the_end(plan: Path, tmp_path: Path) -> None:
    plan.write_text(COUNTED)
    rows = apwa.rows(
        plan=plan, tables={"notes": notes(4)}, model="practice", yes=True, pilot=False,
        home=tmp_path / "home",
    )  # fmt: skip
    assert [row["n"] for row in rows] == [4]


def test_what_is_wrong_is_raised_in_the_loop(plan: Path, tmp_path: Path) -> None:
    rows = apwa.rows(plan=plan, tables={"notes": 7}, model="practice", home=tmp_path / "home")
    with pytest.raises(BadInput, match="a int is no table"):
        list(rows)
