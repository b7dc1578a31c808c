"""Spreadsheets as tables: what a cell shows is what a row holds, and what it hides is said."""

from __future__ import annotations

import datetime
import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xlsxwriter
import xlwt
from hypothesis import given, settings
from hypothesis import strategies as st

from apwa.tables import Table, read_table
from apwa.tables.foreign import foreign_table
from apwa.vocabulary import BadInput, Misuse


def rows(table: Table) -> list[dict[str, Any]]:
    return [row for _, batch in table.batches() for row in batch.to_pylist()]


def read(source: str | Path, tmp_path: Path, **more: Any) -> Table:
    return read_table("t", source, tmp_path / "inputs" / "t", **more)


def test_a_sheet_comes_with_its_kinds_of_values(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        clock = book.add_format({"num_format": "hh:mm:ss"})
        span = book.add_format({"num_format": "[h]:mm:ss"})
        heads = ["id", "price", "day", "moment", "clock", "ok", "code", "sum", "span", "none", 2024]
        sheet.write_row(2, 1, heads)  # a table need not begin in A1
        sheet.write_row(3, 1, [5, 1.5])
        sheet.write_datetime(3, 3, datetime.date(2024, 2, 29), day)
        sheet.write_datetime(3, 4, datetime.datetime(2024, 2, 29, 13, 1, 2), moment)
        sheet.write_datetime(3, 5, datetime.time(13, 1, 2), clock)
        sheet.write_boolean(3, 6, True)
        sheet.write_string(3, 7, "007")
        sheet.write_formula(3, 8, "=B4*2", None, 10)
        sheet.write_number(3, 9, 1.25, span)
        sheet.write_row(5, 1, [2**53, 2])  # the row between is empty
        sheet.write_datetime(5, 4, datetime.datetime(2024, 3, 1), moment)
        sheet.write_string(5, 11, "x")
    table = read(path, tmp_path)
    types = dict(zip(table.schema.names, map(str, table.schema.types), strict=True))
    assert types == {
        "id": "int64", "price": "double", "day": "date32[day]", "moment": "timestamp[us]",
        "clock": "time64[us]", "ok": "bool", "code": "string", "sum": "int64",
        "span": "duration[us]", "none": "string", "2024": "string",
    }  # fmt: skip
    first, second = rows(table)
    assert first == {
        "id": 5, "price": 1.5, "day": datetime.date(2024, 2, 29),
        "moment": datetime.datetime(2024, 2, 29, 13, 1, 2), "clock": datetime.time(13, 1, 2),
        "ok": True, "code": "007", "sum": 10, "span": datetime.timedelta(days=1, hours=6),
        "none": None, "2024": None,
    }  # fmt: skip
    assert (second["id"], second["price"], second["2024"]) == (2**53, 2.0, "x")
    assert second["moment"] == datetime.datetime(2024, 3, 1)


def test_numbers_among_words_are_words_and_merged_cells_hold_their_value_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["size", "town", ""])  # a column without a name and values is none
        sheet.write_column(1, 0, [5, "large", 2.5])
        sheet.merge_range(1, 1, 3, 1, "Bern")
    assert rows(read(path, tmp_path)) == [
        {"size": "5", "town": "Bern"}, {"size": "large", "town": None},
        {"size": "2.5", "town": None},
    ]  # fmt: skip


