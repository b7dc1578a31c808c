"""Detached runs as the home that began them remembers them: a small file each."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from apwa.models import EndpointSettings


class _Record(msgspec.Struct, frozen=True):
    address: str
    models: list[str]  # whose keys it needs again to go on
    endpoints: dict[str, EndpointSettings] = {}
    secrets: list[str] = []  # variables that the functions of its modules read
    job: str = ""


@dataclass(frozen=True, slots=True)
class DetachedRun:
    """A run that a cluster keeps, as this home remembers it.

    Attributes:
        job: The Ray job of a driver that was ordered and is not known to have begun; empty if
            there is none. A new run's first job has the run's own name.
    """

    name: str
    address: str
    models: list[str]
    endpoints: dict[str, EndpointSettings]
    secrets: list[str]
    record: Path
    job: str = ""

    @property
    def is_new(self) -> bool:
        """Whether it is not known to have begun at all."""
        return self.job == self.name

    def remember(self, job: str) -> DetachedRun:
        """Keep it, as one for which this job was ordered."""
        run = replace(self, job=job)
        kept = _Record(run.address, run.models, run.endpoints, run.secrets, run.job)
        self.record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        begun = self.record.with_name(f".{self.name}.{secrets.token_hex(4)}")
        begun.write_bytes(msgspec.json.encode(kept))
        begun.replace(self.record)
        return run

    def forget(self) -> None:
        self.record.unlink(missing_ok=True)


def record_of(home: Path, name: str) -> Path:
    """Where a home remembers a run."""
    return home / "detached" / f"{name}.json"


def detached_runs(home: Path) -> list[DetachedRun]:
    """The detached runs that were begun from this home, the oldest first."""
    found: list[DetachedRun] = []
    for path in sorted((home / "detached").glob("[!.]*.json")):
        kept = msgspec.json.decode(path.read_bytes(), type=_Record)
        about = (kept.models, kept.endpoints, kept.secrets)
        found.append(DetachedRun(path.stem, kept.address, *about, path, kept.job))
    return found


def find_detached(home: Path, name: str) -> DetachedRun | None:
    """A detached run by its id, or by the beginning or end of it if only one has it."""
    found = [
        run for run in detached_runs(home) if run.name.startswith(name) or run.name.endswith(name)
    ]
    return found[0] if name and len(found) == 1 else None
