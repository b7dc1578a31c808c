"""Tables that are here, for a cluster that does not see them: sent in pieces, once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from apwa.executor.cluster import mark_of
from apwa.runs.settings import TableSource
from apwa.tables import find_source, split_part
from apwa.vocabulary import BadInput, RunFailed

PIECE = 4 << 20
_TRIES = 3


class Sender:
    """Sends one file after the other. ``ask`` calls the keeper."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask
        self._me = secrets.token_hex(8)

    def table(self, source: TableSource) -> TableSource:
        """The table as the cluster finds it: it is sent unless the cluster sees the same files."""
        try:
            found = find_source(source.source, source.split)
        except BadInput:
            return source  # not here: a path or address of the cluster's
        if all(self._ask("has", str(path.absolute()), mark_of(path)) for path in found.files):
            return source
        digests = [_digest(path) for path in found.files]
        upload = hashlib.blake2b(digest_size=16)
        for path, digest in zip(found.files, digests, strict=True):
            upload.update(f"{path.relative_to(found.base)}\0{digest}\n".encode())
        name = upload.hexdigest()
        sent = [
            self._send(name, path, found.base, digest)
            for path, digest in zip(found.files, digests, strict=True)
        ]
        file, part = split_part(source.source)
        one = len(sent) == 1 and Path(file).is_file()
        where = sent[0] if one else str(Path(sent[0]).parents[_depth(found.files[0], found.base)])
        where += f"#{part}" if part else ""
        return msgspec.structs.replace(source, source=where)

    def _send(self, upload: str, path: Path, base: Path, digest: str) -> str:
        name = path.relative_to(base).as_posix()
        if there := self._ask("received", upload, name):
            return there
        for _ in range(_TRIES):
            if self._pieces(path) and (there := self._ask("whole", self._me, upload, name, digest)):
                return there
            if _digest(path) != digest:
                raise BadInput(
                    "the file has changed while it was sent", str(path),
                    "Begin again when nothing writes to it.",
                )  # fmt: skip
        raise RunFailed(
            f"what the cluster has got is not what was sent, {_TRIES} times", str(path),
            "See to the disk of the cluster's head, then begin again.",
        )  # fmt: skip

    def _pieces(self, path: Path) -> bool:
        offset, size = 0, path.stat().st_size
        with path.open("rb") as file:
            while True:
                piece = file.read(PIECE)
                if not self._ask("receive", self._me, offset, piece):
                    return False
                offset += len(piece)
                if not piece or offset >= size:  # it may have become shorter, or longer
                    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _depth(path: Path, base: Path) -> int:
    return len(path.relative_to(base).parts) - 1
