"""One driver a run: a lock on the run's directory that ends with its process, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import IO

from apwa.vocabulary import Locked, Misuse

_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse",
}  # fmt: skip


class RunLock:
    """Holds the lock until closed. Raises Locked if another process has it."""

    def __init__(self, journal: Path) -> None:
        refuse_network(journal.parent)
        self._file = _open(journal)
        if not _locked(self._file):
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise Locked(
                f"another process drives this run (process {holder})",
                journal.parent.name,
                "Wait for it, or stop it with: apwa cancel " + journal.parent.name,
            )
        with contextlib.suppress(OSError):  # a courtesy to who comes second: a full disk may refuse
            os.ftruncate(self._file.fileno(), 0)
            os.pwrite(self._file.fileno(), str(os.getpid()).encode(), 0)

    def close(self) -> None:
        self._file.close()


def _locked(file: IO[str]) -> bool:
    """Try some times: whoever only looks holds the lock for some microseconds."""
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.01)
    return False


def is_locked(journal: Path) -> bool:
    """Whether some process drives the run now."""
    path = journal.with_name("run.lock")
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def refuse_network(folder: Path) -> None:
    """Raises Misuse for a network file system: neither locks nor the WAL are safe there."""
    kind = _file_system(folder.resolve())
    if kind in _NETWORK:
        raise Misuse(
            f"runs cannot live on a network file system ({kind})",
            str(folder),
            "Set APWA_HOME to a directory on a local disk.",
        )


def _file_system(folder: Path) -> str:
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""  # not Linux: SQLite's own checks remain
    best, kind = "", ""
    for line in lines:
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = point == "/" or str(folder) == point or str(folder).startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind


def _open(journal: Path) -> IO[str]:
    return os.fdopen(os.open(journal.with_name("run.lock"), os.O_RDWR | os.O_CREAT, 0o600), "r+")
