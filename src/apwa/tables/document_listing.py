"""Lists documents as a table: a row a file, or a page or record of it. Contents come later.

The listing is the snapshot: names, kinds, sizes, times of change, and where each part begins. It
fixes the rows; what their files hold is read on the way (see ``extraction``) and kept once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from apwa.documents import BLOCK, Asked, Counted, Kind, Readers, Split, check_installed, kind_of
from apwa.tables.content import FIELDS, FILE, IMAGES_COLUMN, TEXT_COLUMN
from apwa.tables.table import Table, write_table

_AHEAD = 16  # files being counted, for each reader
_BATCH_ROWS = 5000
_PART = {"pages": "page", "records": "record"}

HIDDEN = [
    pa.field("_path", pa.binary()),
    pa.field("_changed", pa.int64()),
    pa.field("_offset", pa.int64()),
    pa.field("_broken", pa.string()),
]
"""Columns of the listing's files that only the extraction reads."""


@dataclass(slots=True)
class Listed:
    """A file as it was found. ``parts`` 0: it is one row by itself."""

    name: str
    path: Path
    kind: Kind
    size: int | None = None
    changed: int | None = None
    parts: int = 0
    offsets: list[int] = field(default_factory=list[int])
    broken: str | None = None


def list_documents(
    name: str, base: Path, files: Sequence[Path], into: Path, content: Path, split: Split = ""
) -> Table:
    """Write the listing of files, in their order; their contents will be kept in ``content``.

    Raises Misuse where a reader is not installed.
    """
    kinds = {kind for path in files if (kind := kind_of(path.name, data=True)) is not None}
    check_installed(kinds, str(base))
    listed = (_look(path, base) for path in files)
    columns = [pa.field(FILE, pa.string()), pa.field("type", pa.string())]
    columns.append(pa.field("size", pa.int64()))
    key = [FILE]
    if split:
        columns.append(pa.field(_PART[split], pa.int64()))
        key.append(_PART[split])
    stored = pa.schema([*columns, *HIDDEN])
    rows = _rows(_counted(listed, split) if split else listed, split)
    table = write_table(name, _batches(rows, stored), stored, into, key=key)
    shown = [*columns, FIELDS[TEXT_COLUMN]]
    if any(kind.pictures for kind in kinds):
        shown.append(FIELDS[IMAGES_COLUMN])
    return Table(
        table.name, pa.schema(shown), table.rows, table.key, table.files, table.format,
        fingerprint=table.fingerprint, content=content,
    )  # fmt: skip


def _look(path: Path, base: Path) -> Listed:
    kind = kind_of(path.name, data=True)
    assert kind is not None
    plain = path.relative_to(base).as_posix()
    one = Listed(plain.encode("utf-8", "backslashreplace").decode(), path.absolute(), kind)
    try:
        about = path.stat()
        one.size, one.changed = about.st_size, about.st_mtime_ns
    except OSError as error:
        one.broken = f"the file cannot be read: {error.strerror}"
    return one


def _counted(listed: Iterable[Listed], split: Split) -> Iterator[Listed]:
    """The files in order, those that have parts with their number, counted side by side."""
    readers = Readers()
    threads = ThreadPoolExecutor(readers.count, "count parts")
    waiting: list[tuple[Listed, Future[None] | None]] = []
    try:
        for one in listed:
            wanted = one.kind.splits(split) and one.broken is None
            begun = threads.submit(_count, readers, one, split) if wanted else None
            waiting.append((one, begun))
            if len(waiting) >= _AHEAD * readers.count:
                yield _ready(*waiting.pop(0))
        while waiting:
            yield _ready(*waiting.pop(0))
    finally:
        readers.close()
        threads.shutdown(cancel_futures=True)


def _ready(one: Listed, counted: Future[None] | None) -> Listed:
    if counted is not None:
        counted.result()
    return one


def _count(readers: Readers, one: Listed, split: Split) -> None:
    def take(said: object) -> None:
        if isinstance(said, Counted):
            one.parts, one.offsets = said.parts, said.offsets

    reason = readers.read(
        Asked(
            os.fsencode(one.path), one.kind.type, one.kind.reader, split, count=True,
            size=one.size or 0, changed=one.changed or 0,
        ),
        take,
    )  # fmt: skip
    if reason:
        one.broken = reason
    elif not one.parts:
        one.broken = f"the file holds no {split}"


def _rows(listed: Iterable[Listed], split: Split) -> Iterator[tuple[object, ...]]:
    for one in listed:
        head = (one.name, one.kind.type, one.size)
        path = os.fsencode(one.path)
        for number in range(1, max(one.parts, 1) + 1):
            offset = one.offsets[(number - 1) // BLOCK] if one.offsets else None
            shown = (*head, number) if split else head
            yield (*shown, path, one.changed, offset if one.parts else None, one.broken)


def _batches(rows: Iterator[tuple[object, ...]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    some: list[tuple[object, ...]] = []
    for row in rows:
        some.append(row)
        if len(some) == _BATCH_ROWS:
            yield _batch(some, schema)
            some = []
    if some:
        yield _batch(some, schema)


def _batch(rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(list(c), f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
