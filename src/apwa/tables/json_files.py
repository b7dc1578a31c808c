"""JSON and JSON lines as batches of typed columns; every fault is named with line and column.

Rows are read twice: once to find each column's type over all rows, once to write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from apwa.tables.places import at, bad_utf8, faults, lines_of, open_text
from apwa.tables.value_kinds import ValueKinds
from apwa.vocabulary import BadInput

_BATCH_ROWS = 8192
_BATCH_CHARS = 8 << 20
_BLOCK_CHARS = 1 << 20
_Row = dict[str, Any]


def json_kinds(paths: list[Path]) -> ValueKinds:
    """The columns of all rows, and their types. Raises BadInput at the first fault."""
    kinds = ValueKinds()
    for path in paths:
        for rows in _batches(path):
            kinds.look(rows)
    return kinds


def json_batches(path: Path, kinds: ValueKinds) -> Iterator[pa.RecordBatch]:
    """All rows in the types found for them."""
    for rows in _batches(path):
        yield kinds.batch(rows)


def _batches(path: Path) -> Iterator[list[_Row]]:
    with faults(path):
        rows: list[_Row] = []
        chars = 0
        found = _lines(path) if _is_lines(path) else _items(path)
        for row, size in found:
            rows.append(row)
            chars += size
            if chars >= _BATCH_CHARS or len(rows) >= _BATCH_ROWS:
                yield rows
                rows, chars = [], 0
        if rows:
            yield rows


def _is_lines(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".jsonl", ".ndjson"))


def _lines(path: Path) -> Iterator[tuple[_Row, int]]:
    decoder = msgspec.json.Decoder()
    for number, line in lines_of(path):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise _broken(path, number, line, error) from error
        except UnicodeDecodeError:
            raise bad_utf8(path) from None
        yield _checked(row, at(path, number)), len(line)


def _broken(path: Path, number: int, line: bytes, error: Exception) -> BadInput:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return bad_utf8(path)
    try:
        json.loads(text.rstrip(), parse_constant=_no_constant)
    except json.JSONDecodeError as known:
        return _syntax(path, number, known.colno, known.msg)
    except (ValueError, RecursionError) as known:
        return _syntax(path, number, 1, str(known))
    return _syntax(path, number, 1, str(error))


def _syntax(path: Path, line: int, column: int, reason: str) -> BadInput:
    return BadInput(f"broken JSON: {reason}", at(path, line, column), "Mend this place.")


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _checked(row: object, where: str) -> _Row:
    if isinstance(row, dict):
        return row
    raise BadInput(
        f"a row must be an object, and this is {_NAMES.get(type(row), 'none')}",
        where,
        'Write each row as {"column": value, …}.',
    )


_NAMES: dict[type, str] = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    list: "an array",
    type(None): "null",
}


class _Window:
    """A text file seen through a window that slides on, and knows its line and column."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_text(path)
        self.text = ""
        self.position = 0
        self.ended = False
        self._line = 1
        self._column = 1

    def close(self) -> None:
        self._file.close()

    def more(self) -> None:
        """Read on; what lies before the position is let go."""
        self._line, self._column = self.place(self.position)
        # twice as much each time, so that an item of any size is tried again only a few times
        block = self._file.read(max(_BLOCK_CHARS, len(self.text) - self.position))
        self.text, self.position = self.text[self.position :] + block, 0
        self.ended = not block

    def place(self, position: int) -> tuple[int, int]:
        passed = self.text[:position]
        lines = passed.count("\n")
        if lines:
            return self._line + lines, len(passed) - passed.rindex("\n")
        return self._line, self._column + len(passed)

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in " \t\r\n":
                self.position += 1
            if self.position < len(self.text) or self.ended:
                return self.text[self.position : self.position + 1]
            self.more()

    def fault(self, reason: str) -> BadInput:
        return _syntax(self.path, *self.place(self.position), reason)


def _items(path: Path) -> Iterator[tuple[_Row, int]]:
    """The objects of one JSON array, without holding the array."""
    window = _Window(path)
    try:
        first = window.peek()
        if first == "":
            raise BadInput("the file is empty", at(path), "Give an array of objects.")
        if first != "[":
            raise BadInput(
                "the file must be an array of objects",
                at(path, *window.place(window.position)),
                "Write [{…}, {…}], or one object a line in a .jsonl file.",
            )
        window.position += 1
        if window.peek() == "]":
            window.position += 1
        else:
            while True:
                yield _item(window)
                mark = window.peek()
                window.position += 1
                if mark == "]":
                    break
                if mark != ",":
                    window.position -= 1
                    raise window.fault("a comma or the array's end is expected")
        if window.peek():
            raise window.fault("something follows the array's end")
    finally:
        window.close()


def _item(window: _Window) -> tuple[_Row, int]:
    window.peek()
    while True:
        try:
            value, end = _SCANNER.raw_decode(window.text, window.position)
            if end < len(window.text) or window.ended:
                break
        except json.JSONDecodeError as error:
            # more text mends what is cut off, and nothing that is broken well before the end
            cut = error.pos > len(window.text) - _BLOCK_CHARS or "Unterminated" in error.msg
            if window.ended or not cut:
                line, column = window.place(error.pos)
                raise _syntax(window.path, line, column, error.msg) from error
        except (ValueError, RecursionError) as error:
            raise window.fault(str(error)) from error
        window.more()
    row = _checked(value, at(window.path, *window.place(window.position)))
    text = window.text[window.position : end]
    try:  # the same rules as for JSON lines, for instance on halves of surrogate pairs
        row = msgspec.json.decode(text.encode("utf-8"))
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise window.fault(str(error)) from error
    window.position = end
    return row, len(text)


_SCANNER = json.JSONDecoder(parse_constant=_no_constant)
