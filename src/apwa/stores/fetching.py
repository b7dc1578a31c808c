"""One door for all addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from apwa.stores.address import BUCKETS, is_masked, scheme_of, shown
from apwa.stores.buckets import fetch_bucket, look
from apwa.stores.progress import Broken, Fetched, Progress
from apwa.stores.web import fetch_web, web_stamp
from apwa.tables import split_part
from apwa.vocabulary import BadInput

__all__ = ["Fetched", "Progress", "fetch", "remote_stamp"]

_LOOK_S = 60.0


async def fetch(source: str, into: Path, say: Callable[[Progress], None]) -> Fetched:
    """Bring what an address names into a folder, or the rest of it if some is there.

    Raises BadInput where it cannot be had, with the reason, and without the address's query.
    """
    bring = fetch_bucket if scheme_of(source) in BUCKETS else fetch_web
    if is_masked(source):
        raise BadInput(
            "what follows the address is not kept with a run, and is needed to go on",
            source,
            "Start a new run with the whole address.",
        )
    await asyncio.to_thread(into.mkdir, parents=True, exist_ok=True, mode=0o700)
    try:
        return await bring(source, into, say)
    except Broken as error:
        raise BadInput(
            f"the transfer breaks again and again: {error}", shown(source), "Try again later."
        ) from None


async def remote_stamp(source: str) -> str | None:
    """The state of what an address names now, as ``Fetched.stamp``; None if it cannot be told."""
    if is_masked(source):
        return None
    try:
        async with asyncio.timeout(_LOOK_S):
            if scheme_of(source) in BUCKETS:
                _, found = await asyncio.to_thread(look, split_part(source)[0])
                return found.stamp
            return await web_stamp(source)
    except (BadInput, TimeoutError):
        return None
