"""What a driver on a cluster is to do, and what the keeper says of it: plain data."""

from __future__ import annotations

from typing import Any

import msgspec

from apwa.capabilities import UserModule
from apwa.runs.again import Again
from apwa.runs.settings import RunRequest, RunSettings


class Order(msgspec.Struct, frozen=True):
    """A new run, or one to go on with. Secrets are kept apart.

    Attributes:
        request, settings, modules: Of a new run; the modules are the user's.
        run: The id of a run to go on with.
        changes: Settings that differ from now on.
        again: Rows to work anew.
        plan: A mended plan's text, and where it was read.
    """

    request: RunRequest | None = None
    settings: RunSettings | None = None
    modules: list[UserModule] = []
    run: str = ""
    changes: dict[str, Any] = {}
    again: Again | None = None
    plan: tuple[str, str] | None = None


class Begun(msgspec.Struct, frozen=True):
    """What became of an order: a run, or an error before anything was spent."""

    run: str = ""
    what: str = ""
    where: str = ""
    todo: str = ""
    exit_code: int = 0
