"""Addresses of things that lie elsewhere, and how they may be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from apwa.vocabulary import BadInput

WEB = ("http", "https")
BUCKETS = ("s3", "gs", "az")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HIDDEN = "…"


def is_address(source: str) -> bool:
    """Whether a source is an address, and no path."""
    return _SCHEME.match(source) is not None


def scheme_of(source: str) -> str:
    """The scheme of an address. Raises BadInput for one that nothing here reads."""
    found = _SCHEME.match(source)
    scheme = found[1].lower() if found else ""
    if scheme not in (*WEB, *BUCKETS):
        known = ", ".join(f"{name}://" for name in (*BUCKETS, *WEB))
        raise BadInput(
            f"{scheme}:// is no address that can be read",
            shown(source),
            f"There are {known}; give a file by its path.",
        )
    return scheme


def shown(source: str) -> str:
    """A source as it may be shown and kept: a query may be a key, and so may a user's name."""
    found = _SCHEME.match(source)
    if found is None or found[1].lower() in BUCKETS:  # these have neither: all is the name
        return source
    rest = source[found.end() :]
    before, mark, fragment = rest.partition("#")
    before, query, _ = before.partition("?")
    host, slash, path = before.partition("/")
    if "@" in host:
        host = f"{_HIDDEN}@{host.rpartition('@')[2]}"
    part = f"{mark}{fragment}"
    return f"{found[0]}{host}{slash}{path}{f'?{_HIDDEN}' if query else ''}{part}"


def is_masked(source: str) -> bool:
    """Whether a kept source lacks what was hidden, so that it cannot be reached again."""
    if not is_address(source) or scheme_of(source) in BUCKETS:
        return False
    address = urlsplit(source)
    return address.query == _HIDDEN or (address.username or "") == _HIDDEN
