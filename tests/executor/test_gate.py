from __future__ import annotations

from collections.abc import Callable

from apwa.executor.gate import START_SLOTS, Gate
from apwa.vocabulary import ErrorKind
from apwa.vocabulary.messages import PaceSample


class Played:
    """A gate before an endpoint that takes ``capacity`` calls at once, in virtual time."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.now = 0.0
        self.refused = 0

    def rounds(self, count: int, answer: Callable[[int], list[PaceSample]]) -> None:
        for _ in range(count):
            self.now += 0.5
            if self.now < self.gate.hold_until:
                continue
            samples = answer(self.gate.slots)
            self.refused += sum(s.kind is not None for s in samples)
            self.gate.sampled(self.now, samples, self.gate.slots, more=True)


def good(slots: int) -> list[PaceSample]:
    return [PaceSample(None, 0.5)] * slots


def taking(capacity: int, retry_after_s: float | None = None) -> Callable[[int], list[PaceSample]]:
    def answer(slots: int) -> list[PaceSample]:
        refused = PaceSample(ErrorKind.RATE_LIMITED, 0.01, retry_after_s, "too many")
        return good(min(slots, capacity)) + [refused] * max(0, slots - capacity)

    return answer


def test_it_doubles_while_all_goes_well() -> None:
    played = Played(Gate())
    played.rounds(6, good)
    assert played.gate.slots == START_SLOTS * 2**6


def test_it_does_not_grow_where_slots_are_not_what_limits() -> None:
    gate = Gate()
    for n in range(20):
        gate.sampled(n * 0.5, good(START_SLOTS), 1, more=False)
    assert gate.slots == START_SLOTS


def test_it_settles_near_what_the_endpoint_takes() -> None:
    played = Played(Gate())
    played.rounds(200, taking(100))
    seen: list[int] = []
    for _ in range(50):
        played.rounds(1, taking(100))
        seen.append(played.gate.slots)
    assert 60 <= sum(seen) / len(seen) <= 110


def test_one_burst_of_refusals_shrinks_it_once() -> None:
    gate = Gate()
    gate.sampled(0.0, good(8), 8, more=True)
    refused = [PaceSample(ErrorKind.RATE_LIMITED, 0.5)]
    for n in range(10):
        gate.sampled(1.0 + n * 0.01, refused, 8, more=True)
    assert gate.slots == 11  # 16 * 0.7


def test_it_never_falls_below_one() -> None:
    played = Played(Gate())
    played.rounds(100, taking(0))
    assert played.gate.slots == 1


def test_retry_after_holds_all_calls_where_nothing_else_is_answered() -> None:
    played = Played(Gate())
    played.rounds(1, taking(0, retry_after_s=30.0))
    assert played.gate.hold_until == played.now + 30.0


def test_retry_after_of_some_calls_does_not_stop_the_others() -> None:
    played = Played(Gate())
    played.rounds(50, taking(6, retry_after_s=30.0))
    assert played.gate.hold_until == 0.0


def test_it_learns_below_a_ceiling() -> None:
    played = Played(Gate(ceiling=50))
    played.rounds(10, good)
    assert played.gate.slots == 50
    played.rounds(5, taking(10))
    assert played.gate.slots < 50


def test_rising_latency_without_more_answers_ends_the_doubling() -> None:
    def crowded(slots: int) -> list[PaceSample]:
        # the endpoint works off 32 at a time: more at once only wait
        return [PaceSample(None, 0.5 * max(1.0, slots / 32))] * min(slots, 32)

    gate = Gate()
    now = 0.0
    for _ in range(100):
        now += 0.5
        gate.sampled(now, crowded(gate.slots), gate.slots, more=True)
    assert gate.slots <= 128


def test_only_silence_makes_an_endpoint_down() -> None:
    refused = [PaceSample(ErrorKind.UNREACHABLE, 0.01)] * 4
    gate = Gate()
    for n in range(10):
        gate.sampled(n * 1.0, refused, 0, more=True)
    assert gate.down(9.0) == ""
    gate.sampled(11.0, refused, 0, more=True)
    assert "cannot be reached" in gate.down(11.0)
    gate.sampled(11.1, good(1), 1, more=True)
    assert gate.down(100.0) == ""


def test_a_storm_of_429_never_makes_an_endpoint_down() -> None:
    gate = Gate()
    for n in range(600):
        gate.sampled(float(n), [PaceSample(ErrorKind.RATE_LIMITED, 0.1)] * 2, 1, more=True)
        assert gate.down(float(n)) == ""


def test_one_broken_connection_among_slow_calls_is_no_outage() -> None:
    gate = Gate()
    gate.sampled(0.0, [PaceSample(ErrorKind.UNREACHABLE, 0.01)], 7, more=True)
    assert gate.down(60.0) == ""
