"""Where runs live: ``.apwa/runs/<run-id>/`` (or ``APWA_HOME``), readable by their owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from apwa.capabilities import UserModule, pack_module, write_module
from apwa.journal import JournalPlace
from apwa.vocabulary import ApwaError, Misuse, RunFailed, is_full, named, new_run_id


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One run's directory. Everything a run knows stands in it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def home(self) -> Path:
        return self.path.parent.parent

    @property
    def journal(self) -> JournalPlace:
        return JournalPlace(self.path / "run.db")

    @property
    def plan_path(self) -> Path:
        return self.path / "plan.yaml"

    @property
    def report_path(self) -> Path:
        return self.path / "report.md"

    @property
    def inputs(self) -> Path:
        return self.path / "inputs"

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    @property
    def modules(self) -> Path:
        return self.path / "modules"

    def user_modules(self) -> list[UserModule]:
        """The user's modules as they were when the run began."""
        if not self.modules.is_dir():
            return []
        return [pack_module(path) for path in sorted(self.modules.iterdir())]

    def keep_modules(self, modules: Sequence[UserModule]) -> None:
        """Keep the user's modules with the run, so that it goes on with the same."""
        for module in modules:
            write_module(module, self.modules)

    @property
    def scratch(self) -> Path:
        return self.path / "scratch"

    @property
    def control(self) -> Path:
        return self.path / "control"

    def was_begun_by(self, job: str) -> bool:
        """Whether this job of a cluster has begun to drive the run."""
        return self._jobs.is_file() and job in self._jobs.read_text().split("\n")[:-1]

    def keep_begun(self, job: str) -> None:
        """Keep that this job of a cluster drives the run from now on."""
        with self._jobs.open("a") as file:
            file.write(f"{job}\n")

    @property
    def _jobs(self) -> Path:
        return self.path / "jobs"

    def sweep(self) -> None:
        """Remove what a driver that was killed has left half done. For who holds the run's lock."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        for folder in (self.inputs, self.tables):
            for pattern in ("*.begun-*", "*.spill"):
                for left in list(folder.rglob(pattern)):
                    shutil.rmtree(left, ignore_errors=True)

    def remove(self) -> None:
        """Remove every trace of the run. Raises Misuse where its database cannot be reached."""
        self.journal.remove()
        shutil.rmtree(self.path)

    def discard(self) -> None:
        """Remove a run that could not begin: whatever there is of it already."""
        with contextlib.suppress(ApwaError):  # the database may be what was wrong
            self.journal.remove()
        shutil.rmtree(self.path)


def home_of(env: Mapping[str, str]) -> Path:
    """The directory of all runs: ``APWA_HOME``, else ``.apwa`` where the user stands."""
    return Path(env.get("APWA_HOME") or ".apwa").absolute()


def create_run(home: Path, name: str = "") -> RunDirectory:
    """Make a new run's directory, or nothing. It may have a new id already: ``name``.

    Raises Misuse, or RunFailed on a full disk.
    """
    runs = home / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        ignore = home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")  # runs hold people's data: never by accident in a repository
        while True:
            directory = RunDirectory(runs / (name or new_run_id()))
            try:
                directory.path.mkdir(mode=0o700)
                break
            except FileExistsError:
                if name:
                    raise
        try:
            for folder in (directory.inputs, directory.tables, directory.control):
                folder.mkdir(mode=0o700)
        except OSError:
            directory.remove()
            raise
    except OSError as error:
        if is_full(error):
            full = named(error)
            raise RunFailed(full.what, full.where, full.todo) from error
        raise Misuse(
            f"no run can be made here: {error.strerror}", str(home), "Set APWA_HOME elsewhere."
        ) from error
    return directory


def home_secret(home: Path) -> bytes:
    """The home's secret, from which the marks of tags are made; made when first asked for."""
    path = home / "secret"
    if not path.exists():
        begun = path.with_name(f".secret.{secrets.token_hex(4)}")
        begun.touch(mode=0o600)
        begun.write_bytes(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            os.link(begun, path)  # whole or not at all, and the first wins
        begun.unlink()
    return path.read_bytes()


def list_runs(home: Path) -> list[RunDirectory]:
    """All runs, the oldest first."""
    runs = home / "runs"
    if not runs.is_dir():
        return []
    return [RunDirectory(p) for p in sorted(runs.iterdir()) if RunDirectory(p).journal.exists]


def find_run(home: Path, name: str) -> RunDirectory:
    """A run by its id, by the beginning or end of its id if only one has it, or ``last``.

    Raises Misuse if there is none, or more than one.
    """
    runs = list_runs(home)
    if not runs:
        raise Misuse("there are no runs", str(home), "Start one with: apwa run …")
    if name in ("last", ""):
        return runs[-1]
    exact = [run for run in runs if run.name == name]
    found = exact or [r for r in runs if r.name.startswith(name) or r.name.endswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(run.name for run in found[:5])
        raise Misuse(f"{name!r} may be any of {several}", todo="Name more of the id.")
    raise Misuse(f"there is no run {name!r}", str(home), "See: apwa runs")
