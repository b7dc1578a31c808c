"""Files that clients send to the head: whole under their content's name, or not there.

Two clients may send the same file at once, and any of them may go away in the middle. So each
writes a part of its own, and a part becomes the file only when it is what was meant.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

LEFT_S = 3600.0
"""A part that nobody has added to for so long was left by a client that went away."""


class Uploads:
    """The files that were sent to one home, and the parts of those that are on their way."""

    def __init__(self, home: Path) -> None:
        self._files = home / "uploads"
        self._parts = home / "parts"  # on the same disk, so that a part can be renamed

    def received(self, upload: str, name: str) -> str:
        """The path of a file that was sent before; empty if it was not."""
        path = self._file(upload, name)
        return str(path) if path.is_file() else ""

    def receive(self, sender: str, offset: int, piece: bytes) -> bool:
        """Add a piece to a sender's part; whether that can be done.

        It cannot if what comes before the piece is missing: the file is to be sent anew then.
        """
        part = self._part(sender)
        if not offset:
            self._parts.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()
        elif not part.is_file() or part.stat().st_size < offset:
            return False
        with part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(piece)
        return True

    def whole(self, sender: str, upload: str, name: str, digest: str) -> str:
        """Make a sender's part the file; its path, or empty if it is not what was meant."""
        path, part = self._file(upload, name), self._part(sender)
        if path.is_file():  # another sender was faster; who reads that file keeps it
            part.unlink(missing_ok=True)
            return str(path)
        try:
            with part.open("rb") as file:
                if hashlib.file_digest(file, "blake2b").hexdigest() != digest:
                    part.unlink(missing_ok=True)
                    return ""
                os.fsync(file.fileno())  # no later client looks into it again
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.replace(path)
        except FileNotFoundError:
            return ""
        return str(path)

    def _file(self, upload: str, name: str) -> Path:
        base = self._files / upload
        path = base / name
        if not upload.isalnum() or not path.resolve().is_relative_to(base.resolve()):
            raise PermissionError(f"{name!r} leads out of its upload")
        return path

    def _part(self, sender: str) -> Path:
        if not sender.isalnum():
            raise PermissionError(f"{sender!r} is no sender")
        return self._parts / sender

    def _sweep(self) -> None:
        old = time.time() - LEFT_S
        for part in self._parts.iterdir():
            with contextlib.suppress(FileNotFoundError):  # its sender, or another sweep
                if part.stat().st_mtime < old:
                    part.unlink()
