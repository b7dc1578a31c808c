"""Whether somebody listens at an address."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

_WAIT_S = 3.0
_PORTS = {"https": 443, "http": 80}
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")


def unreachable(address: str) -> str:
    """Why nobody answers at an address from here; empty if somebody does, or it may be."""
    parts = urlsplit(address)
    http = parts.scheme in ("http", "https")
    if not parts.hostname or (http and any(os.environ.get(name) for name in _PROXIES)):
        return ""  # a proxy may reach what this machine cannot
    port = parts.port or _PORTS.get(parts.scheme)
    if port is None:
        return ""
    try:
        socket.create_connection((parts.hostname, port), timeout=_WAIT_S).close()
    except TimeoutError:
        return ""
    except OSError as error:
        return f"{parts.hostname}:{port} cannot be reached: {error.strerror or error}"
    return ""
