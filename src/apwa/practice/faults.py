"""How the practice model misbehaves when told to: seeded, counted, by calls or by time.

A draw depends on the seed, the fault's name, the request's content and how often that very
request has come: never on arrival order. So two runs with the same seed meet the same faults,
and a repeated request is not doomed to fail for ever.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from apwa.practice.costumes import COSTUMES

RATES: Mapping[str, str] = {
    "401": "the key is refused",
    "quota": "429 with code insufficient_quota: the account's money is used up",
    "gone": "404: the model does not exist",
    "429": "too many requests, with Retry-After",
    "500": "a server error in JSON",
    "html": "a gateway's 502 page in HTML",
    "400": "a bad request",
    "reset": "the connection is closed without a reply",
    "hang": "no reply at all until the caller gives up",
    "cut": "the answer stops half way, finish_reason length",
    "broken": "the answer is broken JSON",
    "refuse": "the model refuses in words",
    "empty": "an answer without content",
    "ignore_schema": "an answer in prose where a schema was asked for",
    "no_usage": "a reply without token counts",
    "slip": "a redaction leaves one of the strings that it lists as replaced",
    "blind": "a request with an image is refused, as by models that do not see",
    "obey": "instructions found in the data are obeyed",
}
"""Faults that are drawn for each request, with what they do."""

_MEMORY = 200_000  # requests remembered, so that a repeat draws anew


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of requests, 0 to 1, and the seconds since the start between which it holds."""

    share: float
    from_s: float = 0.0
    to_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and how often. Without arguments: nothing does.

    Attributes:
        rates: By the names of ``RATES``.
        latency_s: Every reply waits so long.
        jitter_s: And up to so much longer or shorter.
        retry_after_s: What 429 replies ask to wait; None leaves the header out.
        refuse_params: Request parameters answered with 400.
        marker: A request whose messages hold this text is answered with 400.
        slots: More requests in flight than this are answered 429; 0 for no such limit.
        after: The first so many calls go well.
        until: From this call on all goes well again; 0 for never.
        costume: Which server it plays; see ``costumes``.
    """

    rates: Mapping[str, Rate] = field(default_factory=dict[str, Rate])
    latency_s: float = 0.0
    jitter_s: float = 0.0
    retry_after_s: float | None = 1.0
    refuse_params: tuple[str, ...] = ()
    marker: str = ""
    slots: int = 0
    after: int = 0
    until: int = 0
    costume: str = ""

    @staticmethod
    def parse(text: str) -> Faults:
        """Read ``latency=200~50,429=0.05,401@10s-20s,refuse_param=max_tokens``.

        Latency is in milliseconds. A fault without a share always happens; ``@60s`` holds it
        to the first minute, ``@60s-90s`` to a window. Raises ValueError naming the part not
        understood.
        """
        rates: dict[str, Rate] = {}
        refuse: list[str] = []
        marker = costume = ""
        numbers: dict[str, float] = {}
        for part in (piece.strip() for piece in text.split(",")):
            if not part:
                continue
            whole, _, window = part.partition("@")
            name, _, value = whole.partition("=")
            name = name.strip().replace("-", "_")
            if name == "refuse_param":
                refuse.append(value.strip())
            elif name == "marker":
                marker = part.partition("=")[2]
            elif name == "costume":
                costume = value.strip()
                if costume not in COSTUMES:
                    known = ", ".join(sorted(filter(None, COSTUMES)))
                    raise ValueError(f"no costume is called {costume!r}; there are: {known}")
            elif name == "latency":
                middle, _, spread = value.removesuffix("ms").partition("~")
                numbers["latency"] = _number(name, middle)
                numbers["jitter"] = _number(name, spread or "0")
            elif name in _NUMBERS:
                numbers[name] = _number(name, value.removesuffix("s"))
            elif name in RATES:
                rates[name] = _rate(name, value, window)
            else:
                known = ", ".join(
                    [*RATES, "latency", *_NUMBERS, "refuse_param", "marker", "costume"]
                )
                raise ValueError(f"no fault is called {name!r}; there are: {known}")
        return Faults(
            rates=rates,
            latency_s=numbers.get("latency", 0.0) / 1000,
            jitter_s=numbers.get("jitter", 0.0) / 1000,
            retry_after_s=numbers.get("retry_after", 1.0),
            refuse_params=tuple(refuse),
            marker=marker,
            slots=int(numbers.get("slots", 0)),
            after=int(numbers.get("after", 0)),
            until=int(numbers.get("until", 0)),
            costume=costume,
        )


_NUMBERS = ("retry_after", "slots", "after", "until")
_WINDOW = re.compile(r"(?:(\d+(?:\.\d+)?)s?-)?(\d+(?:\.\d+)?)s?")


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} wants a number, not {value!r}") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} wants a number from 0 up, not {value!r}")
    return number


def _rate(name: str, value: str, window: str) -> Rate:
    share = _number(name, value) if value.strip() else 1.0
    if share > 1:
        raise ValueError(f"{name} is a share of requests, 0 to 1, not {value}")
    if not window:
        return Rate(share)
    times = _WINDOW.fullmatch(window.strip())
    if times is None:
        raise ValueError(f"{name}@ wants seconds as in @60s or @60s-90s, not {window!r}")
    return Rate(share, float(times.group(1) or 0), float(times.group(2)))


class Dice:
    """Draws faults for requests and counts what it drew."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.drawn: Counter[str] = Counter()
        self._seed = seed
        self._calls = 0
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._spread = random.Random(seed)

    def draw(self, request: bytes, at_s: float) -> frozenset[str]:
        """The faults that this request meets.

        Args:
            request: The hash of its content.
            at_s: Seconds since the start.
        """
        self._calls += 1
        faults = self.faults
        if not faults.rates or self._calls <= faults.after:
            return frozenset()
        if faults.until and self._calls > faults.until:
            return frozenset()
        times = self._times(request)
        return frozenset(
            name
            for name, rate in faults.rates.items()
            if rate.from_s <= at_s < rate.to_s and self._chance(name, request, times) < rate.share
        )

    def latency_s(self) -> float:
        """How long the next reply waits."""
        jitter = self.faults.jitter_s
        return max(0.0, self.faults.latency_s + self._spread.uniform(-jitter, jitter))

    def count(self, name: str) -> None:
        """One reply went wrong in this way."""
        self.drawn[name] += 1

    def _times(self, request: bytes) -> int:
        times = self._seen.pop(request, 0) + 1
        self._seen[request] = times
        if len(self._seen) > _MEMORY:
            self._seen.popitem(last=False)
        return times

    def _chance(self, name: str, request: bytes, times: int) -> float:
        mixed = b"%d|%s|%d|" % (self._seed, name.encode(), times) + request
        digest = hashlib.blake2b(mixed, digest_size=8).digest()
        return int.from_bytes(digest) / 2**64
