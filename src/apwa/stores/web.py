"""Files at web addresses: one request, followed through redirects, bounded in size.

A transfer that breaks goes on where it broke off if the server can do so and the file is still the
same, else it begins anew. No message shows the address's query, which may be a key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urlsplit

from apwa.models import proxy_for
from apwa.stores.address import shown
from apwa.stores.progress import Broken, Fetched, Progress, Teller, persist
from apwa.tables import has_known_ending, split_part
from apwa.vocabulary import BadInput

if TYPE_CHECKING:
    import aiohttp

_MOST_BYTES = 1 << 40
_BLOCK = 1 << 18
_CONNECT_S, _SILENCE_S = 20.0, 60.0
_REDIRECTS = 10
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_BEGUN = ".begun.part"
_ENDINGS = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.apache.arrow.file": ".arrow",
    "application/vnd.sqlite3": ".sqlite",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "text/plain": ".txt",
    "text/markdown": ".md",
}


async def fetch_web(source: str, into: Path, say: Callable[[Progress], None]) -> Fetched:
    """Bring one file here. Raises BadInput; Broken after several tries."""
    part = _part_of(source)
    async with _session(source) as session:
        copy = _Copy(session, source, into, Teller(say, 1, None))
        await persist(copy.run, copy.got)
    local = into / copy.name
    there = shown(urldefrag(source).url)
    return Fetched(f"{local}{f'#{part}' if part else ''}", str(local), there, copy.stamp)


async def web_stamp(source: str) -> str | None:
    """The state of the file there; None if the server does not say."""
    import aiohttp

    try:
        async with (
            _session(source) as session,
            session.head(urldefrag(source).url, allow_redirects=True) as reply,
        ):
            return _stamp(reply) if reply.status == 200 else None
    except (aiohttp.ClientError, OSError):
        return None


class _Copy:
    """One file on its way."""

    def __init__(
        self, session: aiohttp.ClientSession, source: str, into: Path, teller: Teller
    ) -> None:
        self._session, self._url, self._shown = session, urldefrag(source).url, shown(source)
        self._into, self._teller = into, teller
        self._begun = into / _BEGUN
        self._begun.unlink(missing_ok=True)  # of a killed run: perhaps of another state
        self._mark = ""
        self.name = self.stamp = ""

    def got(self) -> int:
        return self._begun.stat().st_size if self._begun.exists() else 0

    async def run(self) -> None:
        import aiohttp

        have = self.got() if self._mark else 0
        headers = {"range": f"bytes={have}-", "if-range": self._mark} if have else {}
        try:
            async with self._session.get(self._url, headers=headers) as reply:
                await self._take(reply, have)
        except aiohttp.TooManyRedirects:
            raise self._refused(f"more than {_REDIRECTS} redirects follow each other") from None
        except (aiohttp.InvalidURL, ValueError):  # their words hold the address
            raise self._refused("this is no address") from None
        except aiohttp.ClientConnectorCertificateError:
            raise self._refused("the server's certificate is not to be trusted") from None
        except aiohttp.ClientConnectorError as error:
            raise Broken(f"no connection: {error.strerror or error.os_error}") from None
        except aiohttp.ClientError as error:
            raise Broken(f"the connection broke ({type(error).__name__})") from None
        except TimeoutError:
            raise Broken("the server says nothing") from None

    async def _take(self, reply: aiohttp.ClientResponse, have: int) -> None:
        self._check(reply)
        if reply.status != 206:
            have = 0
            self.name, self.stamp = self._name(reply), _stamp(reply)
            self._mark = _strong_mark(reply)
        elif not reply.headers.get("content-range", "").startswith(f"bytes {have}-"):
            self._mark = ""
            raise Broken("the server gives another piece than was asked for")
        size = None if reply.content_length is None else have + reply.content_length
        if (size or 0) > _MOST_BYTES:
            raise self._refused(f"the file is larger than {_MOST_BYTES:,} bytes")
        self._teller.expect(size)
        self._teller.size_bytes = have
        self._teller.tell(now=True)
        with self._begun.open("ab" if have else "wb") as file:
            async for block in reply.content.iter_chunked(_BLOCK):
                file.write(block)
                self._teller.size_bytes += len(block)
                self._teller.tell()
                if self._teller.size_bytes > _MOST_BYTES:
                    raise self._refused(f"the file is larger than {_MOST_BYTES:,} bytes")
        self._begun.rename(self._into / self.name)
        self._teller.done = 1
        self._teller.tell(now=True)

    def _check(self, reply: aiohttp.ClientResponse) -> None:
        """Raises BadInput for what stays wrong, Broken for what may pass."""
        schemes = [answer.url.scheme for answer in reply.history] + [reply.url.scheme]
        if "https" in schemes[:-1] and schemes[-1] == "http":
            raise self._refused("the server sends on to an address without encryption")
        status = reply.status
        if status in (200, 206):
            return
        if status in _PASSING:
            raise Broken(f"the server answers {status}")
        if status == 416:
            self._mark = ""  # the file is another one by now: begin anew
            raise Broken("the server gives no such piece")
        words = f"the server answers {status}"
        if status in (401, 403):
            raise self._refused(f"the server gives no right to read this ({status})")
        if status in (404, 410):
            raise self._refused(f"there is no such file ({status})")
        raise self._refused(words)

    def _name(self, reply: aiohttp.ClientResponse) -> str:
        """The file's name by its address, else as the server calls it, else by its type."""
        last = Path(unquote(urlsplit(self._url).path)).name
        sent = reply.content_disposition
        names = [last, Path((sent.filename or "") if sent else "").name]
        names.append((last or "file") + _ENDINGS.get(reply.content_type, ""))
        name = next((n for n in names if has_known_ending(n, alone=True)), "")
        web_page = reply.content_type in ("text/html", "application/xhtml+xml")
        if web_page and not name.lower().endswith((".html", ".htm", ".xhtml")):
            raise self._refused("the server sends a web page, and no file of rows")
        if not name:
            raise self._refused(
                f"neither the address nor the server's type, {reply.content_type!r}, says what"
                " the file is"
            )
        safe = re.sub(r"[\x00-\x1f/\\]", "_", name).lstrip(".")
        return safe[-150:]

    def _refused(self, what: str) -> BadInput:
        return BadInput(what, self._shown, "Check the address.")


@asynccontextmanager
async def _session(source: str) -> AsyncGenerator[aiohttp.ClientSession]:
    import aiohttp

    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S),
        proxy=proxy_for(source),
        # as it lies there: what is packed on the way has other bytes, and no place to go on at
        headers={"user-agent": "apwa", "accept-encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        requote_redirect_url=False,
    ) as session:
        yield session


def _part_of(source: str) -> str:
    """The sheet or table that stands after the address, which no server is told."""
    address, fragment = urldefrag(source)
    path = unquote(urlsplit(address).path)
    return split_part(f"{path}#{fragment}")[1] if fragment else ""


def _strong_mark(reply: aiohttp.ClientResponse) -> str:
    """What names this very state of the file, so that one may go on with it; else empty."""
    etag = reply.headers.get("etag", "")
    packed = reply.headers.get("content-encoding", "identity") != "identity"
    return "" if packed or etag.startswith("W/") else etag


def _stamp(reply: aiohttp.ClientResponse) -> str:
    names = ("etag", "last-modified", "content-length")
    words = [reply.headers.get(name, "") for name in names]
    return hashlib.blake2b("\n".join(words).encode(), digest_size=16).hexdigest()
