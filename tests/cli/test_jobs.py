"""Whole jobs in one sentence each, over real data, through the practice model."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from apwa.practice import sample
from tests.cli.conftest import Apwa, read_rows

SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_the_demo_ends_with_results_to_look_at(apwa: Apwa) -> None:
    ended = apwa("demo")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().endswith(".jsonl")
    assert "practice" in ended.stderr and "redacted" in ended.stderr


def test_receipts_become_typed_fields(apwa: Apwa, tmp_path: Path) -> None:
    ended = apwa(
        "run", "Extract the company, the date, the address and the total of each receipt",
        "--table", f"receipts={sample('receipts.jsonl')}", "--model", "practice", "--yes",
        "-o", "fields.parquet",
    )  # fmt: skip
    assert ended.returncode in (0, 3), ended.stderr
    table = pq.read_table(tmp_path / "fields.parquet")
    assert {"company", "date", "address", "total"} <= set(table.schema.names)
    assert str(table.schema.field("total").type) in ("double", "string")
    done = [row for row in table.to_pylist() if row["_status"] == "done"]
    assert len(done) >= 0.9 * table.num_rows


def test_addresses_are_summarised_in_three_levels(apwa: Apwa, tmp_path: Path) -> None:
    ended = apwa(
        "run", "Summarise all of it in three levels: each part, each address, and all addresses",
        "--table", f"addresses={sample('addresses')}", "--model", "practice", "--yes",
        "-o", "summary.jsonl",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (row,) = read_rows(tmp_path / "summary.jsonl")
    assert len(str(row["summary"])) > 40
    shown = apwa("show", "last").stdout
    assert shown.count("reduce") >= 2


def test_two_templates_side_by_side_are_joined(apwa: Apwa, tmp_path: Path) -> None:
    ended = apwa(
        "run", "Redact the personal information in the text and classify its tone as positive,"
        " negative or neutral",
        "--table", f"notes={sample('notes.jsonl')}", "--key", "id", "--model", "practice",
        "--yes", "--limit", "30", "-o", "both.jsonl",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rows = read_rows(tmp_path / "both.jsonl")
    assert len(rows) == 30
    assert "redacted" in rows[0]
    assert apwa("show", "last").stdout.count("template ") >= 2


def test_a_job_with_no_table_lists_its_own_rows(apwa: Apwa, tmp_path: Path) -> None:
    ended = apwa(
        "run", "Write a one-page profile of each planet and a comparison of them all",
        "--model", "practice", "--yes", "-o", "profiles.jsonl",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    shown = apwa("show", "last").stdout
    assert "rows " in shown
    assert "Mercury" in json.dumps(read_rows(tmp_path / "profiles.jsonl")) + ended.stderr


@pytest.mark.parametrize(
    "job",
    [
        "Delete all files on the server",
        "Browse each company's web site and note its opening hours",
        "Let the workers debate with each other until they agree on the best note",
    ],
)
def test_a_job_that_cannot_be_done_is_refused_in_words(apwa: Apwa, job: str) -> None:
    ended = apwa(
        "run", job, "--table", f"notes={sample('notes.jsonl')}", "--model", "practice", "--yes"
    )
    assert ended.returncode == 1, ended.stderr
    assert "refused" in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert "= 0 done + 0 quarantined +" in last, "no row was worked, and all are accounted for"


@pytest.mark.data
def test_a_thousand_labelled_texts(apwa: Apwa, tmp_path: Path) -> None:
    records = SHARED / "pii-presidio-synth" / "records.jsonl"
    if not records.exists():
        pytest.skip("the larger data (pii-presidio-synth) is not here")
    with records.open() as file, (tmp_path / "texts.jsonl").open("w") as out:
        for line, _ in zip(file, range(1000), strict=False):
            record = json.loads(line)
            out.write(json.dumps({"id": record["id"], "text": record["text"]}) + "\n")
    ended = apwa(
        "run", "Replace every piece of personal information in the text with a tag such as"
        " [NAME] or [EMAIL], and list what was replaced",
        "--table", "texts=texts.jsonl", "--model", "practice", "--yes", "-o", "out.jsonl",
    )  # fmt: skip
    assert ended.returncode in (0, 3), ended.stderr
    rows = read_rows(tmp_path / "out.jsonl")
    assert len(rows) == 1000
    assert sum(row["_status"] == "done" for row in rows) >= 980
