"""kill -9 at the worst moments of a run: each time it goes on as if nothing had been.

The moments are seen from outside, by the files that are half written then. One run is killed at
all of them in turn, and compared with one that nobody disturbs. They are short: where one was
missed, the whole is tried again in a fresh folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import PLAN, Apwa, read_rows

ROWS = 30
# a query first, so that a child of the run is at work; its rows are wide, so that it takes a while
WIDE = PLAN.replace("over: notes", "over: copied").replace(
    "steps:\n", "steps:\n  copied: {query: 'SELECT * FROM notes ORDER BY wide', key: [id]}\n"
)
TRIES = 5
Moment = Callable[[Path], bool]
Start = Callable[..., subprocess.Popen[bytes]]


class Missed(Exception):
    """The run was past the moment when it was killed."""


def _query_at_work(at: Path) -> bool:
    return any(at.glob("home/runs/*/tables/copied/v*.begun-*/part-*"))


def _pilot_at_work(at: Path) -> bool:
    from apwa.runs import RunReader, list_runs
    from apwa.vocabulary import PILOT

    with RunReader(list_runs(at / "home")[-1]) as reader:
        return reader.journal.counts(PILOT, "redact").done >= 3


def _table_being_closed(at: Path) -> bool:
    return any(at.glob("home/runs/*/tables/redact/v*.begun-*/part-*"))


def _answer_being_written(at: Path) -> bool:
    try:
        return any(begun.stat().st_size for begun in at.glob(".out.jsonl.*"))
    except FileNotFoundError:  # an empty one that only tried whether the place can be written
        return False


@pytest.fixture
def start(env: dict[str, str]) -> Iterator[Start]:
    """``start(folder, "run", …)``: a run in the background, ended with the test at the latest."""
    started: list[subprocess.Popen[bytes]] = []

    def go(at: Path, *arguments: str) -> subprocess.Popen[bytes]:
        with (at / "words.txt").open("ab") as words:
            process = subprocess.Popen(
                [sys.executable, "-m", "apwa", *arguments], cwd=at,
                env=env | {"APWA_HOME": str(at / "home")},
                stdin=subprocess.DEVNULL, stdout=words, stderr=words,
            )  # fmt: skip
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.wait()


def _kill_when(process: subprocess.Popen[bytes], moment: Moment, at: Path) -> list[int]:
    """Kill a run at a moment; its children then. Raises Missed if it has come to its end."""
    ended = time.monotonic() + 150
    while not moment(at):
        if process.poll() is not None:
            _miss(process, moment, at)
        assert time.monotonic() < ended, (at / "words.txt").read_text()
        time.sleep(0.001)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    if process.wait() != -signal.SIGKILL or (at / "out.jsonl").exists():
        _miss(process, moment, at)
    return [int(child) for child in children]


def _miss(process: subprocess.Popen[bytes], moment: Moment, at: Path) -> NoReturn:
    """Raises Missed, if the run has ended well: with an answer that is whole."""
    assert process.returncode in (0, -signal.SIGKILL), (at / "words.txt").read_text()
    assert len(read_rows(at / "out.jsonl")) == ROWS, f"{moment.__name__}: half a file is there"
    raise Missed(moment.__name__)


def _kill_at_each(moments: Sequence[Moment], at: Path, start: Start, *arguments: str) -> None:
    """Begin a run, kill it at a moment, resume it, kill it at the next, and so on to its end."""
    for moment in moments:
        if moment is not moments[0] and moment(at):  # the kill before came too late
            raise Missed(moment.__name__)
        children = _kill_when(start(at, *arguments), moment, at)
        assert children, "a run has processes of its own for queries and checks"
        assert _all_end(children), f"{moment.__name__}: a child outlives its run"
        arguments = ("resume", "last")
    assert start(at, *arguments).wait(200) == 0, (at / "words.txt").read_text()


def _all_end(processes: list[int]) -> bool:
    for _ in range(2000):
        if not any(_lives(process) for process in processes):
            return True
        time.sleep(0.05)
    return False


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended, and nobody has asked how yet


@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
def test_a_run_killed_at_every_bad_moment_comes_to_the_answer_of_one_that_never_was(
    apwa: Apwa, tmp_path: Path, start: Start, practice
) -> None:
    wide = [os.urandom(400_000).hex() for _ in range(ROWS)]
    texts = [f"Note {n} of Peter Miller, mail peter{n}@example.com." for n in range(1, ROWS + 1)]
    notes = pa.table({"id": range(1, ROWS + 1), "text": texts, "wide": wide})
    pq.write_table(notes, tmp_path / "notes.parquet")
    (tmp_path / "plan.yaml").write_text(WIDE)
    served = practice("latency=20")
    common = ("run", str(tmp_path / "plan.yaml"), "--table", f"notes={tmp_path / 'notes.parquet'}",
              "--model", served.model, "--yes", "--concurrency", "1")  # fmt: skip

    moments = (_query_at_work, _pilot_at_work, _table_being_closed, _answer_being_written)
    missed: list[str] = []
    while True:
        at = tmp_path / f"try-{len(missed)}"
        at.mkdir()
        before = served.answered()
        try:
            _kill_at_each(moments, at, start, *common, "-o", "out.jsonl")
            break
        except Missed as moment:
            missed.append(str(moment))
            assert len(missed) < TRIES, missed

    assert not any(at.glob(".out*")), "what the killed one had begun is gone"
    run = next((at / "home").glob("runs/*"))
    assert not any(run.rglob("*begun*")) and not (run / "scratch").exists()
    all_answered = served.answered()
    asked = all_answered - before
    undisturbed = apwa(*common, "-o", "undisturbed.jsonl", APWA_HOME=str(tmp_path / "other"))
    assert undisturbed.returncode == 0, undisturbed.stderr
    rows = read_rows(at / "out.jsonl")
    assert sorted(row["id"] for row in rows) == list(range(1, ROWS + 1))  # type: ignore[type-var]
    assert rows == read_rows(tmp_path / "undisturbed.jsonl")
    # of all kills, one fell while a call was in flight, and a batch may not have been committed
    assert asked - (served.answered() - all_answered) <= 4


def test_an_export_killed_while_it_writes_leaves_no_half_file_and_the_next_one_cleans_up(
    apwa: Apwa, tmp_path: Path, start: Start
) -> None:
    wide = [os.urandom(400_000).hex() for _ in range(ROWS)]
    notes = pa.table({"id": range(1, ROWS + 1), "text": ["Nobody."] * ROWS, "wide": wide})
    pq.write_table(notes, tmp_path / "notes.parquet")
    (tmp_path / "plan.yaml").write_text(PLAN)
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.parquet", "--model", "practice", "--yes",
        "--limit", "1", "--no-pilot",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    missed: list[str] = []
    while True:
        export = start(tmp_path, "export", "last", "notes", "-o", "out.jsonl")
        try:
            _kill_when(export, _answer_being_written, tmp_path)
            break
        except Missed as moment:
            missed.append(str(moment))
            assert len(missed) < TRIES, missed
            (tmp_path / "out.jsonl").unlink()
    assert any(tmp_path.glob(".out.jsonl.*")), "the moment was hit"
    again = apwa("export", "last", "notes", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert len(read_rows(tmp_path / "out.jsonl")) == ROWS
    assert not any(tmp_path.glob(".out*"))
