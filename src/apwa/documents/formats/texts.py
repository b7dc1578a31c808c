"""Plain text, whole or by lines; rows of CSV files and of JSON lines."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from apwa.documents.formats import Unreadable, onward
from apwa.documents.messages import BLOCK, MOST_TEXT, Asked, Counted, Item

_BOM = b"\xef\xbb\xbf"


def read(asked: Asked) -> Iterator[Item]:
    if asked.parts and asked.reader == "rows":
        yield from onward.block(asked, lambda: _rows(_path(asked), asked.type))
        return
    with _path(asked).open("rb") as file:
        if not asked.parts:
            yield Item(1, whole_text(file))
            return
        file.seek(asked.offset)
        lines = islice(_lines(file, asked.offset), asked.parts)
        for number, (_, line) in enumerate(lines, asked.first):
            yield _decoded(number, line)


def count(asked: Asked) -> Counted:
    if asked.reader == "rows":
        return Counted(sum(1 for _ in _rows(_path(asked), asked.type)))
    offsets: list[int] = []
    parts = 0
    with _path(asked).open("rb") as file:
        for offset, _ in _lines(file, 0):
            if parts % BLOCK == 0:
                offsets.append(offset)
            parts += 1
    return Counted(parts, offsets)


def whole_text(file: BinaryIO) -> str:
    data = file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise Unreadable(f"the file is too large: at most {MOST_TEXT:,} bytes of text make a row")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise Unreadable(f"the file is no UTF-8: byte 0x{byte:02x} in line {line:,}") from error


def _lines(file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes]]:
    """(where it begins, line) of each line that is not blank."""
    while line := file.readline(MOST_TEXT + 1):
        if len(line) > MOST_TEXT:
            raise Unreadable(f"a line is longer than {MOST_TEXT:,} bytes")
        bare = line.removeprefix(_BOM) if offset == 0 else line
        if bare.strip():
            yield offset, bare.rstrip(b"\r\n")
        offset += len(line)


def _decoded(number: int, line: bytes) -> Item:
    try:
        return Item(number, line.decode("utf-8"))
    except UnicodeDecodeError as error:
        byte = line[error.start]
        return Item(number, reason=f"the line is no UTF-8: byte 0x{byte:02x} in it")


def _rows(path: Path, type_: str) -> Iterator[str]:
    """Rows below the header, each as a JSON object of its cells."""
    csv.field_size_limit(MOST_TEXT)
    with path.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, delimiter="\t" if type_ == "tsv" else ",", strict=True)
        try:
            header = next(rows, [])
            for row in rows:
                if row:
                    yield row_text(header, row)
        except csv.Error as error:
            raise Unreadable(f"line {rows.line_num:,} is no CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise Unreadable("the file is no UTF-8") from error


def row_text(header: Sequence[str], row: Sequence[str]) -> str:
    """A row as a JSON object, each cell under a name of its own.

    An empty cell stands under a name of the header only.
    """
    names = _names(tuple(header), max(len(header), len(row)))
    named = len(header)
    cells = {
        name: cell
        for at, (name, cell) in enumerate(zip(names, row, strict=False))
        if cell or (at < named and header[at].strip())
    }
    return msgspec.json.encode(cells).decode()


@lru_cache(maxsize=4)
def _names(header: tuple[str, ...], width: int) -> list[str]:
    """A name for each column: the header's, else one by its place; none stands twice."""
    given = set(header)
    names: dict[str, None] = {}
    times: Counter[str] = Counter()
    for number in range(1, width + 1):
        said = header[number - 1] if number <= len(header) else ""
        base = name = said if said.strip() else f"column {number}"
        while name in names or (name != said and name in given):
            times[base] += 1
            name = f"{base} {times[base] + 1}"
        names[name] = None
    return list(names)


def _path(asked: Asked) -> Path:
    return Path(asked.path.decode("utf-8", "surrogateescape"))
