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
from typing import Any

import msgspec

from apwa.executor.cluster import Mark, is_here
from apwa.journal import is_driven
from apwa.runs.detached.orders import Begun
from apwa.runs.detached.uploads import Uploads
from apwa.runs.directory import find_run, home_of
from apwa.runs.reading import RunReader
from apwa.vocabulary import ApwaError

NAME, NAMESPACE = f"apwa-keeper-{version('apwa')}", "apwa"  # an older apwa's is not asked
HEAD = "node:__internal_head__"  # Ray's own name of the head as a resource

_LOOK_S = 0.3
_VERB_S = 600.0
_SUBMIT_S = 60.0  # for the part of a new head that takes jobs


class Keeper:
    """See the module. Called over Ray; every argument and answer is plain data.

    Each call has a thread of its own: a long one, such as of ``whole``, holds up no other.
    """

    def __init__(self) -> None:
        env = {"APWA_HOME": os.environ.get("APWA_HOME") or str(Path.home() / ".apwa")}
        self.home = home_of(env)
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._uploads = Uploads(self.home)
        self._orders: dict[str, tuple[bytes, dict[str, str]]] = {}
        self._jobs: dict[str, str] = {}
        self._begun: dict[str, Begun] = {}

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

    def order(self, order: bytes, variables: dict[str, str]) -> str:
        """Start a driver, as a Ray job that knows a token and nothing else. Gives the token.

        Raises RuntimeError if Ray takes no jobs; a head that has just begun is waited for.
        """
        import ray
        from ray.job_submission import JobSubmissionClient

        token = secrets.token_hex(16)
        self._orders[token] = (order, variables)
        client: Any = JobSubmissionClient(ray.get_runtime_context().gcs_address)
        end = time.monotonic() + _SUBMIT_S
        while True:
            try:
                self._jobs[token] = client.submit_job(
                    entrypoint=f"{sys.executable} -m apwa.runs.detached.driving {token}",
                    entrypoint_resources={HEAD: 0.001},
                    runtime_env={"env_vars": {"APWA_HOME": str(self.home)}},
                )
                return token
            except RuntimeError:
                if time.monotonic() > end:
                    del self._orders[token]
                    raise
                time.sleep(1.0)

    def take(self, token: str) -> tuple[bytes, dict[str, str]]:
        """An order, for its driver, once."""
        return self._orders.pop(token)

    def begun(self, token: str, begun: bytes) -> None:
        """What became of an order."""
        self._begun[token] = msgspec.json.decode(begun, type=Begun)

    def look(self, token: str) -> tuple[bytes, str]:
        """What became of an order (empty: nothing yet), and how its job stands, in words."""
        if token in self._begun:
            return msgspec.json.encode(self._begun[token]), ""
        import ray
        from ray.job_submission import JobSubmissionClient

        client: Any = JobSubmissionClient(ray.get_runtime_context().gcs_address)
        info = client.get_job_info(self._jobs[token])
        words = "" if info.status in ("PENDING", "RUNNING") else f"{info.status}: {info.message}"
        return b"", words

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
