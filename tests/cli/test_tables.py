"""Tables from databases, spreadsheets, stores and web addresses, through the command line."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import xlsxwriter

from tests.canary import CANARY, find
from tests.cli.conftest import PLAN, Apwa, read_rows, write_notes
from tests.documents.made import SAMPLES, docx
from tests.stores.conftest import server as server  # the fixture
from tests.stores.servers import S3Server, WebServer


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    server = S3Server()
    # the search after all tests finds it wherever a run has kept it
    server.env["AWS_SECRET_ACCESS_KEY"] = CANARY
    yield server
    server.stop()


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


def run_over(table: str, *more: str) -> list[str]:
    return ["run", "plan.yaml", "--table", table, "--yes", "-o", "out.jsonl", *more]


def notes() -> list[tuple[int, str]]:
    return [(n, f"Note {n}: Peter Miller called.") for n in range(1, 13)]


def test_a_table_of_a_database_and_a_sheet_give_the_same_answers(
    apwa: Apwa, tmp_path: Path, plan: Path
) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as database:
        database.execute("create table notes (id integer primary key, text text)")
        database.execute("create table other (a)")
        database.executemany("insert into notes values (?, ?)", notes())
    database.close()
    with xlsxwriter.Workbook(str(tmp_path / "book.xlsx")) as book:
        book.add_worksheet("Other").write_column(0, 0, ["a", 1])
        sheet = book.add_worksheet("My notes")
        for number, row in enumerate([("id", "text"), *notes()]):
            sheet.write_row(number, 0, row)
    answers: list[list[dict[str, object]]] = []
    for source in ("shop.sqlite#notes", "book.xlsx#My notes"):
        ended = apwa(*run_over(f"notes={source}", "--key", "id", "--model", "practice", "--force"))
        assert ended.returncode == 0, ended.stderr
        answers.append(read_rows(tmp_path / "out.jsonl"))
    assert len(answers[0]) == 12 and answers[0] == answers[1]
    refused = apwa(*run_over("notes=shop.sqlite", "--model", "practice", "--force"))
    assert refused.returncode == 2
    assert "'notes' (12 rows), 'other' (0 rows)" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_run_over_a_store_keeps_no_key_and_says_when_the_store_has_changed(
    apwa: Apwa, tmp_path: Path, plan: Path, s3: S3Server, practice
) -> None:
    write_notes(tmp_path / "n.jsonl", 20)
    content = (tmp_path / "n.jsonl").read_bytes()
    s3.put(**{"in/notes.jsonl": content})
    source = "notes=s3://bucket/in/notes.jsonl"
    served = practice()
    ended = apwa(*run_over(source, "--model", served.model, "--max-calls", "8"), **s3.env)
    assert ended.returncode == 4, ended.stderr
    assert "1 of 1 file, " in ended.stderr and "fetched from s3://bucket/in" in ended.stderr
    s3.put(**{"in/notes.jsonl": content + b'{"id": 21, "text": "new"}\n'})
    again = apwa("resume", "last", "--max-calls", "100", **s3.env)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("s3://bucket/in/notes.jsonl has changed since") == 1
    assert len(read_rows(tmp_path / "out.jsonl")) == 20
    assert find(tmp_path) == []
    (run,) = (tmp_path / "home" / "runs").iterdir()
    assert [p.name for p in (run / "inputs").iterdir()] == ["notes"]  # what was fetched is gone


def test_what_is_wrong_in_a_file_of_a_store_is_said_of_the_store(
    apwa: Apwa, tmp_path: Path, plan: Path, s3: S3Server
) -> None:
    s3.put(**{"in/bad.csv": b"id,text\n1,a,b\n"})
    refused = apwa(*run_over("notes=s3://bucket/in/bad.csv", "--model", "practice"), **s3.env)
    assert refused.returncode == 2
    assert "s3://bucket/in/bad.csv, line 2" in refused.stderr
    assert str(tmp_path) not in refused.stderr
    assert list((tmp_path / "home" / "runs").iterdir()) == []


def test_no_query_of_an_address_is_kept_or_shown(
    apwa: Apwa, tmp_path: Path, plan: Path, server: WebServer, practice
) -> None:
    write_notes(tmp_path / "n.jsonl", 20)
    server.content = (tmp_path / "n.jsonl").read_bytes()
    address = f"{server.url}/in/notes.jsonl?X-Amz-Signature={CANARY}"
    served = practice()
    ended = apwa(*run_over(f"notes={address}", "--model", served.model, "--max-calls", "8"))
    assert ended.returncode == 4, ended.stderr
    assert f"{server.url}/in/notes.jsonl?…" in ended.stderr
    asked = len(server.seen)
    again = apwa("resume", "last", "--max-calls", "100")  # needs the address no more
    assert again.returncode == 0, again.stderr
    assert len(server.seen) == asked
    assert len(read_rows(tmp_path / "out.jsonl")) == 20
    for looked in (apwa("show", "last"), apwa("runs")):
        assert looked.returncode == 0
    assert find(tmp_path) == []
    unnamed = apwa("run", "plan.yaml", "--table", address, "--yes", "--model", "practice")
    assert unnamed.returncode == 0, unnamed.stderr  # its name is that of the file
    server.content = b"id,text\n"
    server.headers = {"content-type": "text/html"}
    refused = apwa(*run_over(f"notes={address}", "--model", "practice", "--force"))
    assert refused.returncode == 2 and "a web page" in refused.stderr


def test_a_run_killed_while_it_fetches_fetches_the_rest(
    apwa: Apwa, tmp_path: Path, plan: Path, env: dict[str, str], server: WebServer
) -> None:
    write_notes(tmp_path / "n.jsonl", 20)
    server.content = (tmp_path / "n.jsonl").read_bytes()
    server.hold = True
    process = subprocess.Popen(
        [sys.executable, "-m", "apwa",
         *run_over(f"notes={server.url}/notes.jsonl", "--model", "practice")],
        cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 150
    while not server.seen and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert server.seen
    server.hold = False
    again = apwa("resume", "last")
    assert again.returncode == 0, again.stderr
    assert len(read_rows(tmp_path / "out.jsonl")) == 20


def test_a_folder_of_a_store_is_a_table_of_its_files(
    apwa: Apwa, tmp_path: Path, s3: S3Server
) -> None:
    s3.put(**{f"texts/{n}/note.txt": text.encode() for n, text in notes()})
    s3.put(**{"texts/readme.bin": b"\x00"})
    (tmp_path / "plan.yaml").write_text(PLAN)
    ended = apwa(*run_over("notes=s3://bucket/texts/**/*.txt", "--model", "practice"), **s3.env)
    assert ended.returncode == 0, ended.stderr
    found = read_rows(tmp_path / "out.jsonl")
    assert [row["file"] for row in found] == sorted(f"{n}/note.txt" for n, _ in notes())


def test_documents_of_a_store_are_read_as_those_of_a_folder(
    apwa: Apwa, tmp_path: Path, s3: S3Server
) -> None:
    files = {
        "invoice.pdf": (SAMPLES / "invoice.pdf").read_bytes(),
        "letter.docx": docx(["Dear Ann", "the total is 12"]),
        "broken.pdf": b"%PDF-1.7 no more",
    }
    s3.put(**{f"papers/{name}": data for name, data in files.items()})
    (tmp_path / "plan.yaml").write_text(
        'apwa: 1\nsteps:\n  of: {query: "SELECT file, text, length(text) AS long FROM papers'
        " WHERE text LIKE '%ec%' OR text LIKE '%Ann%'\"}\n"
        "  told:\n    template: Summarise {{text}}.\n    over: of\n"
        "    contract: {summary: str}\nanswer: told\n"
    )
    ended = apwa(*run_over("papers=s3://bucket/papers/", "--model", "practice"), **s3.env)
    assert ended.returncode == 3, ended.stderr
    assert "1 of papers cannot be read and take no part: broken.pdf" in ended.stderr
    found = read_rows(tmp_path / "out.jsonl")
    assert [row["file"] for row in found] == ["invoice.pdf", "letter.docx"]
    assert found[0]["long"] > 500 and found[1]["long"] == len("Dear Ann\n\nthe total is 12")
