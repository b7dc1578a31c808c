"""Who drives a run: one process at a time, known by a lock that the kernel drops with it.

The lock is ``flock`` on ``run.lock`` beside the journal. A killed driver leaves no lock behind.
The epoch in the journal is the second fence: see ``journal.py``.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from apwa.vocabulary import Locked, Misuse

# Where flock and shared memory reach one machine only: SQLite's WAL would tear there.
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre",
    "beegfs", "gpfs", "ocfs2", "davfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse",
    "fuse.rclone", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.davfs2",
    "fuse.mount-s3", "fuse.goofys", "fuse.blobfuse", "fuse.blobfuse2", "fuse.juicefs",
}  # fmt: skip
_TRIES = 5  # whoever only looks (is_driven) holds the lock for some microseconds
_BETWEEN_TRIES_S = 0.02


class RunLock:
    """The run's lock, held until ``release`` or the end of the process.

    Raises Locked where another driver holds it.
    """

    def __init__(self, journal_path: Path) -> None:
        path = _lock_path(journal_path)
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if left:
                    time.sleep(_BETWEEN_TRIES_S)
                    continue
                holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
                self.release()
                who = f" (process {holder})" if holder else ""
                raise Locked(
                    f"another driver holds this run{who}",
                    str(journal_path.parent),
                    "Wait for it to end, or ask it to stop with: apwa cancel",
                ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the run free. Safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_driven(journal_path: Path) -> bool:
    """Whether some process drives the run right now."""
    try:
        file = os.open(_lock_path(journal_path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def refuse_network(path: Path, mounts: Path = Path("/proc/mounts")) -> None:
    """Raise Misuse where the path lies on a file system that several machines share.

    A system without a list of mounts in this form is trusted.
    """
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return
    kind = file_system_of(path.resolve(), lines)
    if kind in _NETWORK:
        raise Misuse(
            f"a run cannot live on a network file system ({kind}): its journal needs a local disk",
            str(path),
            "Set APWA_HOME to a folder on a local disk.",
        )


def file_system_of(path: Path, mounts: list[str]) -> str:
    """The kind of the file system that holds the path, from lines like those of /proc/mounts."""
    best, found = -1, ""
    for line in mounts:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # blanks in a mount point are written in octal
        point = Path(fields[1].encode().decode("unicode_escape"))
        depth = len(point.parts)
        if depth >= best and path.is_relative_to(point):  # of equal ones the later lies on top
            best, found = depth, fields[2]
    return found


def _lock_path(journal_path: Path) -> Path:
    return journal_path.with_name("run.lock")
