"""The seam to language models: plain requests and replies, a codec and a transport.

A codec is pure (request to bytes, bytes to reply, failure to ErrorKind), so that a request can
be printed as a ``curl`` line, hashed, or sent another way; a transport moves bytes.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from apwa.vocabulary import ErrorKind

Role = Literal["system", "user", "assistant", "tool"]


class Text(msgspec.Struct, frozen=True, tag="text"):
    text: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    media_type: str
    data: bytes


Part = Text | Image


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    name: str
    arguments: str  # JSON text as the model wrote it, perhaps broken


class Message(msgspec.Struct, frozen=True):
    """One message. ``calls`` only of the assistant, ``call_id`` only of a tool's answer."""

    role: Role
    parts: list[Part] = []
    calls: list[ToolCall] = []
    call_id: str = ""

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class ToolSpec(msgspec.Struct, frozen=True):
    name: str
    description: str
    parameters: dict[str, Any]  # a JSON Schema of an object


Structured = Literal["json_schema", "tool", "json_object", "prompt"]
"""How an endpoint can be held to a schema: by its response format, as the arguments of a forced
tool call, to any JSON object; ``prompt``: only asked in words, checked here."""


class ChatRequest(msgspec.Struct, frozen=True):
    """One call. ``schema`` is asked of the endpoint as far as it can; the caller validates."""

    model: str
    messages: list[Message]
    max_output_tokens: int
    tools: list[ToolSpec] = []
    schema: dict[str, Any] | None = None
    parameters: dict[str, Any] = {}
    headers: dict[str, str] = {}  # names in lower case; never a key
    timeout_s: float = 300.0
    call_id: str = ""


class Tokens(msgspec.Struct, frozen=True):
    """Tokens as the endpoint reports them; all 0 with ``reported`` False if it reports none."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    reported: bool = True
    cost_nusd: int | None = None  # the provider's own figure, where it gives one


Stop = Literal["end", "length", "tools", "filter", "refusal"]


class ChatReply(msgspec.Struct, frozen=True):
    text: str
    calls: list[ToolCall]
    stop: Stop
    tokens: Tokens
    model: str = ""
    request_id: str = ""
    reasoning: str = ""  # never part of the answer
    limits: dict[str, str] = {}  # rate-limit headers, as they came


class ChatFailure(Exception):
    """A call that brought no reply.

    Attributes:
        kind: What went wrong; says what follows.
        message: The provider's own words, clipped, without keys.
        retry_after_s: How long the endpoint asks to wait, if it says.
        sent: Whether the request may have reached the endpoint and may cost money.
        tokens: What the call took, where the endpoint has said it all the same.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        status: int = 0,
        sent: bool = True,
        tokens: Tokens | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after_s = retry_after_s
        self.status = status
        self.sent = sent
        self.tokens = tokens


class WireRequest(msgspec.Struct, frozen=True):
    method: str
    url: str
    headers: dict[str, str]  # without the key: the transport adds it
    body: bytes


class WireReply(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Codec(Protocol):
    """Pure: requests to bytes and back."""

    def encode(self, request: ChatRequest) -> WireRequest: ...

    def decode(self, reply: WireReply) -> ChatReply:
        """Raises ChatFailure for a reply that is none."""
        ...


class Transport(Protocol):
    async def send(self, request: WireRequest, timeout_s: float) -> WireReply:
        """Raises ChatFailure (unreachable, timeout)."""
        ...

    async def close(self) -> None: ...


class PreparedChat(Protocol):
    """Calls that share system message, tools, schema and parameters: serialised once.

    The short path of one subtask: only the user's text changes from call to call.
    """

    async def complete_text(self, user: str, *, timeout_s: float) -> ChatReply:
        """Raises ChatFailure."""
        ...


class ChatModel(Protocol):
    """A language model behind an endpoint. Cancelling the task cancels the call."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises ChatFailure."""
        ...

    def prepare(self, request: ChatRequest) -> PreparedChat:
        """Serialise everything but the last user message of ``request``, which is left out."""
        ...

    async def close(self) -> None: ...
