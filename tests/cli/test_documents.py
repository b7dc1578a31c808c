"""Jobs over folders of documents, from the command line, with the practice model over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.canary import CANARY
from tests.cli.conftest import Apwa, Practice, read_rows
from tests.documents.made import SAMPLES, docx, mail, pptx, scan

PLAN = """\
apwa: 1
steps:
  told:
    template: Summarise {{text}} in one sentence.
    over: docs
    contract: {summary: str}
answer: told
"""
SEEN = """\
apwa: 1
steps:
  told:
    template: Summarise {{text}}, or what {{images}} shows, in one sentence.
    over: docs
    contract: {summary: str}
answer: told
"""
Serve = Callable[..., Practice]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Invoices as PDF, receipts as text, a page and letters; two are broken, one is a bomb."""
    place = tmp_path / "docs"
    (place / "invoices").mkdir(parents=True)
    for number in range(3):
        shutil.copy(SAMPLES / "invoice.pdf", place / "invoices" / f"{number}.pdf")
        (place / f"letter{number}.docx").write_bytes(docx([f"Dear Ann, this is letter {number}."]))
    shutil.copy(SAMPLES / "receipt.txt", place)
    shutil.copy(SAMPLES / "page.html", place)
    (place / "note.eml").write_bytes(mail("Your order", "It has left our house today."))
    (place / "broken.pdf").write_bytes((SAMPLES / "invoice.pdf").read_bytes()[:900])
    (place / "broken.docx").write_bytes(os.urandom(3000))
    (place / "bomb.docx").write_bytes(docx(["A" * (300 << 20)]))
    return place


