"""The messages between driver and host: plain, versioned data, encoded as MessagePack.

Durations, never wall times. A host repeats an ``Outcomes`` until it is acknowledged; a driver
may repeat anything: every message can be applied twice without harm.
"""

from __future__ import annotations

import msgspec

from apwa.vocabulary.kinds import ErrorKind
from apwa.vocabulary.work import LeaseItem, Outcome, WorkSpec

ALLOTMENT_S = 10.0  # how long a host may use what it was allotted without a word of the driver
ANY = "*"  # the profile of a host that works for every step


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


# ---- driver to host


class OpenStep(_Message, frozen=True):
    scope: str
    spec: WorkSpec


class CloseStep(_Message, frozen=True):
    scope: str
    step: str


class Grant(_Message, frozen=True):
    """What a host may use of an endpoint from now on. Replaces the slots given before.

    ``calls``, ``tokens`` and ``cost_nusd`` are added to what the host holds; None says that
    the run has no such cap. ``anew``: they are all that it holds from now on, and calls under way
    give nothing back. ``hold_s`` > 0: begin no call for so long.

    An allotment lapses by the host's own clock ``ALLOTMENT_S`` after it sent the heartbeat
    numbered ``beat``, the last that the driver had heard (0: its first word): a host that is cut
    off stops by itself, and the driver knows by when. ``number`` grows with each grant; a host
    repeats the last one it took in its heartbeats.
    """

    endpoint: str
    slots: int
    hold_s: float = 0.0
    calls: int | None = None
    tokens: int | None = None
    cost_nusd: int | None = None
    number: int = 0
    beat: int = 0
    anew: bool = False


class Lease(_Message, frozen=True):
    scope: str
    step: str
    items: list[LeaseItem]


class Revoke(_Message, frozen=True):
    """Give leases back. ``begun`` also those whose first call has begun (their cost is lost)."""

    lease_ids: list[int]
    begun: bool = False


class Ack(_Message, frozen=True):
    lease_ids: list[int]


class Shutdown(_Message, frozen=True):
    pass


ToHost = OpenStep | CloseStep | Grant | Lease | Revoke | Ack | Shutdown


# ---- host to driver


class Described(_Message, frozen=True):
    """A host's first word.

    ``profile`` names the resources that it was given (see ``WorkSpec.profile``); ``ANY`` works
    for all steps. ``node`` is where it runs, as the cluster names it; ``place`` is that in words.
    """

    host: str
    capacity: int  # leases it can hold
    capabilities: list[str]
    versions: dict[str, str]
    profile: str = ANY
    node: str = ""
    place: str = ""


class Outcomes(_Message, frozen=True):
    items: list[Outcome]


class Returned(_Message, frozen=True):
    """Leases given back unworked, after a ``Revoke`` or for want of budget."""

    lease_ids: list[int]


class PaceSample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How one call went, for the gate."""

    kind: ErrorKind | None
    latency_s: float
    retry_after_s: float | None = None
    message: str = ""


class Pace(_Message, frozen=True):
    endpoint: str
    samples: list[PaceSample]
    in_flight: int = 0


class Hungry(_Message, frozen=True):
    """The host has a call that its grant cannot pay: the most that this call may take."""

    endpoint: str
    calls: int
    tokens: int
    cost_nusd: int


class Settled(_Message, frozen=True):
    """Budget that all calls have drawn since the last such message, whatever came of them."""

    endpoint: str
    calls: int
    tokens: int
    cost_nusd: int


class Heartbeat(_Message, frozen=True):
    """``granted``: by endpoint the last grant taken, and the calls under way with it."""

    leases: int
    in_flight: int
    oldest_lease_s: float = 0.0
    oldest_ordinal: int = -1
    number: int = 0
    granted: dict[str, tuple[int, int]] = {}


class Gone(_Message, frozen=True):
    """The host's process has ended and does nothing more; said by who watches over it.

    ``alone``: nothing else ended with it, so that one of its rows may have been the reason.
    ``unfit``: its node is the reason, and should get no other for now.
    """

    words: str
    alone: bool = False
    unfit: bool = False


FromHost = Described | Outcomes | Returned | Pace | Hungry | Settled | Heartbeat | Gone

_encoder = msgspec.msgpack.Encoder()
_to_host = msgspec.msgpack.Decoder(ToHost)
_from_host = msgspec.msgpack.Decoder(FromHost)


def encode(message: ToHost | FromHost) -> bytes:
    return _encoder.encode(message)


def decode_to_host(data: bytes) -> ToHost:
    """Raises msgspec.ValidationError for bytes that are no such message."""
    return _to_host.decode(data)


def decode_from_host(data: bytes) -> FromHost:
    """Raises msgspec.ValidationError for bytes that are no such message."""
    return _from_host.decode(data)
