"""Folders and globs of text files as a table: one row a file, read one after another.

A file that cannot be read, or is no UTF-8, stands in its row with the reason in ``_unreadable``,
so that it is that row's quarantine and stops no job.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from apwa.tables.content import FIELDS, FILE, TEXT_COLUMN, UNREADABLE

_FILE_BYTES = 100 << 20
_BATCH_BYTES = 8 << 20
_BATCH_FILES = 1000

WITH_REASONS = pa.schema(
    [
        pa.field(FILE, pa.string()),
        pa.field("size", pa.int64()),
        FIELDS[TEXT_COLUMN],
        FIELDS[UNREADABLE],
    ]
)


class Listing:
    """Text files below a folder, in the order of their paths.

    Attributes:
        broken: How many of the files seen so far could not be read.
    """

    def __init__(self, base: Path, files: list[Path]) -> None:
        named = {path.relative_to(base).as_posix(): path for path in files}
        self._files = sorted(named.items())
        self.broken = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """One row a file."""
        rows: list[dict[str, object]] = []
        size = 0
        for name, path in self._files:
            row = _row(name, path)
            self.broken += row[UNREADABLE] is not None
            rows.append(row)
            size += len(str(row["text"]))
            if size >= _BATCH_BYTES or len(rows) >= _BATCH_FILES:
                yield pa.RecordBatch.from_pylist(rows, schema=WITH_REASONS)
                rows, size = [], 0
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=WITH_REASONS)

    def schema(self) -> pa.Schema:
        """The columns to show, once all batches have gone by: reasons only if there are some."""
        return WITH_REASONS if self.broken else WITH_REASONS.remove(3)


def _row(name: str, path: Path) -> dict[str, object]:
    row: dict[str, object] = {FILE: _shown(name), "size": None, "text": None, UNREADABLE: None}
    try:
        row["size"] = size = path.stat().st_size
        if size > _FILE_BYTES:
            row[UNREADABLE] = f"the file is too large: {size:,} bytes, at most {_FILE_BYTES:,}"
        else:
            row["text"] = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        line = error.object.count(b"\n", 0, error.start) + 1
        row[UNREADABLE] = f"the file is no UTF-8: byte 0x{byte:02x} in line {line:,}"
    except OSError as error:
        row[UNREADABLE] = f"the file cannot be read: {error.strerror}"
    return row


def _shown(name: str) -> str:
    """A path as text; bytes of it that are no UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
