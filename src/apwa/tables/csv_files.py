"""CSV and TSV as batches of text columns; every fault is named with its line and column.

Python's own csv reader in strict mode does the parsing. It says what is wrong but hardly where,
so that a faulty record is looked at a second time, character by character.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from apwa.tables.places import at, faults, open_text
from apwa.vocabulary import BadInput

_CELL_CHARS = 256 << 20
_BATCH_CHARS = 8 << 20
_BATCH_ROWS = 16_384
_LINE_END = re.compile(r"\r\n|\r|\n")


def delimiter_of(path: Path) -> str:
    """A tab for TSV; for CSV a comma, or a semicolon where the header has only those."""
    if ".tsv" in path.name.lower():
        return "\t"
    try:
        with open_text(path) as file:
            header = file.readline(1 << 20)
    except (UnicodeDecodeError, OSError, EOFError, zlib.error):
        return ","  # said with its place when the file is read
    return ";" if ";" in header and "," not in header else ","


def csv_header(path: Path) -> list[str]:
    """The column names. Raises BadInput for an empty file, an empty or a repeated name."""
    with faults(path), open_text(path) as file:
        header = next(_records(path, file, delimiter_of(path)), None)
    if header is None:
        raise BadInput("the file is empty", at(path), "Give a file with a header line.")
    first: dict[str, int] = {}
    for number, name in enumerate(header[1], 1):
        if name == "":
            raise BadInput(
                f"column {number} has no name", at(path, 1), "Give it a name in the header line."
            )
        if name in first:
            raise BadInput(
                f"columns {first[name]} and {number} are both named {name!r}",
                at(path, 1),
                "Rename one of them in the header line.",
            )
        first[name] = number
    return header[1]


def csv_batches(path: Path, header: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows after the header, every cell as text. Raises BadInput at the first fault."""
    schema = pa.schema([pa.field(name, pa.string()) for name in header])
    width = len(header)
    with faults(path), open_text(path) as file:
        records = _records(path, file, delimiter_of(path))
        next(records)
        rows: list[list[str]] = []
        chars = 0
        for line, row in records:
            if len(row) != width:
                raise BadInput(
                    f"{len(row):,} fields where the header has {width:,}",
                    at(path, line),
                    "Mend the line: a field too few or too many, or a quote that is missing.",
                )
            rows.append(row)
            chars += sum(map(len, row))
            if chars >= _BATCH_CHARS or len(rows) >= _BATCH_ROWS:
                yield _batch(rows, schema)
                rows, chars = [], 0
        if rows:
            yield _batch(rows, schema)


def _batch(rows: list[list[str]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _records(path: Path, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line where it begins, fields) of each record; blank lines are passed over."""
    csv.field_size_limit(_CELL_CHARS)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise _fault(path, line, delimiter, error) from error


def _fault(path: Path, begin: int, delimiter: str, error: csv.Error) -> BadInput:
    line, column, opened = _quote_place(path, begin, delimiter)
    if opened or "limit" in str(error):
        return BadInput(
            "a quote is opened here and never closed",
            at(path, line, column),
            "Close it, or double it if it belongs to the text.",
        )
    return BadInput(
        "text follows a closing quote",
        at(path, line, column),
        'Within a quoted field write each quote twice: "".',
    )


def _quote_place(path: Path, begin: int, delimiter: str) -> tuple[int, int, bool]:
    """Where a record that begins at a line breaks the rules of quoting.

    Returns: line, column, and whether it is a quote that is never closed.
    """
    inside = False
    opened = (begin, 1)
    with open_text(path) as file:
        for number, text in enumerate(islice(file, begin - 1, None), begin):
            position, fresh = 0, not inside
            while position < len(text):
                char = text[position]
                if inside:
                    end = text.find('"', position)
                    if end < 0:
                        break
                    if text[end + 1 : end + 2] == '"':
                        position = end + 2
                        continue
                    inside = False
                    position = end + 1
                    after = text[position : position + 1]
                    if after and after != delimiter and not _LINE_END.match(after):
                        return number, position + 1, False
                    continue
                if fresh and char == '"':
                    inside, opened = True, (number, position + 1)
                fresh = char == delimiter
                position += 1
    return opened[0], opened[1], True
