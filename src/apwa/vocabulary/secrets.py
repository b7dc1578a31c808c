"""Names under which secrets travel: what stands under them is taken from nowhere but a variable."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

_SECRET = re.compile(
    r"(?:.*[-_.])?(?:key|apikey|token|secret|password|passwd|auth|authorization|cookie|sig|signature)"
)
_HARMLESS = frozenset({"idempotency-key", "x-idempotency-key", "prompt_cache_key"})


def names_secret(name: str) -> bool:
    """Whether a header, parameter or field of a query with this name would carry a secret."""
    name = name.lower()
    return name not in _HARMLESS and _SECRET.fullmatch(name) is not None


def secret_in_address(address: str) -> str:
    """The part of an endpoint's address that carries a secret, in words; empty if none does.

    The secret itself is not among the words.
    """
    try:
        parts = urlsplit(address)
        if parts.username or parts.password:
            return "a user and password"
        fields = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return ""  # no address: who opens it says so
    return next((f"a secret ({name}=…)" for name, _ in fields if names_secret(name)), "")
