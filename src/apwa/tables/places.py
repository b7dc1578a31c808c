"""Opens text sources, plain or gzipped, and finds the place of what is wrong in them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from apwa.vocabulary import BadInput

_BOM = b"\xef\xbb\xbf"


def open_binary(path: Path) -> BinaryIO:
    """The file's bytes, unpacked if its name ends in ``.gz``."""
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def open_text(path: Path) -> io.TextIOWrapper:
    """The file as UTF-8 text with its line ends kept; a byte order mark is left out."""
    return io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", newline="")


def at(path: Path, line: int = 0, column: int = 0) -> str:
    """A place as people read it; lines and columns count from 1."""
    words = [str(path)]
    if line:
        words.append(f"line {line:,}")
    if column:
        words.append(f"column {column:,}")
    return ", ".join(words)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without its byte order mark) of a file."""
    with open_binary(path) as file:
        for number, line in enumerate(file, 1):
            yield number, line.removeprefix(_BOM) if number == 1 else line


def bad_utf8(path: Path) -> BadInput:
    """The error for a file that does not decode, with the place of its first bad byte."""
    for number, line in lines_of(path):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            column = len(line[: error.start].decode("utf-8")) + 1
            todo = "Save the file as UTF-8."
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                todo = "It looks like UTF-16: save the file as UTF-8."
            return BadInput(f"byte 0x{byte:02x} is no UTF-8", at(path, number, column), todo)
    return BadInput("the file is no UTF-8", at(path), "Save the file as UTF-8.")


@contextmanager
def faults(path: Path) -> Generator[None]:
    """Turns what the system, gzip or the decoder raises within into BadInput."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise bad_utf8(path) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BadInput(f"the file cannot be read: {reason}", at(path)) from error