# The command line, which writes at its end what memory it and its children have taken at most.
MEASURED = """
import json, resource
from pathlib import Path
from apwa.cli import main
from apwa.documents import readers

begun, started = readers._Child._begun, set()

def noted(child):
    process = begun(child)
    started.add(process.pid)
    return process

readers._Child._begun = noted
try:
    main()
finally:
    seen = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    of_children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    measured = [len(started), int(seen["VmHWM"].split()[0]), of_children]
    Path("memory.json").write_text(json.dumps(measured))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is seen in /proc")
def test_a_folder_that_mixes_documents_gives_all_good_rows_and_reasons_for_the_rest(
    apwa: Apwa, tmp_path: Path, folder: Path, practice: Serve, env: dict[str, str]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, "run", "Summarise each document in one sentence",
         "--table", "docs=docs", "--model", practice().model, "--yes", "-o", "out.jsonl"],
        cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=250, check=False,
    )  # fmt: skip
    assert CANARY not in ended.stdout + ended.stderr
    assert ended.returncode == 3, ended.stderr
    assert "12 rows = 9 done + 3 quarantined + 0 skipped" in ended.stderr
    rows = {str(row["file"]): row for row in read_rows(tmp_path / "out.jsonl")}
    assert len(rows) == 12 and "text" not in rows["note.eml"]
    reasons = {name: str(row["_error"]) for name, row in rows.items() if row["_error"]}
    assert reasons.keys() == {"broken.pdf", "broken.docx", "bomb.docx"}
    assert reasons["broken.pdf"] == "bad_input: the file is no PDF, or a broken one"
    assert "bad_input: the file cannot be read as docx" in reasons["broken.docx"]
    assert "unpacks to more than is taken" in reasons["bomb.docx"]
    beside = read_rows(tmp_path / "out.quarantined.jsonl")
    assert {row["file"] for row in beside} == reasons.keys()
    report = next((tmp_path / "home").glob("runs/*/report.md")).read_text()
    assert "row broken.pdf: the file is no PDF" in report  # as `show --row` wants it named
    started, of_the_run, of_its_children = json.loads((tmp_path / "memory.json").read_text())
    assert started and 0 < of_its_children < 400 << 10
    assert 0 < of_the_run < 400 << 10, "the run itself reads no file of a stranger"

    (folder / "broken.docx").write_bytes(docx(["A letter that was mended."]))
    again = apwa("retry", "-o", "out.jsonl", "--force")
    assert "12 rows = 10 done + 2 quarantined + 0 skipped" in again.stderr, again.stderr


def test_what_a_query_cannot_read_is_counted_and_named_and_may_be_mended(
    apwa: Apwa, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "parts.yaml").write_text(
        PLAN.replace("over: docs", "over: parts").replace(
            "answer:",
            "  parts:\n    query: SELECT file, unnest(chunk(text, 500)) AS text FROM docs\nanswer:",
        )
    )
    run = ("run", "parts.yaml", "-t", "docs=docs", "-m", "practice", "-y", "-o", "out.jsonl")
    ended = apwa(*run)
    assert ended.returncode == 3, ended.stderr
    assert "3 quarantined in earlier steps" in ended.stderr
    words = " ".join(ended.stderr.split())
    assert "3 of docs cannot be read and take no part: bomb.docx" in words
    assert "broken.pdf (the file is no PDF, or a broken one)" in words
    report = next((tmp_path / "home").glob("runs/*/report.md")).read_text()
    assert "Step parts: 3 files that cannot be read" in report
    assert report.count("3 of docs cannot be read") == 1
    files = {row["file"] for row in read_rows(tmp_path / "out.jsonl")}
    assert len(files) == 9 and "broken.docx" not in files

    (folder / "broken.docx").write_bytes(docx(["A letter that was mended."]))
    again = apwa("retry", "-o", "out.jsonl", "--force")
    assert "2 quarantined in earlier steps" in again.stderr, again.stderr
    rows = read_rows(tmp_path / "out.jsonl")
    assert len({row["file"] for row in rows}) == 10
    assert all(row["_status"] == "done" for row in rows)


def test_documents_that_are_the_same_are_not_asked_for_again(
    apwa: Apwa, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    run = ("run", "plan.yaml", "-t", "docs=docs", "-m", "practice", "-y", "--no-pilot")
    first = apwa(*run, "-o", "one.jsonl")
    assert first.returncode == 3 and "spent       7 calls" in first.stderr, (
        first.stderr
    )  # two are copies
    (folder / "new.docx").write_bytes(docx(["Dear Bob, this one is new."]))
    second = apwa(*run, "-o", "two.jsonl")
    assert "spent       1 call" in second.stderr, second.stderr
    one, two = read_rows(tmp_path / "one.jsonl"), read_rows(tmp_path / "two.jsonl")
    assert {row["file"]: row for row in one}.items() <= {row["file"]: row for row in two}.items()


def _kept(at: Path, what: str = "inputs/content.db", of: str = "parts") -> int:
    try:
        (path,) = at.glob(f"runs/*/{what}")
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return connection.execute(f"SELECT count(*) FROM {of}").fetchone()[0]
    except (ValueError, sqlite3.OperationalError):  # not there yet
        return 0


def _killed_while_it_reads(tmp_path: Path, at: Path, env: dict[str, str], *words: str) -> int:
    """How many files a run had read when it was killed, at its first answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "apwa", *words, "-o", "out.jsonl"], cwd=tmp_path,
        env=env | {"APWA_HOME": str(at)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        ended = time.monotonic() + 150
        while _kept(at) < 5 or not _kept(at, "run.db", "results"):
            assert time.monotonic() < ended
            if process.poll() is not None:
                assert process.returncode == 3
    finally:
        process.kill()
        process.wait()
    return _kept(at)


def test_a_run_killed_while_it_reads_goes_on_with_what_it_has_read(
    apwa: Apwa, tmp_path: Path, env: dict[str, str], practice: Serve
) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    slow = "<i></i>" * 150_000  # takes a while to read, and says nothing
    for number in range(100):
        page = f"<p>Letter {number}: Peter Miller called from Berlin.</p>{slow}"
        (place / f"{number:02d}.html").write_text(page)
    (place / "broken.docx").write_bytes(b"broken")
    names = sorted(path.name for path in place.iterdir())
    (tmp_path / "plan.yaml").write_text(PLAN)
    model = practice().model
    common = ("run", "plan.yaml", "--table", "docs=docs", "--model", model, "--yes", "--no-pilot")
    calm = apwa(*common, "-o", "calm.jsonl", APWA_HOME=str(tmp_path / "calm"))
    assert calm.returncode == 3, calm.stderr

    # answers come while other files are still to be read: where all were, it is tried again
    for number in range(5):
        for left in tmp_path.glob("out*.jsonl"):
            left.unlink()
        at = tmp_path / f"try-{number}"
        if 5 <= (kept := _killed_while_it_reads(tmp_path, at, env, *common)) < 101:
            break
    assert 5 <= kept < 101
    # what was read is not read again: its source may be gone
    (path,) = at.glob("runs/*/inputs/content.db")
    with sqlite3.connect(path) as connection:
        read = [n for (n,) in connection.execute("SELECT ordinal FROM parts")]
    for ordinal in read:
        (place / names[ordinal]).unlink()
    again = apwa("resume", APWA_HOME=str(at))
    assert again.returncode == 3, again.stderr
    assert "has changed since table docs was read" in again.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "calm.jsonl").read_bytes()
    assert _no_reader_lives(str(tmp_path))


def _no_reader_lives(place: str) -> bool:
    """Whether no reader that was started below a place is left: they end with their parent."""
    for _ in range(1200):
        left = [p for p in Path("/proc").glob("[0-9]*") if _reads_for(p, place)]
        if not left:
            return True
        time.sleep(0.05)
    return False


def _reads_for(process: Path, place: str) -> bool:
    try:
        command = (process / "cmdline").read_bytes()
        return b"apwa.documents.child" in command and str((process / "cwd").readlink()) == place
    except OSError:
        return False


