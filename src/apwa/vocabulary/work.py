"""What a host must know to work a step, and what comes back: plain, versioned data.

A ``WorkSpec`` is sent once a step; a ``LeaseItem`` is one subtask; an ``Outcome`` is what a
worker makes of it. All of it survives encoding, so that a host may live anywhere.

What there is one of for each row is not looked at by the collector of garbage (``gc=False``): it
is plain data and holds no circles, and looking through it takes a third of the driver's time.
"""

from __future__ import annotations

from typing import Any

import msgspec

from apwa.vocabulary.kinds import ErrorKind
from apwa.vocabulary.usage import Price, Usage

Values = list[Any]
"""A row's plain values, in the order of ``WorkSpec.columns``."""


class WorkLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one subtask."""

    output_tokens: int = 2048  # of one call
    turns: int = 12  # calls of one attempt, tool turns and repair rounds included
    repairs: int = 2  # of those, rounds that feed a contract failure back
    attempts: int = 3  # fresh starts that may be charged to the row
    timeout_s: float = 300.0  # of one attempt


class Granted(msgspec.Struct, frozen=True):
    """A capability that a template grants its workers, with its arguments."""

    name: str
    arguments: dict[str, Any] = {}


class TagSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a column's value is laid into the user message: between ``<name-nonce>`` tags.

    ``images``: its value is a list of pictures, which follow the text as parts of their own.
    """

    column: str
    name: str  # [a-z0-9_]{1,32}, never the raw header
    images: bool = False


class Redacted(msgspec.Struct, frozen=True):
    """A field that is a column's text with the listed strings replaced, and all else as it is."""

    source: str  # the column
    replaced: str  # path of the strings in the answer, such as replaced[].text


class ContractSpec(msgspec.Struct, frozen=True):
    """What an answer must satisfy, as plain data."""

    schema: dict[str, Any]  # a JSON Schema of an object
    checks: list[str] = []  # SQL conditions over input.x and output.y
    quotes: dict[str, str] = {}  # path of a field in the answer -> source column
    input_types: dict[str, str] = {}  # column -> Arrow type in words, of columns that checks use
    redacts: dict[str, Redacted] = {}  # field of the answer -> what it redacts


class WorkSpec(msgspec.Struct, frozen=True):
    """Everything that the subtasks of one step share. Sent to a host once."""

    step: str
    system: str  # the whole system message, byte-identical for every subtask
    tags: list[TagSpec]  # in the order of the user message
    nonce: str
    columns: list[str]  # what LeaseItem.values hold, in order
    contract: ContractSpec
    endpoint: str  # the name under which the host knows the endpoint
    model: str  # as the endpoint names it
    prefix_hash: bytes  # for reuse keys: the request without nonce, contract, grants, versions
    grants: list[Granted] = []
    limits: WorkLimits = WorkLimits()
    parameters: dict[str, Any] = {}  # temperature and the like, only what the user set
    headers: dict[str, str] = {}  # of each model call, names in lower case
    price: Price | None = None
    resources: dict[str, float] = {}  # cpu, memory (bytes), gpu or a cluster's own: of one host
    reduce: bool = False  # values[0] is then a list of items, each a list in the order of tags
    version: int = 1

    @property
    def profile(self) -> str:
        """Names the hosts that may work it: those that were given just these resources."""
        return ",".join(f"{name}={amount:g}" for name, amount in sorted(self.resources.items()))


class Cell(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a large value stands: in a row group of a Parquet file."""

    position: int  # in the subtask's values
    file: str
    group: int
    row: int  # of the group
    column: str
    size: int  # characters


class LeaseItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One subtask on its way to a host."""

    lease_id: int
    ordinal: int
    generation: int
    reuse_key: bytes
    values: Values
    cells: list[Cell] = []  # values that are null here and stand elsewhere


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One model call made for a subtask.

    ``bound``: what it took is not known, and ``usage`` is the most that it may have been.
    """

    call_id: str
    model: str
    kind: ErrorKind | None  # None: the call itself went well
    usage: Usage
    duration_s: float
    bound: bool = False

    @property
    def counted(self) -> bool:
        """Whether anybody has counted its tokens: no prompt has none."""
        return self.usage.input_tokens > 0


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a worker made of a lease. ``kind`` None means done, and ``answer`` is then set.

    ``raw`` is the model's own text; ``answer`` the JSON that satisfied the contract, with
    quotes put into the source's own words.
    """

    lease_id: int
    ordinal: int
    generation: int
    reuse_key: bytes
    kind: ErrorKind | None = None
    answer: bytes = b""
    raw: str = ""
    message: str = ""  # why it failed, in words: field, rule, the model's own words
    attempts: list[Attempt] = []
    duration_s: float = 0.0
    transcript: bytes = b""  # of several turns: JSON, compressed; empty for one plain call

    @property
    def usage(self) -> Usage:
        total = Usage()
        for attempt in self.attempts:
            total = total + attempt.usage
        return total
