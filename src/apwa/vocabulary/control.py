"""Commands to a running run. Every front end writes the same ones; the driver journals them."""

from __future__ import annotations

from typing import Any

import msgspec

from apwa.vocabulary.usage import Caps


class _Command(msgspec.Struct, frozen=True, tag=True):
    pass


class Approve(_Command, frozen=True):
    """Run the plan version that the pilot tried."""

    plan_version: int


class Pause(_Command, frozen=True):
    """Finish what is in flight and stop; the run can be resumed."""


class Cancel(_Command, frozen=True):
    """End the run with what it has. ``now``: do not wait for what is in flight."""

    now: bool = False


class Finish(_Command, frozen=True):
    """End the run well with what it has: no more calls, tables closed, the answer written."""


class ChangeLimits(_Command, frozen=True):
    """New caps or ceilings from now on. None leaves a limit as it is.

    ``caps`` are all caps from now on. ``timeout_s`` counts from when the run was last begun.
    """

    caps: Caps | None = None
    concurrency: int | None = None
    max_failures: float | None = None
    timeout_s: float | None = None


class ReopenEndpoints(_Command, frozen=True):
    """Reach all models anew: by the variables that were handed over before this command, and by
    ``endpoints`` (as ``[endpoints]`` of apwa.toml; None: as before)."""

    endpoints: dict[str, dict[str, Any]] | None = None


Command = Approve | Pause | Cancel | Finish | ChangeLimits | ReopenEndpoints

_decoder = msgspec.json.Decoder(Command)


def encode_command(command: Command) -> bytes:
    return msgspec.json.encode(command)


def decode_command(data: bytes) -> Command:
    """Raises msgspec.ValidationError for anything that is no command."""
    return _decoder.decode(data)
