"""A server that serves less context than it could is an error before rows are paid for.

Ollama's window is small unless it is told otherwise. Elsewhere a row that does not fit is set
aside by itself; there, all that is needed is to start the server differently.
"""

from __future__ import annotations

import asyncio

from pyroaring import BitMap

from apwa.plan import TemplateStep, user_message
from apwa.runs.desk import Desk
from apwa.runs.expand import fit_of, values_of
from apwa.tables import Table, count_tokens, pilot_ordinals
from apwa.vocabulary import WorkSpec

_LOOKED_AT = 10  # rows, the longest among them


async def check_window(desk: Desk, step: TemplateStep, spec: WorkSpec, source: Table) -> None:
    """Raises Paused where the longest rows do not fit, and the server could serve more.

    With the context size in the user's own words (``--context``) it is as the user wants it.
    """
    endpoint = await desk.endpoint(step.model)
    if desk.settings.context or not endpoint.traits.widening or endpoint.context is None:
        return
    room = fit_of(spec, endpoint.context).room
    tokens = await asyncio.to_thread(_longest, spec, source, desk)
    if room is not None and tokens > room:
        raise await desk.endpoints.too_small(endpoint, spec.step, tokens, room)


def _longest(spec: WorkSpec, source: Table, desk: Desk) -> int:
    ordinals = pilot_ordinals(source, _LOOKED_AT, desk.settings.seed)
    desk.documents.ensure(source, ordinals)
    rows = values_of(spec, source, BitMap(ordinals))
    return max((count_tokens(user_message(spec, values)[0]) for _, values in rows), default=0)
