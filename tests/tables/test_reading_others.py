"""Promises of reading JSON, Parquet, Arrow and folders of text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from apwa.tables import CONTENT, Table, plain_rows, read_table
from apwa.vocabulary import BadInput


def rows_of(table: Table) -> list[list[object]]:
    return [row for _, b in table.batches() for row in plain_rows(b, table.schema.names)]


def read(folder: Path, name: str, data: bytes | str, **more: object) -> Table:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table("t", path, folder / "into", **more)  # pyright: ignore[reportArgumentType]


def refused(folder: Path, name: str, data: bytes | str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(folder, name, data)
    assert not (folder / "into").exists()
    return caught.value


# ---- JSON


def test_types_are_unified_over_all_rows_and_the_absent_is_null(tmp_path: Path) -> None:
    rows = [
        {"i": 1, "f": 1, "l": [1], "o": {"a": 1, "b": None}, "m": 1, "n": None, "x": {"a": 1}},
        {"f": 2.5, "l": [], "o": {"b": "y", "a": None}, "m": "one", "x": {"b": 2}},
        {"i": 2**60, "l": [2.5], "late": True, "big": 2**70},
    ]
    lines = "\n".join(map(json.dumps, rows))
    table = read(tmp_path, "t.jsonl", lines)
    assert {f.name: str(f.type) for f in table.schema} == {
        "i": "int64", "f": "double", "l": "list<item: double>",
        "o": "struct<a: int64, b: string>", "m": "string", "n": "string", "x": "string",
        "late": "bool", "big": "string",
    }  # fmt: skip
    found = [dict(zip(table.schema.names, row, strict=True)) for row in rows_of(table)]
    assert [f["i"] for f in found] == [1, None, 2**60]
    assert [f["f"] for f in found] == [1.0, 2.5, None]
    assert [f["m"] for f in found] == ["1", "one", None]
    assert [f["x"] for f in found] == ['{"a":1}', '{"b":2}', None]
    assert found[1]["o"] == {"a": None, "b": "y"} and found[2]["big"] == str(2**70)
    again = read(tmp_path, "t.json", json.dumps(rows, indent=1))
    assert rows_of(again) == rows_of(table)
    packed = read(tmp_path, "t.ndjson.gz", gzip.compress(lines.encode()))
    assert rows_of(packed) == rows_of(table)


def test_an_array_larger_than_the_window_is_read_in_pieces(tmp_path: Path) -> None:
    rows = [{"id": i, "t": "x" * 700} for i in range(5000)] + [{"id": 5000, "t": "y" * (3 << 20)}]
    table = read(tmp_path, "t.json", "\ufeff" + json.dumps(rows))
    assert table.rows == 5001
    assert [r[0] for r in rows_of(table)] == list(range(5001))
    assert table.take([5000]).column("t").to_pylist() == ["y" * (3 << 20)]


@pytest.mark.parametrize(
    ("name", "data", "where", "what"),
    [
        ("t.jsonl", '{"a": 1}\n\n{"a": 1,, "b": 2}\n', "line 3, column 9", "broken JSON"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', "line 2, column 6", "broken JSON"),
        ("t.jsonl", '{"a": 1}\n{"a": NaN}\n', "line 2, column 1", "NaN"),
        ("t.jsonl", '{"a": 1}\n[1]\n', "line 2", "an array"),
        ("t.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', "line 2, column 8", "0xe9"),
        ("t.jsonl", "", "t.jsonl", "no rows"),
        ("t.json", "", "t.json", "empty"),
        ("t.json", "[]", "t.json", "no rows"),
        ("t.json", '{"a": 1}', "line 1, column 1", "array of objects"),
        ("t.json", '[{"a": 1},\n {"a": 2}\n {"a": 3}]', "line 3, column 2", "comma"),
        ("t.json", '[{"a": 1},\n 5]', "line 2, column 2", "a number"),
        ("t.json", '[{"a": 1},\n {"a" 2}]', "line 2, column 7", "broken JSON"),
        ("t.json", '[{"a": 1}', "line 1, column 10", "comma or the array's end"),
        ("t.json", '[{"a": 1}] x', "line 1, column 12", "follows the array"),
        ("t.json", b'[{"a": 1},\n {"a": "\xff"}]', "line 2, column 9", "0xff"),
        ("t.json", '[{"a": 1},\n {"a": "\\ud800"}]', "line 2, column 2", "broken JSON"),
    ],
)
def test_faults_of_json_are_named_with_their_place(
    tmp_path: Path, name: str, data: str | bytes, where: str, what: str
) -> None:
    error = refused(tmp_path, name, data)
    assert error.where.endswith(where) and what in error.what


# ---- in place


def test_parquet_and_arrow_are_read_where_they_lie(tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2, 3], "a.b": ["x", None, "z"], "s": [{"q": 1}] * 3})
    pq.write_table(rows, tmp_path / "t.parquet")
    feather.write_feather(rows, tmp_path / "t.arrow", chunksize=2)
    for name in ("t.parquet", "t.arrow"):
        table = read_table("t", tmp_path / name, tmp_path / "into", key=["id"])
        assert table.rows == 3 and not (tmp_path / "into").exists()
        assert rows_of(table) == [[1, "x", {"q": 1}], [2, None, {"q": 1}], [3, "z", {"q": 1}]]
        assert list(table.row_keys(1)) == ["2", "3"]
        assert table.take([2, 0], ["a.b"]).column(0).to_pylist() == ["z", "x"]
        assert Table.from_json(table.to_json()) == table
        assert table.dataset().to_table().num_rows == 3


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    seen: set[str] = set()
    for value in ("x", "y"):
        pq.write_table(pa.table({"a": [value]}), path)
        seen.add(read_table("t", path, tmp_path / "into").fingerprint)
    assert len(seen) == 2


def test_what_is_no_parquet_is_said(tmp_path: Path) -> None:
    assert "no parquet file" in refused(tmp_path, "t.parquet", "a,b\n").what
    assert "no parquet file" in refused(tmp_path, "t.parquet", "").what
    assert "no arrow file" in refused(tmp_path, "t.arrow", "nothing").what
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "d.parquet")
    with pytest.raises(BadInput, match="two columns are named 'a'"):
        read_table("t", tmp_path / "d.parquet", tmp_path / "into")


def test_parquet_files_of_unlike_columns_make_no_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [2]}), tmp_path / "2.parquet")
    assert rows_of(read_table("t", str(tmp_path / "?.parquet"), tmp_path / "into")) == [[1], [2]]
    pq.write_table(pa.table({"a": ["2"]}), tmp_path / "3.parquet")
    with pytest.raises(BadInput, match=r"not those of .*1\.parquet"):
        read_table("t", str(tmp_path / "*.parquet"), tmp_path / "into")


# ---- folders of text


def test_a_folder_of_texts_is_a_row_a_file_and_a_broken_one_says_why(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "b.txt").write_text("zwei\r\n")
    (notes / "deep" / "a.md").write_text("# one")
    (notes / ".hidden").write_text("no")
    table = read_table("t", notes, tmp_path / "into")
    assert table.key == ("file",) and table.schema.names == ["file", "size", "text"]
    assert rows_of(table) == [["b.txt", 6, "zwei\r\n"], ["deep/a.md", 5, "# one"]]
    assert table.schema.field("text").metadata == CONTENT
    assert Table.from_json(table.to_json()).schema.field("text").metadata == CONTENT
    (notes / "c.txt").write_bytes(b"ok\nbad \xff")
    (notes / "d.txt").symlink_to("nowhere")
    table = read_table("t", str(notes / "**" / "*.txt"), tmp_path / "into")
    assert table.schema.names == ["file", "size", "text", "_unreadable"]
    by_file = {row[0]: row[1:] for row in rows_of(table)}
    assert by_file["b.txt"] == [6, "zwei\r\n", None]
    assert by_file["c.txt"] == [8, None, "the file is no UTF-8: byte 0xff in line 2"]
    assert "cannot be read" in str(by_file["d.txt"][2])


def test_sources_that_cannot_be_are_refused_with_what_can(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_table("t", tmp_path / "absent.csv", tmp_path / "into")
    assert ".parquet" in refused(tmp_path, "t.exe", "x").todo
    with pytest.raises(BadInput, match="no files here"):
        read_table("t", str(tmp_path / "*.md"), tmp_path / "into")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.txt").write_text("x")
    (mixed / "b.csv").write_text("a\n1\n")
    with pytest.raises(BadInput, match="tables are among the documents"):
        read_table("t", mixed, tmp_path / "into")


def test_a_folder_of_texts_may_hold_a_readme_and_says_what_it_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    (folder / "README").write_text("not a text of ours")
    table = read_table("texts", folder, tmp_path / "in")
    assert table.rows == 1
    assert table.left_out == 1
