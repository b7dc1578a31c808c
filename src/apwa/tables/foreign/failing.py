"""How the child says what is wrong: a line of JSON on stderr, and an exit code of its own."""

from __future__ import annotations

import os
import sys

import msgspec

from apwa.vocabulary import BadInput

_CODE = 3


def fail(error: BadInput) -> None:
    """End this process with an error's words. The stream of rows stays without its end."""
    line = msgspec.json.encode([error.what, error.where, error.todo]).decode()
    sys.stderr.write(f"\n{line}\n")
    sys.stderr.flush()
    os._exit(_CODE)


def failure(code: int, said: bytes, path: str) -> BadInput:
    """The error of a child that ended with ``code``, having said ``said``."""
    last = said.strip().rpartition(b"\n")[2]
    if code == _CODE:
        return BadInput(*msgspec.json.decode(last, type=tuple[str, str, str]))
    how = f"by signal {-code}" if code < 0 else last.decode("utf-8", "replace")[:200]
    return BadInput(
        f"the file breaks what reads it, which ended {how}",
        path,
        "Export the table to CSV or Parquet, and give that.",
    )
