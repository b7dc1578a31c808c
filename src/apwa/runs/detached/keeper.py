"""The keeper: a named actor on the head that holds the runs' directory for everybody outside."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import msgspec

from apwa.executor.cluster import Mark, is_here
from apwa.journal import is_driven
from apwa.runs.detached.jobs import Jobs
from apwa.runs.detached.orders import Refused, Standing
from apwa.runs.detached.uploads import Uploads
from apwa.runs.directory import RunDirectory, find_run, home_of
from apwa.runs.reading import RunReader
from apwa.vocabulary import ApwaError
from apwa.vocabulary.events import RunStarted

NAME, NAMESPACE = f"apwa-keeper-{version('apwa')}", "apwa"  # an older apwa's is not asked

_LOOK_S = 0.3
_VERB_S = 600.0
_NO_JOB = "Its head has begun anew since, or this is another cluster than the run was begun at."


class Keeper:
    """See the module. Called over Ray; every argument and answer is plain data.

    Each call has a thread of its own: a long one, such as of ``whole``, holds up no other.
    """

    def __init__(self, jobs: Jobs | None = None) -> None:
        self._jobs = jobs or Jobs()
        env = {"APWA_HOME": os.environ.get("APWA_HOME") or str(Path.home() / ".apwa")}
        self.home = home_of(env)
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._uploads = Uploads(self.home)
        self._orders: dict[str, tuple[bytes, dict[str, str]]] = {}
        self._refused: dict[str, Refused] = {}

    # ---- tables in, files out

    def has(self, path: str, mark: Mark) -> bool:
        """Whether the same file stands under the same path here."""
        return is_here(path, mark)

    def received(self, upload: str, name: str) -> str:
        """See ``Uploads``, also for the next two."""
        return self._uploads.received(upload, name)

    def receive(self, sender: str, offset: int, piece: bytes) -> bool:
        return self._uploads.receive(sender, offset, piece)

    def whole(self, sender: str, upload: str, name: str, digest: str) -> str:
        return self._uploads.whole(sender, upload, name, digest)

    def export(self, arguments: list[str], name: str) -> tuple[int, str, str, list[str]]:
        """Export into files here: exit code, both outputs, the files, to be read and dropped."""
        folder = self.home / "exports" / secrets.token_hex(8)
        folder.mkdir(parents=True, mode=0o700)
        code, out, err = self.verb([*arguments, "--output", str(folder / name)])
        return code, out, err, sorted(str(path) for path in folder.rglob("*") if path.is_file())

    def read(self, path: str, offset: int, size: int) -> bytes:
        """A piece of an exported file."""
        inside = Path(path).resolve()
        if not inside.is_relative_to((self.home / "exports").resolve()):
            raise PermissionError(f"{path} is no exported file")
        with inside.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def drop(self, path: str) -> None:
        """Remove an exported file."""
        inside = Path(path).resolve()
        if inside.is_relative_to((self.home / "exports").resolve()):
            inside.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                inside.parent.rmdir()

    # ---- drivers

    def order(self, job: str, order: bytes, variables: dict[str, str]) -> None:
        """Start a driver, as a Ray job that knows its own name and nothing else.

        Raises RuntimeError if Ray takes no jobs.
        """
        self._orders[job] = (order, variables)
        try:
            self._jobs.begin(job, {"APWA_HOME": str(self.home)})
        except Exception:
            self._orders.pop(job, None)
            raise

    def take(self, job: str) -> tuple[bytes, dict[str, str]]:
        """An order, for its driver, once."""
        if job not in self._orders:
            raise LookupError("the order is not here: it was stopped, or the keeper began anew")
        return self._orders.pop(job)

    def refuse(self, job: str, refused: bytes) -> None:
        """A driver could not begin."""
        self._refused[job] = msgspec.json.decode(refused, type=Refused)

    def stop(self, job: str) -> None:
        """Stop a driver that has not begun to drive."""
        self._orders.pop(job, None)
        with contextlib.suppress(RuntimeError, OSError):  # who waits for its end asks again
            self._jobs.stop(job)

    def look(self, run: str, job: str) -> bytes:
        """How the order of a job stands, as a ``Standing``.

        What a driver that was killed on the way to a new run has left is removed.
        """
        return msgspec.json.encode(self._standing(RunDirectory(self.home / "runs" / run), job))

    def _standing(self, directory: RunDirectory, job: str) -> Standing:
        if directory.was_begun_by(job):
            return Standing(begun=True)
        if job in self._refused:
            return Standing(refused=self._refused[job])
        state, taken = self._jobs.state(job), job not in self._orders
        if not state.status and not taken:
            return Standing(waits="Ray is to take its job")
        if not state.over:
            words = " ".join(state.message.split())
            if state.status == "RUNNING":
                words = "its driver reads the inputs" if taken else "its driver starts"
            return Standing(waits=f"{words} (the job is {state.status})")
        self._orders.pop(job, None)
        if directory.was_begun_by(job):  # and has ended, both since it was looked for
            return Standing(begun=True)
        if job == directory.name and directory.path.is_dir() and (left := _cleared(directory)):
            return left
        if job in self._refused:
            return Standing(refused=self._refused[job])
        if not state.status:
            words = "the cluster knows of no job that would drive it"
            return Standing(refused=Refused(words, directory.name, _NO_JOB), lost=True)
        words = f"the driver's job has ended: {state.status}: {state.message[-1500:]}"
        return Standing(refused=Refused(words, directory.name))

    # ---- looking and commanding

    def verb(
        self, arguments: list[str], variables: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Run a command line's verb here, with further variables: exit code, standard output,
        standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "apwa", *arguments],
            env=os.environ | {"APWA_HOME": str(self.home)} | (variables or {}),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_VERB_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def exit_code(self, run: str) -> int:
        """How the run last ended; 1 if it has not."""
        with RunReader(find_run(self.home, run)) as reader:
            return 1 if reader.ending is None else reader.ending.exit_code

    def events(self, run: str, since: int, wait_s: float) -> tuple[list[bytes], bool]:
        """Encoded events after number ``since``, and whether no more will come.

        Waits a while where there are none yet.
        """
        end = time.monotonic() + wait_s
        while True:
            try:
                directory = find_run(self.home, run)
                driven = is_driven(directory.journal)
                with RunReader(directory) as reader:
                    found = reader.journal.events(since, 1000)
            except ApwaError:
                return [], True
            if found or not driven or time.monotonic() > end:
                return [msgspec.json.encode(e) for e in found], not driven and not found
            time.sleep(_LOOK_S)


def _cleared(directory: RunDirectory) -> Standing | None:
    """Remove what a driver that was killed has left of a new run.

    How the run stands instead, where that driver is still there, or another has driven the run.
    """
    with contextlib.suppress(ApwaError, FileNotFoundError):  # its database; another call's work
        if is_driven(directory.journal):
            return Standing(waits="its driver is ending")
        if directory.journal.exists:
            with RunReader(directory) as reader:
                if any(isinstance(numbered.event, RunStarted) for numbered in reader.events()):
                    return Standing(begun=True)
        directory.discard()
    return None
