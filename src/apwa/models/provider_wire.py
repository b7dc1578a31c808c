"""What a provider's own SDK would send: the SDK says it to a listener of ours, which refuses it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import msgspec

from apwa.models.addressing import Way
from apwa.models.dialect import Dialect
from apwa.models.providers import PROVIDERS, open_native
from apwa.models.seam import ChatFailure, ChatRequest, WireRequest

if TYPE_CHECKING:
    from aiohttp import web

_STAND_IN = "no-key"  # an SDK wants one
_WITHIN_S = 60.0
# What a provider goes by. Others are about the SDK itself and the connection, are a key's or a
# signature's, which are the shell's to add, or come from the environment, and may be secret.
_WANTED = frozenset(("accept", "anthropic-beta", "anthropic-version", "content-type"))


async def native_wire(
    way: Way, request: ChatRequest, dialect: Dialect
) -> tuple[WireRequest, str] | None:
    """The request as the provider's SDK makes it, addressed to the provider, without a key; and the
    header in which that SDK carries the key, empty where it is a bearer token.

    Nothing leaves this machine. None if the SDK makes no request of it. Raises Misuse where the
    libraries are missing.
    """
    from aiohttp import web

    found: list[tuple[WireRequest, str]] = []
    real = urlsplit(way.address)
    wanted = _WANTED | way.headers.keys() | request.headers.keys()

    async def listen(asked: web.Request) -> web.Response:
        url = urlunsplit((real.scheme, real.netloc, asked.raw_path, "", ""))
        headers = {
            name.lower(): value for name, value in asked.headers.items() if name.lower() in wanted
        }
        carrying = [name.lower() for name, value in asked.headers.items() if value == _STAND_IN]
        wire = WireRequest(asked.method, url, headers, await asked.read())
        found.append((wire, carrying[0] if carrying else ""))
        return web.json_response({"message": "only looked at"}, status=400)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", listen)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        here = f"127.0.0.1:{runner.addresses[0][1]}"
        address = urlunsplit(("http", here, real.path.rstrip("/"), real.query, ""))
        chat = open_native(way.provider, request.model, _STAND_IN, address, way.headers, _unheard)
        chat.adopt(dialect)
        try:
            await chat.complete(msgspec.structs.replace(request, timeout_s=_WITHIN_S))
        except ChatFailure:
            pass  # as it should be
        finally:
            await chat.close()
    finally:
        await runner.cleanup()
    return found[0] if found else None


def shell_options(way: Way) -> str:
    """What a shell's ``curl`` needs besides, for a provider whose requests are signed."""
    return PROVIDERS[way.provider].curl_options


def _unheard(notice: str) -> None:
    """What is refused here says nothing of the provider."""