def test_pictures_reach_the_endpoint_as_parts_of_the_message(
    apwa: Apwa, tmp_path: Path, practice: Serve
) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    shutil.copy(SAMPLES / "receipt.jpg", place)
    shutil.copy(SAMPLES / "receipt.txt", place)
    scan(place / "scan.pdf")
    (tmp_path / "plan.yaml").write_text(SEEN)
    record = tmp_path / "record"
    common = ("--table", "docs=docs", "--yes", "-o", "out.jsonl", "--force", "--no-pilot")
    model = practice(record=record).model
    ended = apwa("run", "plan.yaml", *common, "--model", model)
    assert ended.returncode == 3, ended.stderr
    rows = {str(row["file"]): row for row in read_rows(tmp_path / "out.jsonl")}
    assert rows["receipt.txt"]["_status"] == "done"
    for name in ("receipt.jpg", "scan.pdf"):
        assert "sees no pictures" in str(rows[name]["_error"])
    sent = "".join(path.read_text() for path in record.rglob("*") if path.is_file())
    assert sent.count("data:image/jpeg;base64,/9j/") == 2

    shown = apwa("show", "last", "--row", "receipt.jpg").stdout
    assert '"type": "image/jpeg", "width": 463' in shown
    assert "data:image/jpeg;base64,[26,645 bytes left out]" in shown

    blind = apwa("run", "plan.yaml", *common, "--model", practice("blind").model)
    assert blind.returncode == 4
    assert "This model takes no images" in blind.stderr
    resumed = apwa("resume", "--model", model, "--force")
    assert resumed.returncode == 3, resumed.stderr


def test_a_template_that_names_no_pictures_is_not_asked_about_them(
    apwa: Apwa, tmp_path: Path, practice: Serve
) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    shutil.copy(SAMPLES / "receipt.jpg", place)
    shutil.copy(SAMPLES / "receipt.txt", place)
    (tmp_path / "plan.yaml").write_text(PLAN)
    ended = apwa(
        "run", "plan.yaml", "--table", "docs=docs", "--model", practice().model, "--yes", "-o",
        "out.jsonl",
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    rows = {str(row["file"]): row for row in read_rows(tmp_path / "out.jsonl")}
    assert "name {{images}} for pictures and scanned pages" in str(rows["receipt.jpg"]["_error"])
    assert rows["receipt.txt"]["_status"] == "done"


def test_a_query_sees_what_files_hold_and_one_that_does_not_look_reads_none(
    apwa: Apwa, tmp_path: Path, practice: Serve
) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    for number in range(3):
        (place / f"{number}.docx").write_bytes(docx([f"Letter {number}"]))
    (place / "talk.pptx").write_bytes(pptx(["First", "Second"]))
    (tmp_path / "plan.yaml").write_text(
        "apwa: 1\nsteps:\n"
        "  kinds: {query: 'SELECT type, count(*) AS files FROM docs GROUP BY type', key: [type]}\n"
        "answer: kinds\n"
    )
    common = ("--model", practice().model, "--yes", "--force", "-o", "out.jsonl")
    ended = apwa("run", "plan.yaml", "--table", "docs=docs", *common)
    assert ended.returncode == 0, ended.stderr
    assert read_rows(tmp_path / "out.jsonl") == [
        {"type": "docx", "files": 3}, {"type": "pptx", "files": 1}
    ]  # fmt: skip
    assert _kept(tmp_path / "home") == 0
    (tmp_path / "plan.yaml").write_text(
        "apwa: 1\nsteps:\n"
        "  long:\n    query: SELECT file, page, length(text) AS n, text FROM docs\n"
        "    key: [file, page]\n"
        "  told:\n    template: Summarise {{text}}\n    over: long\n    contract: {summary: str}\n"
        "answer: told\n"
    )
    split = apwa("run", "plan.yaml", "--table", "docs=docs", "--split", "pages", *common)
    assert split.returncode == 0, split.stderr
    rows = read_rows(tmp_path / "out.jsonl")
    assert [(row["file"], row["page"], row["n"]) for row in rows] == [
        ("0.docx", 1, 8), ("1.docx", 1, 8), ("2.docx", 1, 8), ("talk.pptx", 1, 5),
        ("talk.pptx", 2, 6),
    ]  # fmt: skip


def test_a_limit_reads_only_what_it_takes(apwa: Apwa, tmp_path: Path, practice: Serve) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    for number in range(50):
        (place / f"{number:02d}.html").write_text(f"<p>Page {number} of the book</p>")
    (tmp_path / "plan.yaml").write_text(PLAN)
    ended = apwa(
        "run", "plan.yaml", "--table", "docs=docs", "--model", practice().model, "--yes",
        "--limit", "3", "-o", "out.jsonl",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "50 rows = 3 done + 0 quarantined + 47 skipped" in ended.stderr
    assert _kept(tmp_path / "home") == 3


def test_a_split_that_makes_no_sense_is_refused(apwa: Apwa, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.html").write_text("<p>x")
    common = ("run", "Summarise", "--table", "docs=docs", "--model", "practice")
    assert "no split" in apwa(*common, "--split", "chapters").stderr
    ended = apwa(*common, "--split", "pages")
    assert ended.returncode == 2 and "nothing here can be split into pages" in ended.stderr
