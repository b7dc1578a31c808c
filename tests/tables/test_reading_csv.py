"""Promises of reading CSV and TSV."""

from __future__ import annotations

import csv
import datetime
import gzip
import string
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apwa.tables import Table, plain_rows, read_table
from apwa.vocabulary import BadInput


def rows_of(table: Table) -> list[list[object]]:
    return [row for _, b in table.batches() for row in plain_rows(b, table.schema.names)]


def read(folder: Path, data: bytes | str, name: str = "t.csv", **more: object) -> Table:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table("t", path, folder / "into", **more)  # pyright: ignore[reportArgumentType]


def test_types_are_found_over_the_whole_file(tmp_path: Path) -> None:
    body = "".join(f"{i},{i}.5,true,2024-02-29,{i}\n" for i in range(40_000))
    table = read(tmp_path, "a,b,c,d,e\n" + body + "7,0.25,false,1999-01-01,late\n")
    assert [str(f.type) for f in table.schema] == [
        "int64",
        "double",
        "bool",
        "date32[day]",
        "string",
    ]
    assert table.rows == 40_001
    assert rows_of(table)[-1] == [7, 0.25, False, "1999-01-01", "late"]


@pytest.mark.parametrize(
    "cell", ["007", "1.50", "+1", "-0", " 1", "1e5", "TRUE", "2023-02-29", "0000-01-01", "nan",
             "99999999999999999999", "1_000", "١"],
)  # fmt: skip
def test_what_would_not_come_back_byte_for_byte_stays_text(tmp_path: Path, cell: str) -> None:
    table = read(tmp_path, f"a\n{cell}\n")
    assert table.schema.field("a").type == pa.string()
    assert rows_of(table) == [[cell]]


def test_an_empty_cell_is_null_in_a_typed_column_and_empty_in_a_text_column(tmp_path: Path) -> None:
    assert rows_of(read(tmp_path, "a,b,c\n1,x,\n,,\n")) == [[1, "x", ""], [None, "", ""]]


