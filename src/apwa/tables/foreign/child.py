"""The child that reads one database or spreadsheet: its rows go to stdout as an Arrow stream.

The end of stdin, which is the end of the parent, ends it, whatever a file makes it do.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa

from apwa.tables.foreign.duckdb_file import duckdb_file
from apwa.tables.foreign.failing import fail
from apwa.tables.foreign.parts import Opened, choose
from apwa.tables.foreign.spreadsheet import spreadsheet
from apwa.tables.foreign.sqlite_file import sqlite_file
from apwa.vocabulary import BadInput

_OPEN: dict[str, Callable[[Path], AbstractContextManager[Opened]]] = {
    "sqlite": sqlite_file,
    "duckdb": duckdb_file,
    "spreadsheet": spreadsheet,
}


def main(kind: str, path: Path, wanted: str, memory_bytes: int) -> None:
    """Write the table that is wanted, or say why not."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand among the rows
    pa.set_cpu_count(1)
    if kind != "duckdb":  # which keeps to a bound of its own, and reserves more than it uses
        _bound_memory(memory_bytes)
    try:
        with _OPEN[kind](path) as opened:
            part = choose(path, opened.word, opened.parts(), wanted)
            schema, batches = opened.read(part)
            with pa.ipc.new_stream(out, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        out.close()
    except BadInput as error:
        fail(error)
    except MemoryError:
        bound = f"{memory_bytes / (1 << 30):g} GiB"
        fail(BadInput(f"reading the file takes more than {bound} of memory", str(path)))
    except BrokenPipeError:
        os._exit(1)  # nobody wants the rest


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _bound_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # no such limit on this system
        return
    with contextlib.suppress(ValueError, OSError):
        # libraries lay claim to more than a gigabyte of addresses before they use any of it
        size += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
