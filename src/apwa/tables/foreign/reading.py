"""Takes in what the child reads."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from apwa.tables.foreign.failing import failure
from apwa.tables.foreign.stopping import Stop
from apwa.tables.table import Table, write_table
from apwa.vocabulary import Misuse

_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")  # never a key
_SAID_BYTES = 100_000


def foreign_table(
    name: str,
    kind: str,
    path: Path,
    part: str,
    into: Path,
    stop: Stop | None = None,
    *,
    memory_bytes: int = 4 << 30,
) -> Table:
    """Read a table of a database, or a sheet, into a snapshot.

    Args:
        name: The table's name.
        kind: ``sqlite``, ``duckdb`` or ``spreadsheet``.
        path: The file.
        part: The table or sheet; empty: the only one.
        into: Folder of the snapshot.
        stop: Ends the child once it is set.
        memory_bytes: What the child may take for its work, where the system can bound it.

    Raises BadInput for what cannot be read, Misuse where a library is missing.
    """
    if kind == "spreadsheet" and importlib.util.find_spec("python_calamine") is None:
        raise Misuse(
            "to read spreadsheets, python-calamine is needed, which is not installed",
            str(path),
            "Install it with: pip install 'apwa[excel]'",
        )
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "apwa.tables.foreign.child",
                kind,
                str(path.absolute()),
                part,
                str(memory_bytes),
            ],
            stdin=subprocess.PIPE,  # its end tells the child that nobody is here any more
            stdout=subprocess.PIPE,
            stderr=said,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,  # an interrupt at the terminal is the parent's to handle
        )
        assert process.stdin is not None and process.stdout is not None
        stop = stop or Stop()
        stop.when_set(process.kill)
        try:
            try:
                reader = pa.ipc.open_stream(process.stdout)
            except pa.ArrowException:  # it ended before the first row
                _check(process, said, path)
                raise
            return write_table(name, _batches(reader, process, said, path), reader.schema, into)
        finally:
            stop.when_set(None)
            process.kill()
            process.stdin.close()
            process.stdout.close()
            process.wait()


def _batches(
    reader: pa.RecordBatchReader, process: subprocess.Popen[bytes], said: IO[bytes], path: Path
) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except (pa.ArrowException, OSError):
        _check(process, said, path)
        raise
    _check(process, said, path)  # a stream without its end may look like a whole one


def _check(process: subprocess.Popen[bytes], said: IO[bytes], path: Path) -> None:
    """Raises what the child says of itself, unless it ended well."""
    code = process.wait()
    if code != 0:
        said.seek(0)
        raise failure(code, said.read()[-_SAID_BYTES:], str(path))
