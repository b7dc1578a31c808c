"""Spreadsheets: a sheet's first row that holds anything names the columns, each later one is a row.

Spreadsheets have numbers, not whole numbers: a column whose numbers are all whole becomes one of
whole numbers. Empty cells are null, wholly empty rows are passed over, and of merged cells the
first holds the value.
"""

from __future__ import annotations

import datetime
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from apwa.tables.foreign.parts import Part
from apwa.tables.foreign.xlsx_cells import cell_faults, cell_name
from apwa.tables.value_kinds import ValueKinds
from apwa.vocabulary import BadInput

_BATCH_ROWS = 4096
_WHOLE = float(1 << 53)


class Spreadsheet:
    """One open file."""

    word = "sheet"

    def __init__(self, path: Path, book: Any) -> None:
        self._path = path
        self._book = book

    def parts(self) -> list[Part]:
        """All sheets with their rows; those that are hidden or empty are read only when named."""
        from python_calamine import SheetTypeEnum, SheetVisibleEnum

        found: list[Part] = []
        for about in self._book.sheets_metadata:
            if about.typ != SheetTypeEnum.WorkSheet:
                continue
            hidden = about.visible != SheetVisibleEnum.Visible
            rows = max(0, sum(1 for _ in self._rows(about.name)) - 1)
            about_it = "hidden" if hidden else ""
            found.append(Part(about.name, rows, hidden or rows == 0, about_it))
        return found

    def read(self, part: Part) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Read twice from memory: once for the types, once for the rows."""
        faults = cell_faults(self._path, part.name)
        if faults.errors:
            raise BadInput(
                f"the cell holds an error, {faults.errors.value}" + _and_more(faults.errors.count),
                f"{self._path}, cell {part.name}!{faults.errors.cell}",
                "Mend its formula, or clear it.",
            )
        if faults.unknown:
            raise BadInput(
                "the cell's formula was never worked out" + _and_more(faults.unknown.count),
                f"{self._path}, cell {part.name}!{faults.unknown.cell}",
                "Open the file in a spreadsheet program and save it.",
            )
        names, places = self._header(part.name)
        kinds = ValueKinds(dict.fromkeys(names, pa.string()))
        for columns in self._columns(part.name, places):
            for name, column in zip(names, columns, strict=True):
                kinds.look_at(name, column)
        batches = (kinds.of_columns(columns) for columns in self._columns(part.name, places))
        return kinds.schema(), batches

    def _header(self, sheet: str) -> tuple[list[str], list[int]]:
        """Names of the columns, and where each stands in a row."""
        rows = self._rows(sheet)
        head_at, head = next(rows, (0, []))
        used: dict[int, int] = {}  # column -> first row with a value
        for number, row in rows:
            for place, value in enumerate(row):
                if value is not None:
                    used.setdefault(place, number)
        names: dict[str, int] = {}
        for place in range(max([len(head), *(place + 1 for place in used)])):
            name = _as_name(head[place]) if place < len(head) else ""
            if not name and place not in used:
                continue
            where = f"{self._path}, cell {sheet}!{cell_name(head_at, place)}"
            if not name:
                raise BadInput(
                    f"the column has values, in {cell_name(used[place], place)} first, and no name",
                    where,
                    "Row 1 of the table must name each column, in cells that are not merged.",
                )
            if name in names:
                other = cell_name(head_at, names[name])
                raise BadInput(
                    f"this column and that of {other} are both named {name!r}",
                    where,
                    "Rename one of them.",
                )
            names[name] = place
        if not names:
            raise BadInput("the sheet is empty", f"{self._path}, sheet {sheet}")
        return list(names), list(names.values())

    def _columns(self, sheet: str, places: Sequence[int]) -> Iterator[list[list[Any]]]:
        rows = self._rows(sheet)
        next(rows, None)
        some: list[list[Any]] = []
        for _, row in rows:
            some.append([row[place] for place in places])
            if len(some) >= _BATCH_ROWS:
                yield [list(column) for column in zip(*some, strict=True)]
                some = []
        if some:
            yield [list(column) for column in zip(*some, strict=True)]

    def _rows(self, sheet: str) -> Iterator[tuple[int, list[Any]]]:
        """(number from 0, values from column A on) of each row that is not empty."""
        opened = self._book.get_sheet_by_name(sheet)
        first_row, first_column = opened.start or (0, 0)
        before = [None] * first_column
        for number, row in enumerate(opened.iter_rows(), first_row):
            values = [_value(cell) for cell in row]
            if any(value is not None for value in values):
                yield number, before + values


def _value(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell or None
    if isinstance(cell, float) and cell.is_integer() and -_WHOLE <= cell <= _WHOLE:
        return int(cell)
    return cell


def _as_name(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    return str(cell)


def _and_more(count: int) -> str:
    return f" (and {count - 1:,} more)" if count > 1 else ""


@contextmanager
def spreadsheet(path: Path) -> Generator[Spreadsheet]:
    """Open a file. Raises BadInput for what is none or is locked."""
    import python_calamine as calamine

    try:
        yield Spreadsheet(path, calamine.CalamineWorkbook.from_path(str(path)))
    except calamine.PasswordError as error:
        raise BadInput(
            "the file is locked with a password", str(path), "Save it without."
        ) from error
    except (calamine.CalamineError, OSError, ValueError) as error:
        words = str(error).partition("\n")[0][:200]
        raise BadInput(f"the file cannot be read: {words}", str(path)) from error