def test_sheets_are_listed_and_hidden_ones_read_only_when_named(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        for name in ("Orders", "Old #1"):
            book.add_worksheet(name).write_column(0, 0, ["a", 1, 2])
        hidden = book.add_worksheet("Lists")
        hidden.write_column(0, 0, ["b", "x"])
        hidden.hide()
        book.add_worksheet("Empty")
        book.add_chartsheet("Chart")
    with pytest.raises(BadInput, match="the file has 2 sheets") as caught:
        read(path, tmp_path)
    assert "book.xlsx#Orders" in caught.value.todo
    listed = "'Orders' (2 rows), 'Old #1' (2 rows), 'Lists' (hidden, 1 row), 'Empty' (0 rows)."
    assert caught.value.todo.endswith(listed)
    assert rows(read(f"{path}#Old #1", tmp_path)) == [{"a": 1}, {"a": 2}]
    assert rows(read(f"{path}#Lists", tmp_path)) == [{"b": "x"}]
    with pytest.raises(BadInput, match="the sheet is empty"):
        read(f"{path}#Empty", tmp_path)


def test_one_sheet_with_rows_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        book.add_worksheet("Orders").write_column(0, 0, ["a", 1])
        book.add_worksheet("Empty")
    assert rows(read(path, tmp_path)) == [{"a": 1}]


@pytest.mark.parametrize(
    ("cells", "what", "where"),
    [
        ({"A1": "a", "B2": 5}, "the column has values, in B2 first, and no name", "Data!B1"),
        ({"A1": "a", "B1": "a", "A2": 1}, "this column and that of A1 are both named 'a'",
         "Data!B1"),
        ({"A1": "a", "A3": ("=1/0", "#DIV/0!"), "A4": ("=NA()", "#N/A")},
         "the cell holds an error, #DIV/0! (and 1 more)", "Data!A3"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_cell(
    tmp_path: Path, cells: dict[str, Any], what: str, where: str
) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet("Data")
        for cell, value in cells.items():
            if isinstance(value, tuple):
                sheet.write_formula(cell, value[0], None, value[1])
            else:
                sheet.write(cell, value)
    with pytest.raises(BadInput) as caught:
        read(path, tmp_path)
    assert caught.value.what == what
    assert caught.value.where == f"{path}, cell {where}"
    assert not (tmp_path / "inputs" / "t").exists()


@pytest.mark.parametrize("without", [b"", b"<v></v>", b"<v/>"])
def test_a_formula_that_was_never_worked_out_is_no_empty_cell(
    tmp_path: Path, without: bytes
) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet("Data")
        sheet.write_column(0, 0, ["a", 1])
        sheet.write_formula("A3", "=A2*2")
    raw = tmp_path / "raw.xlsx"  # as other libraries write it
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(raw, "w") as new:
        for name in old.namelist():
            new.writestr(
                name, old.read(name).replace(b"<f>A2*2</f><v>0</v>", b"<f>A2*2</f>" + without)
            )
    with pytest.raises(BadInput, match="was never worked out") as caught:
        read(raw, tmp_path)
    assert caught.value.where == f"{raw}, cell Data!A3"
    assert rows(read(path, tmp_path)) == [{"a": 1}, {"a": 0}]


def test_old_excel_files_and_opendocument_files(tmp_path: Path) -> None:
    old = xlwt.Workbook()
    sheet = old.add_sheet("One")
    for number, value in enumerate(["a", 1, 2.5]):
        sheet.write(number, 0, value)
    old.save(str(tmp_path / "old.xls"))
    assert rows(read(tmp_path / "old.xls", tmp_path)) == [{"a": 1.0}, {"a": 2.5}]
    cells = "".join(
        f"<table:table-row><table:table-cell {about}/></table:table-row>"
        for about in (
            'office:value-type="string" office:string-value="day"',
            'office:value-type="date" office:date-value="2024-02-29"',
        )
    )
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    with zipfile.ZipFile(tmp_path / "open.ods", "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr(
            "content.xml",
            f"<office:document-content {spaces}><office:body><office:spreadsheet>"
            f'<table:table table:name="One">{cells}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
        file.writestr("META-INF/manifest.xml", "<manifest/>")
    assert rows(read(tmp_path / "open.ods", tmp_path)) == [{"day": datetime.date(2024, 2, 29)}]


def test_files_that_are_no_spreadsheets_and_one_that_is_a_bomb(tmp_path: Path) -> None:
    none = tmp_path / "none.xlsx"
    none.write_text("id,name\n")
    with pytest.raises(BadInput, match="the file cannot be read"):
        read(none, tmp_path)
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        book.add_worksheet("Data").write_column(0, 0, ["a", 1])
    bomb = tmp_path / "bomb.xlsx"
    cell = b'<c r="A2" t="inlineStr"><is><t>'
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for name in old.namelist():
            if name != "xl/worksheets/sheet1.xml":
                new.writestr(name, old.read(name))
        with new.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as file:
            file.write(
                b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
                b'<sheetData><row r="1">' + cell
            )
            for _ in range(20):
                file.write(b" " * (32 << 20))  # one text of 640 MiB
            file.write(b"</t></is></c></row></sheetData></worksheet>")
    assert bomb.stat().st_size < 10 << 20
    with pytest.raises(BadInput) as caught:
        foreign_table("t", "spreadsheet", bomb, "", tmp_path / "t", memory_bytes=300 << 20)
    assert "breaks what reads it" in caught.value.what or "of memory" in caught.value.what


def test_without_the_extra_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "book.xlsx"
    path.write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Misuse, match=r"python-calamine is needed") as caught:
        read(path, tmp_path)
    assert "apwa[excel]" in caught.value.todo


_DAYS = st.dates(datetime.date(1901, 1, 1), datetime.date(2200, 1, 1))
_WORDS = st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=20)
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)


@settings(max_examples=5)
@given(
    st.lists(
        st.tuples(
            st.integers(-(10**15), 10**15), _NUMBERS.map(lambda f: float(f"{f:.15g}")), _WORDS,
            _DAYS, st.booleans(),
        ),
        min_size=20, max_size=200,
    )
)  # fmt: skip
def test_values_come_through_unaltered(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("values")
    path = folder / "v.xlsx"
    with xlsxwriter.Workbook(str(path), {"strings_to_formulas": False}) as book:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, ["i", "f", "s", "d", "b"])
        for number, (i, f, s, d, b) in enumerate(values, 1):
            sheet.write_number(number, 0, i)
            sheet.write_number(number, 1, f)
            sheet.write_string(number, 2, s)
            sheet.write_datetime(number, 3, d, day)
            sheet.write_boolean(number, 4, b)
    table = read(path, folder)
    assert [tuple(row.values()) for row in rows(table)] == values
    assert table.schema.types[0] == pa.int64()
