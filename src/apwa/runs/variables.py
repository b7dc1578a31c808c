"""Variables that opening a run's models reads, and the way they take to a driver that runs.

Keys may stand in no file, so they go through a pipe: it exists while a driver drives, only the
run's owner may write to it, and what is written is nowhere but in the memory of the two.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

import msgspec

from apwa.models import EndpointSettings, ModelSettings, ReadVariables, kit_of, open_model
from apwa.plan import load_plan
from apwa.runs.directory import RunDirectory
from apwa.runs.settings import RunSettings
from apwa.vocabulary import Misuse

_ANY_URL = "http://127.0.0.1/v1"  # of a server that the driver would start
_MOST_BYTES = 65_536  # what a pipe takes at once


def models_of(settings: RunSettings, plan: str, place: str = "plan") -> list[str]:
    """The models that a run names, in its settings and the text of its plan."""
    named = load_plan(plan, place)[0].models if plan else []
    return sorted({name for name in (settings.model, settings.manager_model, *named) if name})


def variables_of(
    models: Sequence[str], endpoints: Mapping[str, EndpointSettings], env: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, EndpointSettings]]:
    """The variables that opening the models reads, and the endpoints so that they read these.

    What a key's command prints becomes a variable. What is missing here is left out: it may be
    where the models are opened.
    """
    variables: dict[str, str] = {}
    described = dict(endpoints)
    for spec in {spec for spec in models if spec}:
        read = ReadVariables(env)
        with contextlib.suppress(Misuse):
            opened = open_model(spec, ModelSettings(read, _ANY_URL, endpoints))
            kit, values = kit_of(spec, opened, read.read, "", endpoints)
            variables |= values
            described = kit.endpoints
    return variables, described


class VariablesIn:
    """The driver's end of the pipe."""

    def __init__(self, directory: RunDirectory) -> None:
        self._path = directory.control / "variables"
        self._file: int | None = None
        with contextlib.suppress(OSError):  # a file system without pipes: nobody can write
            self._path.unlink(missing_ok=True)
            os.mkfifo(self._path, 0o600)
            self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self) -> dict[str, str]:
        """What was sent since the last time; the last word counts."""
        data = b""
        while self._file is not None:
            try:
                piece = os.read(self._file, _MOST_BYTES)
            except BlockingIOError:
                break
            if not piece:
                break
            data += piece
        found: dict[str, str] = {}
        for line in data.splitlines():
            with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
                found |= msgspec.json.decode(line, type=dict[str, str])
        return found

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._path.unlink(missing_ok=True)


def send_variables(directory: RunDirectory, variables: Mapping[str, str]) -> None:
    """Hand variables to the driver of a run. Raises Misuse if it cannot be reached from here."""
    data = msgspec.json.encode(dict(variables)) + b"\n"
    try:
        file = os.open(directory.control / "variables", os.O_WRONLY | os.O_NONBLOCK)
        try:
            sent = os.write(file, data)
        finally:
            os.close(file)
    except OSError:
        sent = -1
    if sent != len(data):
        raise Misuse(
            "keys and addresses cannot be handed to the run's driver from here",
            directory.name,
            "It drives on another machine, or is only beginning. Stop the run (apwa cancel"
            " --pause) and resume it: nothing is lost.",
        )
