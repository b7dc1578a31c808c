"""What is made of a refusal: the words are those that vendors and servers use."""

from __future__ import annotations

import json

import pytest

from apwa.models.dialect import Dialect
from apwa.models.repair import amend
from apwa.models.seam import WireReply

SENT = {
    "model": "m", "messages": [], "max_tokens": 5000, "temperature": 0.5, "top_p": 0.9, "seed": 7,
    "presence_penalty": 1, "reasoning_effort": "high",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "dropped"),
    [
        (
            "Unsupported value: 'temperature' does not support 0.5 with this model. Only the"
            " default (1) value is supported.",
            "temperature",
        ),
        ("`temperature` may only be set to 1 when thinking is enabled.", "temperature"),
        (
            "`temperature` and `top_p` cannot both be specified for this model. Please use only"
            " one.",
            "temperature",
        ),
        ("seed: Extra inputs are not permitted", "seed"),
        ('Invalid JSON payload received. Unknown name "seed": Cannot find field.', "seed"),
        ("Malformed input request: #: extraneous key [seed] is not permitted", "seed"),
        ("Model x does not support parameter presencePenalty.", "presence_penalty"),
        ("property 'reasoning_effort' is unsupported", "reasoning_effort"),
        ("`max_tokens` must be greater than `thinking.budget_tokens`.", ""),
        ("max_tokens: 5000 > 4096, which is the maximum allowed number of output tokens", ""),
        ("messages: at least one message is required", ""),
        ("the temperature outside is not what was asked", ""),
    ],
)
def test_a_refusal_that_names_a_parameter_drops_it_and_no_other(words: str, dropped: str) -> None:
    body = json.dumps({"error": {"type": "invalid_request_error", "message": words}}).encode()
    amended = amend(Dialect(), json.dumps(SENT).encode(), WireReply(400, {}, body))
    if not dropped:
        assert amended is None
    else:
        assert amended is not None
        dialect, notice = amended
        assert dialect.dropped == {dropped} and dropped in notice


def test_an_output_limit_of_another_name_is_renamed_once() -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model."
    reply = WireReply(400, {}, json.dumps({"error": {"message": words}}).encode())
    sent = json.dumps(SENT).encode()
    amended = amend(Dialect(), sent, reply)
    assert amended is not None and amended[0].limit == "max_completion_tokens"
    other = {"error": {"message": words.replace("max_tokens", "max_completion_tokens")}}
    again = json.dumps({"model": "m", "max_completion_tokens": 5000}).encode()
    assert amend(amended[0], again, WireReply(400, {}, json.dumps(other).encode())) is None
