"""Bad input: one clear message, the right exit code, before anything is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import PLAN, Apwa, write_notes


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 3)
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "wrong.yaml").write_text(PLAN.replace("{{text}}", "{{txet}}"))
    (tmp_path / "broken.yaml").write_text("apwa: 1\nsteps:\n  a: [unclosed\n")
    (tmp_path / "ragged.csv").write_text("id,text\n1,a\n2,b,too many\n")
    (tmp_path / "bytes.csv").write_bytes(b"id,text\n1,caf\xe9\n")
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "twice.csv").write_text("id,text\n7,a\n7,b\n")


NOTES = ("--table", "notes=notes.jsonl", "--model", "practice")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "redact", "--table", "notes=nowhere.jsonl", "--model", "practice"), "nowhere"),
        (("run", "nowhere.yaml", *NOTES), "nowhere.yaml"),
        (("run", "wrong.yaml", *NOTES), "txet"),
        (("run", "broken.yaml", *NOTES), "line 4"),
        (("run", "plan.yaml", "--model", "practice"), "notes"),
        (("run", "redact", "--table", "notes=ragged.csv", "--model", "practice"), "line 3"),
        (("run", "redact", "--table", "notes=bytes.csv", "--model", "practice"), "line 2"),
        (
            ("run", "redact", "--table", "n=twice.csv", "--key", "id", "--model", "practice"),
            "7",
        ),
        (("run", "redact", *NOTES, "-o", "there.csv"), "exists"),
        (("run", "redact", *NOTES, "-o", "answer.xlsx"), "xlsx"),
        (("run", "redact", *NOTES, "--limt", "3"), "--limit"),
        (("run", "redact", *NOTES, "--rows", "17"), "17"),
        (("run", "redact", *NOTES, "--limit", "0"), "above 0"),
        (("run", "redact", *NOTES, "--context", "-1"), "--context: the number must be above 0"),
        (("run", "redact", "-t", "t=", "--model", "practice"), "there is no path for the table t"),
        (("run", "redact", *NOTES, "--max-cost", "nan"), "--max-cost: the number must be above 0"),
        (("run", "redact", *NOTES, "--timeout", "inf"), "--timeout: the number must be above 0"),
        (("doctor", "--context", "0"), "--context: the number must be above 0"),
        (("run", "redact", *NOTES, "--key", "nokey"), "nokey"),
        (("run", "redact", *NOTES, "--grant", "browser"), "browser"),
        (("run", "redact", "--table", "notes=notes.jsonl"), "no model is named"),
        (("run", "redact", "--table", "notes=notes.jsonl", "--model", "gpt9"), "gpt9"),
        (
            ("run", "redact", "--table", "notes=notes.jsonl", "--model", "openai:x"),
            "OPENAI_API_KEY",
        ),
        (("resume", "last"), "no runs"),
        (("show", "nothing"), "no runs"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_misuse_is_named_with_exit_code_2_and_no_traceback(
    apwa: Apwa, arguments: tuple[str, ...], words: str
) -> None:
    ended = apwa(*arguments)
    assert ended.returncode == 2, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.count("error:") == 1


def test_a_plan_error_names_line_and_column(apwa: Apwa) -> None:
    ended = apwa("run", "wrong.yaml", *NOTES)
    assert "line 4" in ended.stderr
    assert "text" in ended.stderr, "it offers the column that was meant"


def test_nothing_is_left_of_a_run_that_never_began(apwa: Apwa, tmp_path: Path) -> None:
    apwa("run", "redact", "--table", "notes=ragged.csv", "--model", "practice")
    assert not list((tmp_path / "home").glob("runs/*"))


def test_an_existing_file_is_kept_without_force(apwa: Apwa, tmp_path: Path) -> None:
    apwa("run", "redact", *NOTES, "-o", "there.csv")
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_cap_in_money_without_a_price_refuses_to_start(
    apwa: Apwa, practice, tmp_path: Path
) -> None:
    ended = apwa(
        "run", "plan.yaml", "--table", "notes=notes.jsonl", "--model", practice().model,
        "--max-cost", "1",
    )  # fmt: skip
    assert ended.returncode == 2
    assert "price" in ended.stderr
