"""How one endpoint and model want the OpenAI protocol spoken: found out, never looked up."""

from __future__ import annotations

from typing import Literal, Protocol, Self

import msgspec

from apwa.models.seam import ChatModel, Structured, WireReply

LimitName = Literal["max_tokens", "max_completion_tokens"]


class Dialect(msgspec.Struct, frozen=True):
    """What a client has learned about an endpoint. Kept in the journal, so plain data.

    Attributes:
        structured: How the endpoint is asked to hold to a schema.
        limit: The name of the output limit.
        dropped: Parameters that the endpoint refuses.
        renamed: The limit's name was changed once; changing it back would only go round.
        strict: Schemas that keep to the strict rules are marked so.
        schema_with_tools: A schema may be asked for beside tools. Servers that hold a schema
            by grammar could not call a tool any more, so most are asked for either.
        streams: The endpoint answers in streams only.
    """

    structured: Structured = "json_schema"
    limit: LimitName = "max_tokens"
    dropped: frozenset[str] = frozenset()
    renamed: bool = False
    strict: bool = True
    schema_with_tools: bool = False
    streams: bool = False


class LearningChat(ChatModel, Protocol):
    """A chat model that learns how its endpoint wants to be spoken to."""

    @property
    def base_url(self) -> str: ...

    @property
    def dialect(self) -> Dialect:
        """What is known as of now."""
        ...

    def adopt(self, dialect: Dialect) -> None:
        """Speak so from now on."""
        ...

    def take_over(self, other: Self) -> None:
        """Reach the endpoint as ``other`` does, from the next call on. It is not used by itself
        any more; what is in flight ends as it began."""
        ...

    async def get(self, url: str, timeout_s: float) -> WireReply:
        """Fetch a page of the endpoint. Raises ChatFailure."""
        ...
