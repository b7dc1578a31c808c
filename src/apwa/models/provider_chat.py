"""A ChatModel over pydantic-ai's model classes: for providers with protocols of their own.

Slower than the lean client by an order of magnitude, and worth it where there is no other way in.
Limits, kinds of failure and token counts come out as they do there; retries and pace stay ours.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelTimeoutError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import ModelResponse, ToolCallPart
from pydantic_ai.models import Model

from apwa.models.cutting import PromptWatch
from apwa.models.dialect import Dialect
from apwa.models.failures import clip, failure_of, scrub
from apwa.models.provider_messages import messages_of, parameters_of, reply_of, settings_of
from apwa.models.repair import amend, loosened, streaming
from apwa.models.seam import (
    ChatFailure,
    ChatReply,
    ChatRequest,
    Message,
    PreparedChat,
    Text,
    WireReply,
)
from apwa.models.waits import asked_wait_s
from apwa.vocabulary import ErrorKind

_MOST_REPAIRS = 8
_MOST_KEPT = 20_000  # replies with tool calls, in case their conversations go on


class ProviderChat:
    """A model behind one of pydantic-ai's classes.

    Args:
        model: The class's instance, with its client.
        address: The provider's base address.
        key: The API key; it stands in no message or error.
        body_field: The setting by which this provider takes fields that it alone knows;
            empty: it takes none.
        raw: Settings that are fields like these, since the class would leave them out in silence.
        effort_field: The setting that takes an effort as it is; empty: there is none.
        secrets: What stands in headers and in no message.
        on_notice: Told once of each parameter that the provider refuses.
        dialect: What is known of the provider.
    """

    def __init__(
        self,
        model: Model[Any],
        address: str,
        key: str = "",
        *,
        body_field: str = "extra_body",
        raw: frozenset[str] = frozenset(),
        effort_field: str = "",
        secrets: Sequence[str] = (),
        on_notice: Callable[[str], None] = lambda notice: None,
        dialect: Dialect | None = None,
    ) -> None:
        self._model = model
        self._former: list[Model[Any]] = []  # calls may still be in flight over them
        self._secrets = [key, *secrets]
        self._effort_field = effort_field
        self._body_field = body_field
        self._raw = raw | getattr(model, "unsupported_settings", frozenset())
        profile = getattr(model, "profile", {})
        self._budgets = bool(profile.get("supports_thinking")) and (
            profile.get("anthropic_supports_adaptive_thinking") is False
        )
        self._said: set[str] = set()
        self._on_notice = on_notice
        self._watch = PromptWatch()
        self._kept: OrderedDict[str, ModelResponse] = OrderedDict()
        self._address = address
        self._dialect = dialect or Dialect()

    @property
    def base_url(self) -> str:
        return self._address

    @property
    def dialect(self) -> Dialect:
        return self._dialect

    def adopt(self, dialect: Dialect) -> None:
        """Speak so from now on, as an earlier probe has found out."""
        self._dialect = dialect

    def take_over(self, other: ProviderChat) -> None:
        """Reach the provider as ``other`` does, from the next call on."""
        if other._address != self._address:
            self._dialect, self._watch = other._dialect, other._watch
        self._former += [self._model, *other._former]
        self._model, self._address = other._model, other._address
        self._secrets = [*self._secrets, *other._secrets]

    async def get(self, url: str, timeout_s: float) -> WireReply:
        """There are no pages to fetch by this way."""
        return WireReply(404, {}, b"")

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises ChatFailure."""
        for _ in range(_MOST_REPAIRS):
            asked = self.dialect
            try:
                async with asyncio.timeout(request.timeout_s):
                    response = await self._ask(request, asked)
            except TimeoutError:
                words = f"no reply within {request.timeout_s:g} s of the call"
                raise ChatFailure(ErrorKind.TIMEOUT, words) from None
            except Exception as error:
                if self._mend(error, request, asked):
                    continue
                raise self._failure(error) from None
            self._keep(response)
            return self._looked_at(request, reply_of(response))
        raise ChatFailure(ErrorKind.BAD_REQUEST, "the provider refuses each form of the request")

    def _looked_at(self, request: ChatRequest, reply: ChatReply) -> ChatReply:
        texts = [message.text for message in request.messages]
        self._watch.check(reply.tokens, sum(map(len, texts)), lambda: "\n".join(texts))
        return reply

    def prepare(self, request: ChatRequest) -> PreparedChat:
        """All but the last user message of ``request``; nothing is saved by it here."""
        return _Prepared(self, request)

    async def close(self) -> None:
        for model in (self._model, *self._former):
            client = getattr(model, "client", None)
            apart = getattr(client, "aio", None)  # where Google's has its connections
            for close in (getattr(apart, "aclose", None), getattr(client, "close", None)):
                closing = close() if callable(close) else None
                if asyncio.iscoroutine(closing):
                    await closing

    async def _ask(self, request: ChatRequest, dialect: Dialect) -> ModelResponse:
        messages = messages_of(request, self._kept)
        settings, notices = settings_of(
            request, dialect, self._body_field, self._raw,
            effort_field=self._effort_field, budgets=self._budgets,
        )  # fmt: skip
        for notice in notices:
            if notice not in self._said:
                self._said.add(notice)
                self._on_notice(notice)
        parameters = parameters_of(request, dialect)
        if not dialect.streams:
            return await self._model.request(messages, settings, parameters)
        async with self._model.request_stream(messages, settings, parameters) as stream:
            async for _ in stream:
                pass
            return stream.get()

    def _keep(self, response: ModelResponse) -> None:
        for part in response.parts:
            if isinstance(part, ToolCallPart):
                self._kept[part.tool_call_id] = response
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _mend(self, error: Exception, request: ChatRequest, asked: Dialect) -> bool:
        """Whether the request is worth sending again, in the dialect as it now is."""
        if self.dialect is not asked:
            return True
        if isinstance(error, UserError) and request.schema is not None and not request.tools:
            amended = loosened(asked)  # what the class knows that this model cannot do
        elif isinstance(error, ModelHTTPError):
            names = _names_of(request.parameters.keys() - asked.dropped)
            sent = dict.fromkeys(names, 0)
            if request.schema is not None:
                sent["response_format" if asked.structured == "json_schema" else "tool_choice"] = 0
            amended = amend(asked, msgspec.json.encode(sent), _wire(error))
            if amended is not None:
                dropped = frozenset(names.get(name, name) for name in amended[0].dropped)
                amended = msgspec.structs.replace(amended[0], dropped=dropped), amended[1]
        else:  # an SDK's own refusal of answers that may take long
            amended = streaming(asked, str(error)) if isinstance(error, ValueError) else None
        if amended is None:
            return False
        self._dialect, notice = amended
        self._on_notice(notice)
        return True

    def _failure(self, error: Exception) -> ChatFailure:
        found = _failure_of(error)
        return ChatFailure(
            found.kind,
            clip(scrub(found.message, *self._secrets)),
            retry_after_s=found.retry_after_s,
            status=found.status,
            sent=found.sent,
        )


