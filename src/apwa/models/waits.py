"""How long an endpoint asks to wait, from headers and words. Pure: reads no clock.

Dates in headers are measured against the reply's own ``Date`` header, so the two clocks need
not agree.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_AGAIN_IN = re.compile(
    r"(?:try again|retry|retrydelay|available again|resets?)\W{1,4}(?:in|after)?\W{0,3}"
    r"((?:\d+(?:\.\d+)?\s?(?:milliseconds|ms|seconds|secs?|s|minutes|mins?|m|hours?|h|days?|d)"
    r"(?![a-z])\s?)+)",
    re.IGNORECASE,
)
_EPOCH = 1_000_000_000  # a number of seconds this large is a date


def asked_wait_s(headers: dict[str, str], text: str) -> float | None:
    """Seconds the endpoint asks to wait in so many words, or None."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after", "").strip()
    if asked:
        seconds = _reset(asked, headers)  # a number, a date as one, or 30s
        if seconds is None:
            seconds = _until_date(asked, headers)
        if seconds is not None:
            return seconds
    found = _AGAIN_IN.search(text)
    return _words(found.group(1)) if found else None


def reset_wait_s(headers: dict[str, str]) -> float | None:
    """Seconds until a used-up rate limit is filled again, by its ``…-reset…`` headers.

    Where ``…-remaining…`` headers say which limit is used up, only that one counts.
    """
    waits: list[float] = []
    for name, value in headers.items():
        if "ratelimit" not in name or "-reset" not in name:
            continue
        remaining = headers.get(name.replace("-reset", "-remaining"), "0").strip()
        wait = _reset(value.strip(), headers)
        if wait is not None and remaining == "0":
            waits.append(wait)
    return max(waits, default=None)


def _reset(value: str, headers: dict[str, str]) -> float | None:
    number = _number(value)
    if number is None:
        if _WHOLE_DURATION.fullmatch(value):
            return _words(value)
        return _until_iso(value, headers)
    if number < _EPOCH:
        return number
    now = _date(headers)
    at = number / 1000 if number > _EPOCH * 1000 else number
    return None if now is None else max(0.0, at - now.timestamp())


def _words(text: str) -> float:
    short = re.sub(r"milliseconds", "ms", text.lower())
    short = re.sub(r"\s|(?<=s)ec(?:ond)?s?|(?<=m)in(?:ute)?s?|(?<=h)ours?|(?<=d)ays?", "", short)
    return sum(float(amount) * _UNITS[unit] for amount, unit in _DURATION.findall(short))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d{1,15}(\.\d{1,9})?\s*", text) else None


def _until_date(text: str, headers: dict[str, str]) -> float | None:
    now = _date(headers)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return None if now is None else max(0.0, at.timestamp() - now.timestamp())


def _until_iso(text: str, headers: dict[str, str]) -> float | None:
    now = _date(headers)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if now is None else max(0.0, at.timestamp() - now.timestamp())


def _date(headers: dict[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
