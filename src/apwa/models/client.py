"""The lean chat client: codec and transport joined, with what it has learned of the endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from apwa.models.cutting import PromptWatch
from apwa.models.dialect import Dialect
from apwa.models.failures import clip, scrub
from apwa.models.openai_codec import OpenAICodec, encode_json
from apwa.models.repair import amend
from apwa.models.seam import (
    ChatFailure,
    ChatReply,
    ChatRequest,
    PreparedChat,
    Transport,
    WireReply,
    WireRequest,
)
from apwa.models.transport import HttpTransport

_MOST_REPAIRS = 8  # more than the dialect has ways to change for one request


def _be_silent(_notice: str) -> None:
    pass


class LeanChat:
    """A ChatModel over an OpenAI-protocol endpoint.

    Args:
        base_url: The endpoint's address, with its ``/v1``.
        key: The API key; empty for none. It stands in no message, error or request printed.
        key_header: The header that carries the key, if not ``authorization``.
        dialect: What is known of the endpoint.
        headers: Further headers of each request.
        secrets: What stands in these headers and in no message.
        on_notice: Told once of each parameter that the endpoint refuses.
        transport: Another way to move bytes.
    """

    def __init__(
        self,
        base_url: str,
        key: str = "",
        *,
        key_header: str = "",
        dialect: Dialect | None = None,
        headers: dict[str, str] | None = None,
        secrets: Sequence[str] = (),
        on_notice: Callable[[str], None] = _be_silent,
        transport: Transport | None = None,
    ) -> None:
        self._key = key
        self._headers = headers or {}
        self._secrets = [key, *self._headers.values(), *secrets]
        self._on_notice = on_notice
        self._transport = transport or HttpTransport(key, key_header)
        self._former: list[Transport] = []  # calls may still be in flight over them
        self._codec = OpenAICodec(base_url, dialect, headers)
        self.watch = PromptWatch()

    @property
    def codec(self) -> OpenAICodec:
        """The codec as of now: a notice may have changed its dialect since."""
        return self._codec

    @property
    def base_url(self) -> str:
        return self._codec.base_url

    @property
    def dialect(self) -> Dialect:
        return self._codec.dialect

    def adopt(self, dialect: Dialect) -> None:
        """Speak so from now on, as an earlier probe has found out."""
        if dialect != self._codec.dialect:
            self._codec = OpenAICodec(self._codec.base_url, dialect, self._headers)

    def take_over(self, other: LeanChat) -> None:
        """Reach the endpoint as ``other`` does, from the next call on."""
        dialect = other.dialect
        if other.base_url == self.base_url:
            dialect = self.dialect  # what was learned of it
        else:
            self.watch = other.watch
        self._former += [self._transport, *other._former]
        self._key, self._headers, self._transport = other._key, other._headers, other._transport
        self._secrets = [*self._secrets, *other._secrets]
        self._codec = OpenAICodec(other.base_url, dialect, other._headers)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises ChatFailure."""
        reply = await self.exchange(lambda codec: codec.encode(request), request.timeout_s)
        texts = [message.text for message in request.messages]
        self.watch.check(reply.tokens, sum(map(len, texts)), lambda: "\n".join(texts))
        return reply

    def prepare(self, request: ChatRequest) -> PreparedChat:
        """Serialise everything but the last user message of ``request``, which is left out."""
        return _Prepared(self, request)

    async def get(self, url: str, timeout_s: float) -> WireReply:
        """Fetch a page of the endpoint, such as its list of models. Raises ChatFailure."""
        wire = WireRequest("GET", url, {"accept": "application/json"}, b"")
        try:
            return await self._transport.send(wire, timeout_s)
        except ChatFailure as failure:
            raise self._without_key(failure) from None

    async def close(self) -> None:
        for transport in (self._transport, *self._former):
            await transport.close()

    async def exchange(
        self, encode: Callable[[OpenAICodec], WireRequest], timeout_s: float
    ) -> ChatReply:
        """Send what ``encode`` makes, mending its form where the endpoint asks for another.

        Raises:
            ChatFailure: The call brought no reply.
        """
        try:
            repairs = 0
            while True:
                codec = self._codec
                wire = encode(codec)
                reply = await self._transport.send(wire, timeout_s)
                if reply.status not in (400, 422) or repairs == _MOST_REPAIRS:
                    return codec.decode(reply)
                if not self._mend(codec, wire, reply):
                    return codec.decode(reply)
                repairs += 1
        except ChatFailure as failure:
            raise self._without_key(failure) from None

    def _mend(self, codec: OpenAICodec, wire: WireRequest, reply: WireReply) -> bool:
        """Whether the request is worth sending again, in the dialect as it now is."""
        if self._codec is not codec:  # another call has mended it meanwhile
            return True
        amended = amend(codec.dialect, wire.body, reply)
        if amended is None:
            return False
        dialect, notice = amended
        self.adopt(dialect)
        self._on_notice(notice)
        return True

    def _without_key(self, failure: ChatFailure) -> ChatFailure:
        return ChatFailure(
            failure.kind,
            clip(scrub(failure.message, *self._secrets)),
            retry_after_s=failure.retry_after_s,
            status=failure.status,
            sent=failure.sent,
            tokens=failure.tokens,
        )


class _Prepared:
    """The short path: one concatenation a call, and no request object."""

    def __init__(self, chat: LeanChat, request: ChatRequest) -> None:
        self._chat = chat
        self._request = msgspec.structs.replace(request, call_id="")
        self._codec = chat.codec
        self._halves = self._codec.halves(self._request)
        self._shared = "\n".join(message.text for message in request.messages)

    async def complete_text(self, user: str, *, timeout_s: float) -> ChatReply:
        """Raises ChatFailure."""
        text = encode_json(user)

        def encode(codec: OpenAICodec) -> WireRequest:
            if codec is not self._codec:
                self._halves = codec.halves(self._request)
                self._codec = codec
            before, after = self._halves
            headers = codec.headers_of(self._request)
            return WireRequest("POST", codec.url, headers, before + text + after)

        reply = await self._chat.exchange(encode, timeout_s)
        size = len(self._shared) + len(user)
        self._chat.watch.check(reply.tokens, size, lambda: f"{self._shared}\n{user}")
        return reply
