"""What a reply that is no answer means, and how long an endpoint asks to wait."""

from __future__ import annotations

import msgspec
import pytest

from apwa.models import WireReply
from apwa.models.failures import failure_of, scrub
from apwa.models.waits import asked_wait_s, reset_wait_s
from apwa.vocabulary import ErrorKind

_NOW = "Thu, 26 Nov 2026 12:00:00 GMT"


def _reply(
    status: int, message: str = "", code: str = "", headers: dict[str, str] | None = None
) -> WireReply:
    body = msgspec.json.encode({"error": {"message": message, "code": code}})
    return WireReply(status, headers or {}, body)


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (401, "Incorrect API key provided", "invalid_api_key", ErrorKind.ACCOUNT),
        (402, "Payment required", "", ErrorKind.ACCOUNT),
        (429, "Rate limit reached for requests", "rate_limit_exceeded", ErrorKind.RATE_LIMITED),
        (429, "You exceeded your current quota", "insufficient_quota", ErrorKind.ACCOUNT),
        (404, "The model `x` does not exist", "model_not_found", ErrorKind.MODEL_MISSING),
        (
            400,
            "This model's maximum context length is 8192 tokens",
            "context_length_exceeded",
            ErrorKind.CONTEXT_TOO_LONG,
        ),
        (413, "Payload too large", "", ErrorKind.CONTEXT_TOO_LONG),
        (400, "Invalid value for messages[0]", "", ErrorKind.BAD_REQUEST),
        (400, "The response was flagged", "content_filter", ErrorKind.FILTERED),
        (400, "Image input is not enabled for this model", "", ErrorKind.NO_IMAGES),
        (400, "This model does not support image inputs.", "", ErrorKind.NO_IMAGES),
        (400, "x is not a multimodal model", "", ErrorKind.NO_IMAGES),
        (400, "At most 0 image(s) may be provided in one request.", "", ErrorKind.NO_IMAGES),
        (
            400,
            "Invalid content type. image_url is only supported by certain models.",
            "",
            ErrorKind.NO_IMAGES,
        ),
        (422, "unknown variant `image_url`, expected `text`", "", ErrorKind.NO_IMAGES),
        (404, "No endpoints found that support image input", "", ErrorKind.NO_IMAGES),
        (500, "image input is not supported - hint: provide the mmproj", "", ErrorKind.NO_IMAGES),
        (400, "You uploaded an unsupported image.", "invalid_image", ErrorKind.BAD_REQUEST),
        (400, "Image too large: at most 20 MB are supported", "", ErrorKind.BAD_REQUEST),
        (500, "The server had an error", "", ErrorKind.SERVER_ERROR),
        (502, "Bad gateway", "", ErrorKind.OVERLOADED),
        (503, "Overloaded", "", ErrorKind.OVERLOADED),
        (529, "Overloaded", "overloaded_error", ErrorKind.OVERLOADED),
        (504, "Upstream timed out", "", ErrorKind.TIMEOUT),
        (499, "The operation was cancelled.", "", ErrorKind.TIMEOUT),
        (424, "The model failed. Try your request again.", "", ErrorKind.SERVER_ERROR),
        (400, "The provided model identifier is invalid.", "", ErrorKind.MODEL_MISSING),
        (400, "Invocation with on-demand throughput isn't supported", "", ErrorKind.MODEL_MISSING),
        (
            400,
            "input length and `max_tokens` exceed context limit: 199000 + 8000 > 200000",
            "",
            ErrorKind.CONTEXT_TOO_LONG,
        ),
        (400, "This model's maximum prompt length is 131072", "", ErrorKind.CONTEXT_TOO_LONG),
        (
            422,
            "`inputs` tokens + `max_new_tokens` must be <= 8192",
            "",
            ErrorKind.CONTEXT_TOO_LONG,
        ),
        (400, "Number of input tokens exceeds maximum length", "", ErrorKind.CONTEXT_TOO_LONG),
        (
            400,
            "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens",
            "",
            ErrorKind.BAD_REQUEST,
        ),
    ],
)
def test_status_and_words_say_the_kind(
    status: int, message: str, code: str, kind: ErrorKind
) -> None:
    failure = failure_of(_reply(status, message, code))
    assert failure.kind is kind
    assert message in failure.message


def test_what_a_framework_quotes_of_the_row_does_not_say_the_kind() -> None:
    entry = {"loc": ["body"], "msg": "value is wrong", "input": "billing: out of credits"}
    body = msgspec.json.encode({"detail": [entry]})
    failure = failure_of(WireReply(422, {}, body))
    assert failure.kind is ErrorKind.BAD_REQUEST and "value is wrong" in failure.message
    assert "billing" not in failure.message


def test_what_is_turned_away_costs_nothing_and_what_broke_may_have_cost() -> None:
    assert not failure_of(_reply(429)).sent
    assert not failure_of(_reply(400)).sent
    assert failure_of(_reply(500)).sent


@pytest.mark.parametrize(
    ("headers", "text", "wait"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after": "0.5"}, "", 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, "", 0.25),
        ({"retry-after": "Thu, 26 Nov 2026 12:00:30 GMT", "date": _NOW}, "", 30.0),
        ({"retry-after": "Thu, 26 Nov 2026 11:00:00 GMT", "date": _NOW}, "", 0.0),
        ({"retry-after": "Thu, 26 Nov 2026 12:00:30 GMT"}, "", None),
        ({"retry-after": "30s"}, "", 30.0),
        ({"retry-after": "1795694430", "date": _NOW}, "", 30.0),
        ({"retry-after": "soon"}, "Please try again in 20s.", 20.0),
        ({}, "Please try again in 1m30s.", 90.0),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "No.", None),
    ],
)
def test_each_form_of_a_wait_is_understood(
    headers: dict[str, str], text: str, wait: float | None
) -> None:
    assert asked_wait_s(headers, text) == (None if wait is None else pytest.approx(wait))


def test_only_a_used_up_limit_sets_the_wait_until_its_reset() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "6s",
        "x-ratelimit-remaining-tokens": "500",
        "x-ratelimit-reset-tokens": "2m0s",
    }
    assert reset_wait_s(headers) == pytest.approx(6.0)
    failure = failure_of(_reply(429, "Slow down", headers=headers))
    assert failure.retry_after_s == pytest.approx(6.0)


def test_keys_and_passwords_in_a_providers_words_are_left_out() -> None:
    said = scrub("key hunter22-own, sk-abcdef123456, http://me:pass@host/v1", "hunter22-own")
    assert "hunter22" not in said and "abcdef" not in said and "pass@" not in said
