"""Moving bytes over aiohttp: as many connections as calls, no limit and no retry of its own.

One exception: a server may close a keep-alive connection just as a request goes out on it.
Nothing has then been answered, and the request goes once more, on a fresh connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from apwa.models.failures import clip
from apwa.models.seam import ChatFailure, WireReply, WireRequest
from apwa.vocabulary import ErrorKind

if TYPE_CHECKING:  # aiohttp takes long to import, and many commands call no model
    import aiohttp

_CONNECT_S = 20.0
_AT_ONCE_S = 1.0
_MOST_BYTES = 64 << 20  # a reply past this is no answer to anything that was asked
_WANTED_FILES = 65536


class HttpTransport:
    """Sends requests to one endpoint. Adds the key, which nothing else ever sees.

    Args:
        key: The API key; empty for none.
        key_header: The header that carries it; empty: it is a bearer token.
    """

    def __init__(self, key: str = "", key_header: str = "") -> None:
        self._key = {} if not key else key_headers(key, key_header)
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, request: WireRequest, timeout_s: float) -> WireReply:
        """Raises ChatFailure: UNREACHABLE or TIMEOUT."""
        import aiohttp

        pooled, fresh = self._sessions(request.url)
        used = SimpleNamespace(again=False, since=time.monotonic())
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    return await self._once(pooled, request, used)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    # later, the call may have been worked on, and would be paid twice
                    if not used.again or time.monotonic() - used.since > _AT_ONCE_S:
                        raise
                return await self._once(fresh, request, used)
        except aiohttp.ConnectionTimeoutError:
            raise _unreachable(f"no connection within {_CONNECT_S:g} s", sent=False) from None
        except TimeoutError:
            raise ChatFailure(
                ErrorKind.TIMEOUT, f"no reply within {timeout_s:g} s of the call"
            ) from None
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno
            why = os.strerror(number) if number else error.os_error
            words = f"no connection to {error.host}:{error.port}: {why}"
            raise _unreachable(words, sent=False) from None
        except aiohttp.InvalidURL as error:
            raise _unreachable(str(error), sent=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(f"the connection broke: {error}", sent=True) from None

    async def close(self) -> None:
        for session in (self._session, self._fresh):
            if session is not None:
                with contextlib.suppress(RuntimeError):  # its event loop is gone already
                    await session.close()
        self._session = self._fresh = None

    async def _once(
        self, session: aiohttp.ClientSession, request: WireRequest, used: SimpleNamespace
    ) -> WireReply:
        headers = request.headers
        if self._key:
            headers = {**headers, **self._key}
        async with session.request(
            request.method,
            request.url,
            data=request.body or None,
            headers=headers,
            allow_redirects=False,  # a redirect would carry the key elsewhere
            trace_request_ctx=used,
        ) as reply:
            body = await _read(reply)
            names = {name.lower(): value for name, value in reply.headers.items()}
            return WireReply(reply.status, names, body)

    def _sessions(self, url: str) -> tuple[aiohttp.ClientSession, aiohttp.ClientSession]:
        """Sessions of the running event loop: one that keeps connections, one that never does."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._fresh is None or self._loop is not loop:
            raise_file_limit()
            self._loop = loop
            proxy = proxy_for(url)
            self._session = _session(proxy, keep=True)
            self._fresh = _session(proxy, keep=False)
        return self._session, self._fresh


def key_headers(key: str, key_header: str) -> dict[str, str]:
    """A key as the header that carries it."""
    if key_header in ("", "authorization"):
        return {"authorization": f"Bearer {key}"}
    return {key_header: key}


def proxy_for(url: str) -> str | None:
    """The proxy that ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` name for an address.

    Asked once a session: aiohttp's own ``trust_env`` asks again for each call, in a thread, and
    sends passwords from a .netrc file that nobody has named.
    """
    address = urlsplit(url)
    if address.hostname is None or proxy_bypass(address.hostname):
        return None
    return getproxies().get(address.scheme)


def _session(proxy: str | None, *, keep: bool) -> aiohttp.ClientSession:
    import aiohttp

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_mark_reused)
    connector = (
        aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0, ttl_dns_cache=60)
        if keep
        else aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=60)
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        proxy=proxy,
        headers={"user-agent": "apwa"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[tracing] if keep else None,
    )


async def _mark_reused(_session: Any, context: SimpleNamespace, _params: Any) -> None:
    context.trace_request_ctx.again = True


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    if reply.content_length is not None and reply.content_length <= _MOST_BYTES:
        return await reply.read()
    body = bytearray()
    async for chunk in reply.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise ChatFailure(
                ErrorKind.SERVER_ERROR, f"the reply is longer than {_MOST_BYTES >> 20} MiB"
            )
    return bytes(body)


def _unreachable(message: str, *, sent: bool) -> ChatFailure:
    return ChatFailure(ErrorKind.UNREACHABLE, clip(message), sent=sent)


def raise_file_limit() -> None:
    """Let this process hold as many connections as the system allows it."""
    try:
        import resource
    except ImportError:  # no such limit on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
