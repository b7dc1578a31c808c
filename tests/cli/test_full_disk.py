"""A disk that is full or refuses: one clear message, nothing lost, nothing asked again."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import PLAN, Apwa, read_rows, write_notes

ROWS = 300
_DROP_BOUNDING = 24  # prctl(PR_CAPBSET_DROP, …)
_CAP_DAC_OVERRIDE = 1


def no_file_above(size: int) -> Callable[[], None]:
    """For a child: writing beyond so many bytes of a file fails, as on a full disk (EFBIG)."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def bound_by_permissions() -> None:
    """For a child: permissions hold, though root runs it."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_DROP_BOUNDING, _CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """``small_disk("400k")`` mounts one; called again, it gives it that size."""
    place = tmp_path / "disk"

    def size(words: str) -> Path:
        again = place.exists()
        place.mkdir(exist_ok=True)
        options = f"size={words}" + (",remount" if again else "")
        mounting = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
            place.rmdir()
            pytest.skip("mounting is not permitted here")
        return place

    yield size
    if place.exists():
        subprocess.run(["umount", str(place)], check=False)


def _journaled(home: Path) -> int:
    from apwa.runs import RunReader, list_runs
    from apwa.vocabulary import RUN

    with RunReader(list_runs(home)[-1]) as reader:
        return reader.journal.counts(RUN, "redact").done


def _wide_notes(path: Path, rows: int = 30) -> None:
    """Notes with a column that no template reads and no compression shrinks; read in place."""
    pq.write_table(
        pa.table(
            {
                "id": range(1, rows + 1),
                "text": [f"Note {n} of Peter Miller." for n in range(1, rows + 1)],
                "wide": [os.urandom(50_000).hex() for _ in range(rows)],
            }
        ),
        path,
    )


def _said_once(errors: str, *words: str) -> None:
    assert "Traceback" not in errors and "defect" not in errors
    assert all(word in errors for word in words), errors
    told = "\n".join(line for line in errors.splitlines() if not line.startswith("["))  # no events
    assert told.count(words[0]) == 1, errors


def _go_on_after_a_full_journal(apwa: Apwa, tmp_path: Path, served, home: Path, **more) -> None:
    """Run until the journal is full, make room, resume, and count what was asked."""
    write_notes(tmp_path / "notes.jsonl", ROWS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    place = {"APWA_HOME": str(home)}
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", served.model, "--yes",
        "--no-pilot", "--concurrency", "4", "-o", "out.jsonl", **place, before=more.get("before"),
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    _said_once(
        ended.stderr, "journal cannot be written", "run.db", "Free some space", "apwa resume"
    )
    assert not (tmp_path / "out.jsonl").exists()
    kept, before = _journaled(home), served.answered()
    assert 0 < kept < ROWS
    more.get("make_room", int)()
    again = apwa("resume", "last", **place)
    assert again.returncode == 0, again.stderr
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == list(range(1, ROWS + 1))
    assert {row["_status"] for row in rows} == {"done"}
    assert served.answered() - before == ROWS - kept, "nothing that was kept is asked again"


def test_a_journal_that_may_not_grow_pauses_the_run_and_loses_nothing(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    before = no_file_above(400_000)
    _go_on_after_a_full_journal(apwa, tmp_path, practice(), tmp_path / "home", before=before)


def test_a_disk_full_of_the_journal_pauses_the_run_and_loses_nothing(
    apwa: Apwa, tmp_path: Path, practice, small_disk: Callable[[str], Path]
) -> None:
    home = small_disk("500k")
    _go_on_after_a_full_journal(
        apwa, tmp_path, practice(), home, make_room=lambda: small_disk("64m")
    )


def test_a_journal_that_is_full_between_two_steps_hangs_nothing(apwa: Apwa, tmp_path: Path) -> None:
    # about here it is a budget block that cannot be closed, with no step at work
    write_notes(tmp_path / "notes.jsonl", 30)
    (tmp_path / "plan.yaml").write_text(PLAN)
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", "practice", "--yes",
        timeout=200, before=no_file_above(131_072),
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    _said_once(ended.stderr, "journal cannot be written", "apwa resume")


def test_a_run_that_has_no_room_to_begin_leaves_nothing_behind(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 3)
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice()
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", served.model, "--yes",
        before=no_file_above(40_000),
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr  # there is nothing to resume
    _said_once(ended.stderr, "cannot be written", "run.db", "Free some space")
    assert list((tmp_path / "home" / "runs").iterdir()) == []
    assert served.answered() == 0


def test_inputs_that_find_no_room_leave_nothing_behind(apwa: Apwa, tmp_path: Path) -> None:
    with (tmp_path / "notes.csv").open("w") as file:
        file.write("text\n" + "".join(os.urandom(50_000).hex() + "\n" for _ in range(40)))
    (tmp_path / "plan.yaml").write_text(PLAN)
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.csv", "--model", "practice", "--yes",
        before=no_file_above(1_000_000),
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    _said_once(ended.stderr, "the disk is full", "inputs/notes", "Free some space")
    assert list((tmp_path / "home" / "runs").iterdir()) == []


def test_tables_answer_and_exports_that_find_no_room_are_written_later_from_what_is_kept(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    _wide_notes(tmp_path / "notes.parquet")
    (tmp_path / "plan.yaml").write_text(
        PLAN.replace("over: notes", "over: copied").replace(
            "steps:\n", "steps:\n  copied: {query: SELECT * FROM notes}\n"
        )
    )
    served = practice()
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.parquet", "--model", served.model, "--yes",
        "--no-pilot", "-o", "out.jsonl", before=no_file_above(1_000_000),
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr  # in the query's process
    _said_once(ended.stderr, "the disk is full", "tables/copied", "Free some space", "apwa resume")
    # the tables hold 1.5 MB, the answer in JSON 3 MB
    ended = apwa("resume", "last", before=no_file_above(2_000_000))
    assert ended.returncode == 4, ended.stderr
    _said_once(ended.stderr, "the disk is full", "out.jsonl", "Free some space", "apwa resume")
    assert list(tmp_path.glob("*out*")) == []
    asked = served.answered()
    for ending in ("csv", "jsonl", "parquet"):
        name = f"export.{ending}"
        ended = apwa("export", "last", "redact", "-o", name, before=no_file_above(1_000_000))
        assert ended.returncode == 4, ended.stderr
        _said_once(ended.stderr, "the disk is full", name, "Free some space")
    assert list(tmp_path.glob("*export*")) == []
    again = apwa("resume", "last")
    assert again.returncode == 0, again.stderr
    assert served.answered() == asked
    assert [row["_status"] for row in read_rows(tmp_path / "out.jsonl")] == ["done"] * 30
    assert list((tmp_path / "home").rglob("*begun*")) == []


def test_a_template_s_table_that_finds_no_room_is_closed_later(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    _wide_notes(tmp_path / "notes.parquet")
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice()
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.parquet", "--model", served.model, "--yes",
        "--no-pilot", before=no_file_above(1_000_000),
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    _said_once(ended.stderr, "the disk is full", "tables/redact", "Free some space", "apwa resume")
    assert list((tmp_path / "home").rglob("*begun*")) == []
    asked = served.answered()
    again = apwa("resume", "last", "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert served.answered() == asked
    assert len(read_rows(tmp_path / "out.jsonl")) == 30


def test_a_report_that_cannot_be_written_is_said_and_written_later(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    write_notes(tmp_path / "notes.jsonl", 12)
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice()
    apwa("run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", served.model)
    report = next((tmp_path / "home").glob("runs/*/report.md"))
    report.unlink()
    report.mkdir()
    ended = apwa("resume", "last", "--yes", "-o", "out.jsonl")
    assert ended.returncode == 4, ended.stderr
    _said_once(ended.stderr, "cannot be used", "report.md", "apwa resume")
    asked = served.answered()
    report.rmdir()
    again = apwa("resume", "last")
    assert again.returncode == 0, again.stderr
    assert "12" in report.read_text()
    assert served.answered() == asked


@pytest.mark.parametrize(
    ("arguments", "home", "words"),
    [
        (("run", "plan.yaml", "-o", "closed/out.jsonl"), "home", "closed/out.jsonl"),
        (("plan", "redact", "-o", "missing/plan.yaml"), "home", "does not exist"),
        (("run", "plan.yaml", "-o", "out.jsonl"), "closed", "APWA_HOME"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_any_call(
    apwa: Apwa, tmp_path: Path, practice, arguments: tuple[str, ...], home: str, words: str
) -> None:
    write_notes(tmp_path / "notes.jsonl", 3)
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "closed").mkdir(mode=0o500)
    served = practice()
    ended = apwa(
        *arguments, "--table", "notes=notes.jsonl", "--model", served.model, "--yes",
        APWA_HOME=str(tmp_path / home), before=bound_by_permissions,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    _said_once(ended.stderr, "error:", words)
    assert served.answered() == 0
    assert list((tmp_path / "closed").iterdir()) == []
    assert not list((tmp_path / "home").glob("runs/*"))
