"""The agent loop: call the model, run its tool calls, feed refusals back, stop at the limits.

Workers and the manager share it. What it shall do next follows from the conversation alone, so
a conversation that was kept and broken off goes on where it stood: tool calls without an answer
are run (again), an answer that nobody has looked at is looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from apwa.capabilities import ToolResult
from apwa.models import ChatReply, Message, Part, Text, Tokens, ToolCall
from apwa.vocabulary import ErrorKind

T = TypeVar("T")

_BROKEN_OFF = ("length", "filter", "refusal")  # tool calls of such a reply are not to be trusted


class NotAccepted(Exception):
    """An answer that does not do. The model is told and may answer again.

    Attributes:
        message: What is wrong with it.
        kind: What this is if it stays so.
        feedback: What the model is told.
    """

    def __init__(
        self, message: str, kind: ErrorKind = ErrorKind.CONTRACT, feedback: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.feedback = feedback or (
            f"Your answer was not accepted: {message}\n"
            "Answer again with the whole corrected JSON object and nothing else."
        )


class OutOfTurns(Exception):
    """The model has used all its turns. The message says what the last one lacked."""


async def agent_loop(
    messages: list[Message],
    *,
    complete: Callable[[list[Message]], Awaitable[ChatReply]],
    call_tool: Callable[[ToolCall], Awaitable[ToolResult]],
    accept: Callable[[ChatReply], Awaitable[T]],
    turns: int,
    repairs: int,
    on_message: Callable[[Message, Tokens | None], Awaitable[None]] | None = None,
) -> T:
    """Converse until ``accept`` takes an answer, and return what it makes of it.

    Args:
        messages: The conversation so far; grows in place.
        complete: One model call over the conversation.
        call_tool: Runs one tool call. What it raises ends the loop.
        accept: Makes the result of an answer without tool calls, or raises NotAccepted.
            Anything else that it raises ends the loop.
        turns: Model calls in all, those in ``messages`` included.
        repairs: How often an answer that is not accepted is fed back.
        on_message: Awaited for each new message before anything else happens, with the tokens of
            the model's own.

    Raises:
        NotAccepted: The answer was still not accepted after all repairs.
        OutOfTurns: There was no answer within the turns.
    """

    async def say(message: Message, tokens: Tokens | None = None) -> None:
        messages.append(message)
        if on_message is not None:
            await on_message(message, tokens)

    taken = sum(message.role == "assistant" for message in messages)
    refused = 0
    lacking = "it went on calling tools"
    reply: ChatReply | None = None
    while True:
        for call in unanswered(messages):
            result = await call_tool(call)
            await say(Message("tool", _said(result), call_id=call.id))
        if messages[-1].role == "assistant":
            try:
                return await accept(reply or _kept_reply(messages[-1]))
            except NotAccepted as refusal:
                refused += 1
                if refused > repairs:
                    raise
                lacking = refusal.message
                await say(Message("user", [Text(refusal.feedback)]))
        if taken >= turns:
            raise OutOfTurns(f"no answer was accepted in {turns} turns: {lacking}")
        reply = await complete(messages)
        taken += 1
        await say(spoken(reply), reply.tokens)


def unanswered(messages: list[Message]) -> list[ToolCall]:
    """The tool calls of the last assistant message that have no answer yet."""
    answered: set[str] = set()
    for message in reversed(messages):
        if message.role == "assistant":
            return [call for call in message.calls if call.id not in answered]
        if message.role != "tool":
            return []
        answered.add(message.call_id)
    return []


def spoken(reply: ChatReply) -> Message:
    """A reply as a message of the conversation."""
    calls = [] if reply.stop in _BROKEN_OFF else reply.calls
    return Message("assistant", [Text(reply.text)] if reply.text else [], calls=calls)


def _kept_reply(message: Message) -> ChatReply:
    return ChatReply(message.text, [], "end", Tokens(reported=False))


def _said(result: ToolResult) -> list[Part]:
    return [Text("Failed: "), *result.parts] if result.failed else result.parts
