"""Every message survives encoding unchanged, and bytes that are no message are refused."""

import msgspec
import pytest

from apwa.vocabulary import (
    Attempt,
    ContractSpec,
    ErrorKind,
    LeaseItem,
    Outcome,
    TagSpec,
    Usage,
    WorkSpec,
)
from apwa.vocabulary.messages import (
    Ack,
    CloseStep,
    Described,
    Grant,
    Heartbeat,
    Hungry,
    Lease,
    OpenStep,
    Outcomes,
    Pace,
    PaceSample,
    Returned,
    Revoke,
    Settled,
    Shutdown,
    decode_from_host,
    decode_to_host,
    encode,
)

SPEC = WorkSpec(
    step="redacted",
    system="Redact <text>.",
    tags=[TagSpec("Text, raw", "text_raw"), TagSpec("images", "images", images=True)],
    nonce="k3f9",
    columns=["Text, raw"],
    contract=ContractSpec(schema={"type": "object"}, checks=["length(output.y) > 0"]),
    endpoint="practice",
    model="practice",
    prefix_hash=b"\x00\xff",
)
ATTEMPT = Attempt("c1", "practice", ErrorKind.TIMEOUT, Usage(1, 10, 2, 0, 0, None), 0.5)
VALUES = ["ä", 1, None, [1.5], {"a": True}, [{"type": "image/png", "data": b"\xff\xd8"}]]
TO_HOST = [
    OpenStep("run", SPEC),
    CloseStep("run", "redacted"),
    Grant("practice", 8, 1.5, calls=3, tokens=None, cost_nusd=9),
    Lease(
        "run",
        "redacted",
        [LeaseItem(7, 0, 1, b"\x01" * 16, ["ä", 1, None, [1.5], {"a": b"\xff\xd8"}])],
    ),
    Revoke([7], begun=True),
    Ack([7]),
    Shutdown(),
]
FROM_HOST = [
    Described("local", 64, ["calculator"], {"apwa": "0.1.0"}),
    Outcomes([Outcome(7, 0, 1, b"k", ErrorKind.CONTRACT, message="why", attempts=[ATTEMPT])]),
    Returned([7]),
    Pace("practice", [PaceSample(ErrorKind.RATE_LIMITED, 0.1, 2.0, "slow down")], 3),
    Hungry("practice", 1, 500, 700),
    Settled("practice", 1, 12, 9),
    Heartbeat(2, 1, 0.25, 17),
]


@pytest.mark.parametrize("message", TO_HOST, ids=lambda m: type(m).__name__)
def test_a_message_to_a_host_survives_encoding(message):
    assert decode_to_host(encode(message)) == message


@pytest.mark.parametrize("message", FROM_HOST, ids=lambda m: type(m).__name__)
def test_a_message_from_a_host_survives_encoding(message):
    assert decode_from_host(encode(message)) == message


def test_a_message_of_the_other_direction_is_refused():
    with pytest.raises(msgspec.ValidationError):
        decode_to_host(encode(Returned([1])))


def test_an_outcome_adds_its_attempts_up_and_an_unknown_cost_stays_unknown():
    outcome = Outcome(1, 0, 0, b"", attempts=[ATTEMPT, ATTEMPT])
    assert outcome.usage == Usage(2, 20, 4, 0, 0, None)
