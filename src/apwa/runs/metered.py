"""The manager's way to its model: it draws on the run's caps and waits for the endpoint's pace."""

from __future__ import annotations

import asyncio
import random

from apwa.executor import Executor
from apwa.models import ChatFailure, ChatModel, ChatReply, ChatRequest, PreparedChat
from apwa.vocabulary import ErrorKind, Follow, Paused, Price, Usage
from apwa.worker import bound_of, usage_of

_PATIENCE = 8  # waits in a row without a reply before the run is paused
_TRIES = 3  # for failures that are the call's own
_LONGEST_WAIT_S = 30.0
_TURNED_AWAY = {
    ErrorKind.RATE_LIMITED,
    ErrorKind.OVERLOADED,
    ErrorKind.ACCOUNT,
    ErrorKind.MODEL_MISSING,
}
"""Failures of calls that no model has worked on: they cost nothing."""


class MeteredModel:
    """A ChatModel that reserves each call's upper bound before it is made.

    Raises Paused where a cap, the account or the endpoint stops the manager.
    """

    def __init__(
        self, model: ChatModel, executor: Executor, holder: str, price: Price | None
    ) -> None:
        self._model = model
        self._executor = executor
        self._holder = holder
        self._price = price
        self._random = random.Random(holder)
        self.usage = Usage()

    async def complete(self, request: ChatRequest) -> ChatReply:
        for tried in range(1, _PATIENCE + _TRIES):
            try:
                return await self._once(request)
            except ChatFailure as failure:
                await self._wait_or_pause(failure, tried)
        raise AssertionError("the loop above returns or raises")

    async def _once(self, request: ChatRequest) -> ChatReply:
        async with self._executor.reserve(self._holder, self._bound(request)) as settle:
            try:
                reply = await self._model.complete(request)
            except ChatFailure as failure:
                if not failure.sent or failure.kind in _TURNED_AWAY:
                    settle(Usage())
                raise
            usage = usage_of(reply.tokens, self._price)
            if reply.tokens.reported:
                settle(usage)  # else all of the bound counts, as nobody knows
            self.usage += usage
            return reply

    async def _wait_or_pause(self, failure: ChatFailure, tried: int) -> None:
        kind = failure.kind
        waits = kind.follow is Follow.WAIT
        patient = tried < (_PATIENCE if waits else _TRIES)
        if kind.follow is Follow.PAUSE or kind.follow is Follow.QUARANTINE or not patient:
            raise Paused(
                f"the manager's model call failed ({kind.value}): {failure.message}",
                todo=kind.remedy,
            ) from failure
        backoff = self._random.uniform(0.5, 1.0) * min(_LONGEST_WAIT_S, 0.5 * 2**tried)
        await asyncio.sleep(max(failure.retry_after_s or 0.0, backoff))

    def _bound(self, request: ChatRequest) -> Usage:
        """The most a call may take: no text has more tokens than bytes."""
        size = sum(len(message.text.encode()) for message in request.messages)
        size += sum(len(call.arguments) for m in request.messages for call in m.calls)
        size += sum(len(str(tool)) for tool in request.tools) + 16 * len(request.messages)
        return bound_of(size, request.max_output_tokens, self._price)

    def prepare(self, request: ChatRequest) -> PreparedChat:
        return self._model.prepare(request)

    async def close(self) -> None:
        await self._model.close()
