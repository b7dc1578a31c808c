"""Parquet and Arrow files as tables where they lie: opened, checked, never copied."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from apwa.tables.table import Table
from apwa.vocabulary import BadInput

_END_BYTES = 64 << 10
_Look = Callable[[Path], tuple[pa.Schema, int]]


def parquet_table(name: str, files: Sequence[Path]) -> Table:
    """A table over Parquet files with the same columns."""
    return _table(name, files, "parquet", _look_parquet)


def arrow_table(name: str, files: Sequence[Path]) -> Table:
    """A table over Arrow IPC files with the same columns."""
    return _table(name, files, "arrow", _look_arrow)


def _table(name: str, files: Sequence[Path], kind: str, look: _Look) -> Table:
    schema: pa.Schema | None = None
    rows = 0
    digest = hashlib.blake2b(digest_size=16)
    absolute = [path.absolute() for path in files]
    for path in absolute:
        try:
            found, count = look(path)
            digest.update(_mark(path))
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0][:200] if str(error) else "it is empty"
            raise BadInput(f"this is no {kind} file: {reason}", str(path)) from error
        _check_names(path, found)
        if schema is None:
            schema = found
        elif not schema.equals(found):
            raise BadInput(
                f"the columns are not those of {files[0]}",
                str(path),
                "Files that make one table must have the same columns, types and order.",
            )
        rows += count
    assert schema is not None
    # metadata of other tools (pandas above all) may be large and says nothing to us
    return Table(
        name, schema.remove_metadata(), rows, (), tuple(absolute), kind, frozenset(), "",
        digest.hexdigest(),
    )  # fmt: skip


def _look_parquet(path: Path) -> tuple[pa.Schema, int]:
    with pq.ParquetFile(path) as file:
        return file.schema_arrow, file.metadata.num_rows


def _look_arrow(path: Path) -> tuple[pa.Schema, int]:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        count = sum(file.get_batch(n).num_rows for n in range(file.num_record_batches))
        return file.schema, count


def _check_names(path: Path, schema: pa.Schema) -> None:
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise BadInput(f"two columns are named {name!r}", str(path), "Rename one of them.")
        if name == "":
            raise BadInput("a column has no name", str(path), "Give it one.")


def _mark(path: Path) -> bytes:
    """Size, time of change and both ends of a file: a footer tells of all that lies before it."""
    about = path.stat()
    with path.open("rb") as file:
        head = file.read(_END_BYTES)
        file.seek(max(0, about.st_size - _END_BYTES))
        tail = file.read()
    digest = hashlib.blake2b(head + tail, digest_size=16).hexdigest()
    return f"{path}:{about.st_size}:{about.st_mtime_ns}:{digest}".encode()