class _Prepared:
    def __init__(self, chat: ProviderChat, request: ChatRequest) -> None:
        self._chat = chat
        self._request = request

    async def complete_text(self, user: str, *, timeout_s: float) -> ChatReply:
        """Raises ChatFailure."""
        messages = [*self._request.messages, Message("user", [Text(user)])]
        return await self._chat.complete(
            msgspec.structs.replace(self._request, messages=messages, timeout_s=timeout_s)
        )


# What providers call a parameter, where they do not call it as everybody does.
_OTHER_NAMES = {
    "reasoning_effort": ("reasoning.effort", "effort", "thinking", "reasoning"),
    "stop": ("stop_sequences",),
    "presence_penalty": ("penalty",),
    "frequency_penalty": ("penalty",),
}


def _names_of(parameters: Iterable[str]) -> dict[str, str]:
    """The parameters by each name that a refusal may call them."""
    return {
        name: parameter
        for parameter in sorted(parameters)
        for name in (parameter, *_OTHER_NAMES.get(parameter, ()))
    }


_CATEGORIES = (  # the first that an error is
    (ModelRateLimitError, ErrorKind.RATE_LIMITED),
    (ModelQuotaExceededError, ErrorKind.ACCOUNT),
    (ModelAuthenticationError, ErrorKind.ACCOUNT),
    (ModelUnavailableError, ErrorKind.OVERLOADED),
    (ModelNotFoundError, ErrorKind.MODEL_MISSING),
    (ModelContextWindowExceededError, ErrorKind.CONTEXT_TOO_LONG),
)


def _failure_of(error: Exception) -> ChatFailure:
    category = next((kind for class_, kind in _CATEGORIES if isinstance(error, class_)), None)
    if isinstance(error, ModelHTTPError):
        found = failure_of(_wire(error))
        found.retry_after_s = found.retry_after_s or error.retry_after
        if category is not None and found.kind is ErrorKind.BAD_REQUEST:
            found.kind = category
        return found
    if category is not None:
        words = str(error)
        return ChatFailure(category, words, retry_after_s=asked_wait_s({}, words))
    if isinstance(error, ModelTimeoutError | ModelRequestTimeout):
        return ChatFailure(ErrorKind.TIMEOUT, str(error))
    if isinstance(error, ModelConnectionError):
        sent = error.phase not in ("pool", "connect")
        return ChatFailure(ErrorKind.UNREACHABLE, str(error), sent=sent)
    if isinstance(error, ContentFilterError):
        return ChatFailure(ErrorKind.FILTERED, str(error))
    if isinstance(error, UserError):
        return ChatFailure(ErrorKind.BAD_REQUEST, str(error), sent=False)
    if isinstance(error, ModelAPIError | UnexpectedModelBehavior):
        return ChatFailure(ErrorKind.SERVER_ERROR, str(error))
    return _failure_of_sdk(error)


def _failure_of_sdk(error: Exception) -> ChatFailure:
    """What pydantic-ai hands on as it is: of Google's connections, of AWS's look for keys."""
    import aiohttp

    words = f"{type(error).__name__}: {error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return ChatFailure(ErrorKind.UNREACHABLE, words, sent=False)
    if isinstance(error, aiohttp.ClientError | OSError):
        return ChatFailure(ErrorKind.UNREACHABLE, words)
    if re.search(r"Credentials|TokenRetrieval|SSOToken", type(error).__name__):
        return ChatFailure(ErrorKind.ACCOUNT, words, sent=False)
    return ChatFailure(ErrorKind.SERVER_ERROR, words)


def _wire(error: ModelHTTPError) -> WireReply:
    """The refusal as it came, so that one place reads the words of all providers."""
    body = error.body
    if isinstance(body, str | bytes):
        data = body.encode() if isinstance(body, str) else body
    else:
        data = msgspec.json.encode(body if body is not None else {"message": str(error)})
    return WireReply(error.status_code, error.headers or {}, data)
