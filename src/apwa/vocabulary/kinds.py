"""The closed set of ways a subtask, an endpoint or a run can fail.

Each kind says how far it reaches, whether it costs the row one of its attempts, and what
follows. Code elsewhere asks a kind for these traits; nothing matches on strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Scope(StrEnum):
    """How far a failure reaches."""

    ROW = "row"
    STEP = "step"
    ENDPOINT = "endpoint"
    RUN = "run"


class Follow(StrEnum):
    """What the executor does about a failure."""

    RETRY = "retry"  # again after a backoff, while attempts are left; then quarantine
    WAIT = "wait"  # the endpoint's pace: wait in place, for as long as it takes
    QUARANTINE = "quarantine"  # no retry can help: set the row aside with its reason
    PAUSE = "pause"  # nobody's row: stop the run so that it can be resumed


@dataclass(frozen=True, slots=True)
class Traits:
    scope: Scope
    charges: bool
    follow: Follow
    remedy: str


class ErrorKind(Enum):
    """Why something failed. The value is the name used in journals, tables and messages."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    FILTERED = "filtered"
    CUT_OFF = "cut_off"
    EMPTY = "empty"
    CONTRACT = "contract"
    TOOL = "tool"
    TURNS = "turns"
    CONTEXT_TOO_LONG = "context_too_long"
    BAD_REQUEST = "bad_request"
    BAD_INPUT = "bad_input"
    ACCOUNT = "account"
    MODEL_MISSING = "model_missing"
    NO_IMAGES = "no_images"
    BUDGET = "budget"
    HOST_LOST = "host_lost"
    INTERNAL = "internal"

    @property
    def traits(self) -> Traits:
        return _TRAITS[self]

    @property
    def scope(self) -> Scope:
        return _TRAITS[self].scope

    @property
    def charges(self) -> bool:
        """Whether a failure of this kind uses up one of the row's attempts."""
        return _TRAITS[self].charges

    @property
    def follow(self) -> Follow:
        return _TRAITS[self].follow

    @property
    def remedy(self) -> str:
        """What a person can do about it, in one sentence."""
        return _TRAITS[self].remedy


def _row(follow: Follow, remedy: str, *, charges: bool = True) -> Traits:
    return Traits(Scope.ROW, charges, follow, remedy)


def _endpoint(remedy: str) -> Traits:
    return Traits(Scope.ENDPOINT, False, Follow.WAIT, remedy)


def _run(remedy: str) -> Traits:
    return Traits(Scope.RUN, False, Follow.PAUSE, remedy)


_TRAITS: dict[ErrorKind, Traits] = {
    ErrorKind.RATE_LIMITED: _endpoint("The endpoint sets the pace; nothing to do but wait."),
    ErrorKind.OVERLOADED: _endpoint("The endpoint is overloaded; waiting for it."),
    ErrorKind.UNREACHABLE: _endpoint(
        "Check that the endpoint runs and that its address is right, then resume."
    ),
    ErrorKind.SERVER_ERROR: _row(
        Follow.RETRY, "The endpoint failed on this row again and again; retry it later."
    ),
    ErrorKind.TIMEOUT: _row(
        Follow.RETRY, "Raise the template's limit timeout_s, or shorten the row."
    ),
    ErrorKind.REFUSED: _row(
        Follow.QUARANTINE,
        "The model declined this row; reword the instruction or try another model.",
    ),
    ErrorKind.FILTERED: _row(
        Follow.QUARANTINE,
        "The provider's content filter stopped this row; try another model for it.",
    ),
    ErrorKind.CUT_OFF: _row(
        Follow.RETRY, "The answer hit the output limit; raise the template's limit output_tokens."
    ),
    ErrorKind.EMPTY: _row(
        Follow.RETRY, "The model answered nothing; reword the instruction or try another model."
    ),
    ErrorKind.CONTRACT: _row(
        Follow.RETRY,
        "The answer broke the contract each time; loosen the contract or reword the instruction.",
    ),
    ErrorKind.TOOL: _row(
        Follow.RETRY, "A capability failed each time; see the row's story for its own words."
    ),
    ErrorKind.TURNS: _row(
        Follow.RETRY, "The worker used all its turns; raise the template's limit turns."
    ),
    ErrorKind.CONTEXT_TOO_LONG: _row(
        Follow.QUARANTINE,
        "The row does not fit the model's context; chunk it in a query first, or use a model with a"
        " larger one.",
    ),
    ErrorKind.BAD_REQUEST: _row(
        Follow.QUARANTINE, "The endpoint rejects this row's request; its own words say why."
    ),
    ErrorKind.BAD_INPUT: _row(
        Follow.QUARANTINE, "Mend the row in its source, then run it again.", charges=False
    ),
    ErrorKind.ACCOUNT: _run("Check the key and the credit of the account, then resume."),
    ErrorKind.MODEL_MISSING: _run("Check the model's name, or resume with another --model."),
    ErrorKind.NO_IMAGES: _run(
        "This model takes no images: resume with another --model, or leave the column of images"
        " out of the template."
    ),
    ErrorKind.BUDGET: _run("Resume with a higher cap."),
    ErrorKind.HOST_LOST: _row(
        Follow.RETRY,
        "This row was lost with its host again and again; look at what it makes the host do.",
        charges=False,
    ),
    ErrorKind.INTERNAL: _row(
        Follow.RETRY, "This is a defect of apwa or of the machine it ran on; please report it."
    ),
}
