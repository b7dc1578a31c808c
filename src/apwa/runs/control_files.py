"""Commands to a running run: one file each, renamed into ``control/``, taken in by the driver."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import msgspec

from apwa.runs.directory import RunDirectory
from apwa.vocabulary import Command, decode_command, encode_command


def send_command(directory: RunDirectory, command: Command) -> Path:
    """Put a command where the run's driver finds it. It is whole or not there."""
    name = f"{time.time_ns():020d}-{secrets.token_hex(3)}"
    begun = directory.control / f".{name}"
    begun.write_bytes(encode_command(command))
    return begun.rename(directory.control / f"{name}.json")


def take_commands(directory: RunDirectory) -> list[tuple[Path, Command | None]]:
    """Commands that wait, in order; None for a file that is no command."""
    found: list[tuple[Path, Command | None]] = []
    for path in sorted(directory.control.glob("*.json")):
        try:
            found.append((path, decode_command(path.read_bytes())))
        except (msgspec.ValidationError, msgspec.DecodeError):
            found.append((path, None))
    return found