def test_quoted_line_ends_carriage_returns_and_a_byte_order_mark_work(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines, and a ""quote"""\r\n2,plain\r\n'
    table = read(tmp_path, data)
    assert table.schema.names == ["id", "text"]
    assert rows_of(table) == [[1, 'two\r\nlines, and a "quote"'], [2, "plain"]]


def test_tabs_semicolons_and_gzip_are_read(tmp_path: Path) -> None:
    assert rows_of(read(tmp_path, "a\tb\n1\tx,y\n", "t.tsv")) == [[1, "x,y"]]
    assert rows_of(read(tmp_path, "a;b\n1;x,y\n")) == [[1, "x,y"]]
    assert rows_of(read(tmp_path, gzip.compress(b"a,b\n1,x\n"), "t.csv.gz")) == [[1, "x"]]


def test_a_header_alone_is_a_table_of_no_rows(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n", key=["a"])
    assert (table.rows, table.schema.names, rows_of(table)) == (0, ["a", "b"], [])
    assert list(table.row_keys()) == [] and table.dataset().count_rows() == 0


def test_a_thousand_columns_and_a_cell_of_ten_megabytes_work(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(1000)]
    wide = read(tmp_path, ",".join(names) + "\n" + ",".join(map(str, range(1000))) + "\n")
    assert rows_of(wide) == [list(range(1000))]
    big = "x" * (10 << 20)
    assert rows_of(read(tmp_path, f"id,text\n1,{big}\n2,y\n")) == [[1, big], [2, "y"]]


def refused(folder: Path, data: bytes | str, name: str = "t.csv", **more: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(folder, data, name, **more)
    assert name in caught.value.where or "table t" in caught.value.where
    assert not (folder / "into").exists(), "a refused source leaves no snapshot behind"
    assert not list(folder.glob("into.*"))
    return caught.value


def test_a_ragged_line_deep_in_the_file_is_named_by_its_line(tmp_path: Path) -> None:
    lines = ["a,b,c"] + [f'{i},"x\ny",z' for i in range(35_000)] + ["1,2"]
    error = refused(tmp_path, "\n".join([*lines, "1,2,3\n"]))
    assert error.where.endswith("t.csv, line 70,002")
    assert error.what == "2 fields where the header has 3"


def test_bad_utf8_is_named_by_line_column_and_byte(tmp_path: Path) -> None:
    error = refused(tmp_path, b"a,b\n1,x\n2,caf\xe9\n")
    assert error.where.endswith("line 3, column 6") and "0xe9" in error.what
    assert "UTF-16" in refused(tmp_path, "a,b\n1,ü\n".encode("utf-16")).todo


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        ("", "", "empty"),
        ("a,b,a\n1,2,3\n", "line 1", "columns 1 and 3 are both named 'a'"),
        ("a,,b\n1,2,3\n", "line 1", "column 2 has no name"),
        ('a,b\n1,x\n2,"open\nand on\n', "line 3, column 3", "never closed"),
        ('a,b\n1,"x\ny"z\n', "line 3, column 3", "follows a closing quote"),
    ],
)
def test_faults_are_named_with_their_place(
    tmp_path: Path, data: str, where: str, what: str
) -> None:
    error = refused(tmp_path, data)
    assert error.where.endswith(where) and what in error.what


def test_a_broken_gzip_is_no_traceback(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 10_000)
    refused(tmp_path, whole[: len(whole) // 2], "t.csv.gz")
    refused(tmp_path, b"a,b\n1,2\n", "t.csv.gz")


def test_two_rows_of_one_key_are_both_named(tmp_path: Path) -> None:
    body = "".join(f"{i},x\n" for i in range(5000))
    error = refused(tmp_path, "id,b\n" + body + "17,y\n", key=["id"])
    assert error.what == 'the key "17" names two rows: 18 and 5,001'
    hidden = refused(tmp_path, "id,b\nsecret,1\nsecret,2\n", key=["id"], sensitive=["id"])
    assert "secret" not in str(hidden)


def test_a_key_column_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    assert "no key column 'x'" in refused(tmp_path, "a,b\n1,2\n", key=["x"]).what
    assert "row 2 has no value" in refused(tmp_path, "a,b\n1,2\n,3\n", key=["a"]).what
    assert "no sensitive column 'x'" in refused(tmp_path, "a,b\n1,2\n", sensitive=["x"]).what


def test_a_mended_quarantine_file_is_an_input_like_any_other(tmp_path: Path) -> None:
    table = read(tmp_path, "a,_status,_error\n1,quarantined,why\n")
    assert table.schema.names == ["a"] and rows_of(table) == [[1]]


def test_files_of_a_glob_are_one_table_if_their_columns_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("a,b\nx,2\n")
    (tmp_path / "a.csv").write_text("a,b\n1,1\n")
    table = read_table("t", str(tmp_path / "*.csv"), tmp_path / "into")
    assert rows_of(table) == [["1", 1], ["x", 2]]
    (tmp_path / "c.csv").write_text("a,c\n1,1\n")
    with pytest.raises(BadInput, match="column 'c' is in only one"):
        read_table("t", str(tmp_path / "*.csv"), tmp_path / "into")


def test_a_snapshot_left_by_a_killed_driver_is_written_over(tmp_path: Path) -> None:
    first = read(tmp_path, "a\n1\n")
    second = read(tmp_path, "a\n2\n")
    assert rows_of(second) == [[2]] and first.fingerprint != second.fingerprint
    assert read(tmp_path, "a\n2\n").fingerprint == second.fingerprint


cells = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.decimals(allow_nan=False, places=2).map(str),
    st.dates().map(datetime.date.isoformat),
    st.sampled_from(["", "true", "false", "True", "0", "-0", "00", "1e16", "1e+16", "0.1"]),
    st.text(string.printable + "é€😀\u2028\x00", max_size=8),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.just("k"), cells), min_size=1, max_size=6))
def test_a_column_comes_back_byte_for_byte_whatever_its_type(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("k", "v"), *rows])
    table = read_table("t", path, tmp_path / "into")
    back = [
        "" if v is None else str(v).lower() if isinstance(v, bool) else str(v)
        for _, v in rows_of(table)
    ]
    assert back == [value for _, value in rows]
