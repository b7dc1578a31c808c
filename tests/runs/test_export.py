"""Answers on disk: whole or not there, never over somebody's file."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apwa.runs.export import check_target, quarantine_path, write_answer
from apwa.tables import CONTENT
from apwa.vocabulary import Misuse

SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("text", pa.string(), metadata=CONTENT),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("ok", pa.bool_()),
    ]
)
ROWS = pa.RecordBatch.from_pylist(
    [
        {"file": "a.txt", "text": "long", "tags": ["x", "y"], "ok": True},
        {"file": 'b "q", c\n.txt', "text": "long", "tags": None, "ok": None},
    ],
    schema=SCHEMA,
)


def test_jsonl_holds_each_row_once_and_no_file_contents(tmp_path: Path) -> None:
    write_answer(iter([ROWS]), SCHEMA, tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows[0] == {"file": "a.txt", "tags": ["x", "y"], "ok": True}
    assert rows[1]["file"] == 'b "q", c\n.txt'


def test_csv_quotes_what_needs_it_and_writes_lists_as_json(tmp_path: Path) -> None:
    import csv

    write_answer(iter([ROWS]), SCHEMA, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"file": "a.txt", "tags": '["x","y"]', "ok": "true"}
    assert rows[1] == {"file": 'b "q", c\n.txt', "tags": "", "ok": ""}


def test_an_empty_answer_is_a_file_with_its_columns(tmp_path: Path) -> None:
    write_answer(iter([]), SCHEMA, tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").schema.names == ["file", "tags", "ok"]


def test_a_failure_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    target.write_text("old")

    def broken():
        yield ROWS
        raise ValueError("the source breaks")

    with pytest.raises(ValueError, match="source breaks"):
        write_answer(broken(), SCHEMA, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("answer.xlsx", "no format"),
        ("there.csv", "the file exists"),
        ("no/such/a.csv", "does not exist"),
        ("beside.csv", "the file exists"),
    ],
)
def test_a_bad_target_is_named_before_anything_is_spent(
    tmp_path: Path, name: str, what: str
) -> None:
    (tmp_path / "there.csv").touch()
    (tmp_path / "beside.quarantined.csv").touch()
    with pytest.raises(Misuse, match=what):
        check_target(tmp_path / name, force=False)


def test_force_allows_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "there.csv").touch()
    check_target(tmp_path / "there.csv", force=True)


def test_quarantined_rows_go_beside_the_answer() -> None:
    assert quarantine_path(Path("x/out.parquet")) == Path("x/out.quarantined.parquet")
    assert quarantine_path(Path("out.csv"), "tag") == Path("out.quarantined.tag.csv")


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_no_byte_is_lost_where_bytes_have_no_place(tmp_path: Path, ending: str) -> None:
    values = [b"plain text", b"\xff\x00\xfe"]
    batch = pa.record_batch({"data": pa.array(values, pa.binary())})
    path = tmp_path / f"a.{ending}"
    write_answer(iter([batch]), batch.schema, path)
    if ending == "jsonl":
        found = [json.loads(line)["data"] for line in path.read_text().splitlines()]
    else:
        found = path.read_text().splitlines()[1:]
    assert "plain text" in found[0]
    assert base64.b64decode(found[1].strip('"').removeprefix("data:;base64,")) == values[1]
