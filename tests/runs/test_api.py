"""The Python API: in a script, in a running loop, cancelled, misused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import apwa
from apwa.documents import readers
from apwa.vocabulary import ApwaError
from tests.runs.plan import PLAN, one_done


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(PLAN)
    path = tmp_path / "notes.jsonl"
    texts = [f"Peter Miller has called {n} times." for n in range(1, 31)]
    path.write_text("".join(json.dumps({"id": n, "text": t}) + "\n" for n, t in enumerate(texts)))
    return path


def test_a_plan_is_run_from_a_script(notes: Path, tmp_path: Path) -> None:
    run = apwa.run(
        plan=tmp_path / "plan.yaml", tables={"notes": notes}, model="practice", yes=True,
        home=tmp_path / "home", sensitive={"notes": ["text"]},
    )  # fmt: skip
    assert run.state == "done"
    table = run.answer.to_arrow()
    assert table.num_rows == 30 and set(table["_status"].to_pylist()) == {"done"}
    assert "over: notes" in run.plan and run.plan._repr_html_().startswith("<pre>apwa: 1")
    assert "Peter Miller" not in repr(run) + repr(run.answer) + run.answer._repr_html_()


async def test_it_works_where_a_loop_runs_already_as_in_a_notebook(
    notes: Path, tmp_path: Path
) -> None:
    run = apwa.run(
        plan=tmp_path / "plan.yaml", tables={"notes": notes}, model="practice", yes=True,
        home=tmp_path / "home", limit=3,
    )  # fmt: skip
    assert run.state == "done"
    assert run.answer.to_arrow()["_status"].to_pylist()[:4] == ["done"] * 3 + ["skipped"]


async def test_a_cancelled_run_is_paused_and_kept(notes: Path, tmp_path: Path) -> None:
    task = asyncio.create_task(
        apwa.arun(
            plan=tmp_path / "plan.yaml",
            tables={"notes": notes},
            yes=True,
            pilot=False,
            model="practice:latency=1000",
            home=tmp_path / "home",
            concurrency=2,
        )
    )
    await one_done(tmp_path / "home")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    from apwa.runs import RunReader, list_runs
    from apwa.vocabulary import RUN

    (directory,) = list_runs(tmp_path / "home")
    with RunReader(directory) as reader:
        assert reader.ending is not None and reader.ending.state == "paused"
        assert reader.journal.counts(RUN, "redact").done < 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"colour": "red"}, "'colour'"),
        ({"max_cost": "much"}, "max_cost"),
        ({"context": 0}, "context: the number must be above 0"),
        ({"max_failures": 20}, "max_failures: the share must be between 0 and 1"),
        ({"parameters": {"max_tokens": 9}}, "max_tokens is no parameter"),
        ({"keys": {"other": ["id"]}}, "'other'"),
        ({"keys": {"notes": "id"}}, "list of columns"),
        ({"job": "Redact", "plan": "plan.yaml"}, "either a job"),
        ({"plan": "missing.yaml"}, "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(
    notes: Path, tmp_path: Path, arguments: dict[str, object], words: str
) -> None:
    given: dict[str, object] = {
        "plan": tmp_path / "plan.yaml", "tables": {"notes": notes}, "model": "practice",
        "home": tmp_path / "home",
    }  # fmt: skip
    with pytest.raises(ApwaError, match=words):
        apwa.run(**{**given, **arguments})  # pyright: ignore[reportArgumentType]
    assert not list((tmp_path / "home").glob("runs/*"))


def test_a_file_that_hangs_its_reader_is_its_own_rows_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = tmp_path / "papers"
    papers.mkdir()
    for number in range(6):
        (papers / f"{number}.html").write_text(f"<p>Note {number}: Anna went home.")
    (papers / "3-long.html").write_bytes(b"<ul>" + b"<li>one <b>two</b> three" * 1_200_000)
    reads = readers._Child.read

    def bounded(child: Any, asked: Any, take: Any) -> Any:
        # a minute or two in earnest; the others may be slow
        seconds = 3.0 if asked.path.endswith(b"3-long.html") else 120.0
        child._limits = readers.Limits(seconds=seconds, memory_bytes=4 << 30)
        return reads(child, asked, take)

    monkeypatch.setattr(readers._Child, "read", bounded)
    (tmp_path / "plan.yaml").write_text(PLAN.replace("over: notes", "over: papers"))
    run = apwa.run(
        plan=tmp_path / "plan.yaml", tables={"papers": papers}, model="practice", yes=True,
        home=tmp_path / "home", pilot=False,
    )  # fmt: skip
    rows = {row["file"]: row for row in run.answer.to_arrow().to_pylist()}
    errors = {name: row["_error"] for name, row in rows.items() if row["_status"] != "done"}
    assert errors == {"3-long.html": "bad_input: reading it took longer than 3 s"}
    assert len(rows) == 7


def test_documents_are_split_by_name_or_all_alike(tmp_path: Path) -> None:
    place = tmp_path / "notes"
    place.mkdir()
    (place / "a.txt").write_text("Peter Miller called.\nAnn Smith wrote.\n")
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "b.jsonl").write_text('{"text": "Bob Brown came."}\n')
    for split in ("records", {"notes": "records"}):
        run = apwa.run(
            plan=tmp_path / "plan.yaml", tables={"notes": place}, model="practice", yes=True,
            home=tmp_path / "home", split=split, pilot=False,
        )  # fmt: skip
        assert [row["record"] for row in run.answer] == [1, 2]
    with pytest.raises(ApwaError, match="no part of a document"):
        apwa.run("x", tables={"notes": place}, model="practice", split={"notes": "chapters"})
    with pytest.raises(ApwaError, match="a setting is wrong"):
        apwa.run("x", tables={"notes": place}, model="practice", split="chapters")


def test_a_plan_may_say_what_makes_a_row(tmp_path: Path) -> None:
    place = tmp_path / "notes"
    place.mkdir()
    (place / "a.txt").write_text("Peter Miller called.\nAnn Smith wrote.\n")
    (tmp_path / "plan.yaml").write_text(
        PLAN.replace("apwa: 1\n", "apwa: 1\ntables:\n  notes: {split: records}\n")
    )
    run = apwa.run(
        plan=tmp_path / "plan.yaml", tables={"notes": place}, model="practice", yes=True,
        home=tmp_path / "home", pilot=False,
    )  # fmt: skip
    assert [row["file"] for row in run.answer] == ["a.txt", "a.txt"]
