"""What a driver on a cluster is to do, and what became of it: plain data."""

from __future__ import annotations

from typing import Any

import msgspec

from apwa.capabilities import UserModule
from apwa.runs.again import Again
from apwa.runs.settings import RunRequest, RunSettings


class Order(msgspec.Struct, frozen=True):
    """A new run, or one to go on with. Secrets are kept apart.

    Attributes:
        run: The run's id. That of a new one is made by who orders it, who so knows the run whatever
            becomes of the connection.
        request, settings, modules: Of a new run; the modules are the user's.
        changes: Settings that differ from now on.
        again: Rows to work anew.
        plan: A mended plan's text, and where it was read.
    """

    run: str
    request: RunRequest | None = None
    settings: RunSettings | None = None
    modules: list[UserModule] = []
    changes: dict[str, Any] = {}
    again: Again | None = None
    plan: tuple[str, str] | None = None


class Refused(msgspec.Struct, frozen=True):
    """Why an order came to nothing, as the error that it is for people."""

    what: str
    where: str = ""
    todo: str = ""
    exit_code: int = 1


class Standing(msgspec.Struct, frozen=True):
    """How an order stands: it has begun, or was refused, or else waits.

    Attributes:
        begun: Its driver has read all that it needs, and drives.
        refused: It came to nothing, and nothing of it is left.
        lost: It is refused because the cluster does not know of it; another one may.
        waits: What it waits for, in words.
    """

    begun: bool = False
    refused: Refused | None = None
    lost: bool = False
    waits: str = ""
