"""Large cells by reference: where a cell stands in its file, and reading it from there.

A host that sees the file reads the cell itself, so that it need not travel with its subtask.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from apwa.tables.content import is_content
from apwa.tables.table import Table, is_text
from apwa.vocabulary import Cell, Values

LARGE_CHARS = 64 << 10
"""A text from this length on travels by reference."""

_MOST_GROUP_BYTES = 64 << 20  # of a column in a row group: whoever wants a cell reads all of it
_KEPT = 2  # columns of row groups: leases come in order


class CellPlaces:
    """Where the cells of a table's columns stand.

    Args:
        table: Its files; cells of other files than Parquet stand nowhere.
        columns: The columns, in the order of a subtask's values.
    """

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._text = {
            n
            for n, name in enumerate(columns)
            if is_text(table.schema.field(name).type) and not _is_elsewhere(table, name)
        }
        self._starts: list[int] = []  # first ordinal of each row group
        self._groups: list[tuple[str, int, set[str]]] = []  # file, number, columns too large
        first = 0
        for path in table.files if table.format == "parquet" else ():
            about = pq.read_metadata(path)
            for number in range(about.num_row_groups):
                group = about.row_group(number)
                chunks = [group.column(n) for n in range(group.num_columns)]
                large = {
                    chunk.path_in_schema
                    for chunk in chunks
                    if chunk.total_uncompressed_size > _MOST_GROUP_BYTES
                }
                self._starts.append(first)
                self._groups.append((str(path.absolute()), number, large))
                first += group.num_rows

    def without_large(self, ordinal: int, values: Values) -> tuple[Values, list[Cell]]:
        """A row's values with null in place of large cells, and where these stand."""
        cells: list[Cell] = []
        for n in self._text:
            value = values[n]
            if value is None or len(value) < LARGE_CHARS or not self._groups:
                continue
            at = bisect_right(self._starts, ordinal) - 1
            file, number, large = self._groups[at]
            column = self._columns[n]
            if column not in large:
                cells.append(Cell(n, file, number, ordinal - self._starts[at], column, len(value)))
        if not cells:
            return values, cells
        gone = {cell.position for cell in cells}
        return [None if n in gone else value for n, value in enumerate(values)], cells


class CellReader:
    """Reads cells where they stand, and keeps the columns that it read last. Threads take turns."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, str], pa.ChunkedArray] = OrderedDict()

    def filled(self, values: Values, cells: Sequence[Cell]) -> Values:
        """The values with the cells in their places.

        Raises OSError, or what pyarrow raises, where one cannot be read or is another by now.
        """
        values = list(values)
        for cell in cells:
            with self._turn:
                column = self._column(cell)
            text = column[cell.row].as_py() if cell.row < len(column) else None
            if not isinstance(text, str) or len(text) != cell.size:
                raise OSError(f"{cell.file} has changed since it became a table")
            values[cell.position] = text
        return values

    def _column(self, cell: Cell) -> pa.ChunkedArray:
        key = (cell.file, cell.group, cell.column)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        with pq.ParquetFile(cell.file, memory_map=True) as file:
            read = file.read_row_group(cell.group, [cell.column], use_threads=False)
        self._kept[key] = read.column(cell.column)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def _is_elsewhere(table: Table, column: str) -> bool:
    """Whether a column's cells are contents of files, which stand beside the table."""
    return table.content is not None and is_content(table.schema.field(column))
