"""One attempt at one subtask: from the row's values to an outcome.

A step without grants takes the short path: one prepared call, one look at the answer. Only an
answer that breaks the contract, or a step with tools, needs a conversation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from apwa.capabilities import ToolResult
from apwa.models import (
    ChatFailure,
    ChatModel,
    ChatReply,
    ChatRequest,
    Image,
    Message,
    Part,
    Text,
    ToolCall,
)
from apwa.plan import Contract, ContractBroken, images_of, user_message
from apwa.vocabulary import ApwaError, ErrorKind, LeaseItem, Outcome, Values, WorkSpec
from apwa.worker.calls import CallLog, bound_of
from apwa.worker.checks import Checks, Evaluator
from apwa.worker.loop import NotAccepted, OutOfTurns, agent_loop
from apwa.worker.meter import Meter, OutOfTime
from apwa.worker.tools import OpenTools, Toolbox
from apwa.worker.transcript import transcript_of

_TOKENS_OF_FORM = 64  # around system and user message, in whatever template a model has
_TOKENS_A_MESSAGE = 16
_LONGEST_MESSAGE = 2000
_LARGER = 4  # times the output limit, for a model whose thoughts have taken all of it
_LARGEST_ROOM = 32_768


class AttemptFailed(Exception):
    """Why an attempt ended without an answer, where no other error says so."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def request_of(spec: WorkSpec) -> ChatRequest:
    """The request of a step's subtasks, as far as all share it: without the row, without tools."""
    return ChatRequest(
        spec.model,
        [Message("system", [Text(spec.system)])],
        spec.limits.output_tokens,
        schema=spec.contract.schema,
        parameters=spec.parameters,
        headers=spec.headers,
        timeout_s=spec.limits.timeout_s,
    )


class OpenedStep:
    """A step on this host: what all its subtasks share, made ready once.

    Raises what a broken spec raises (ValueError), and Misuse for a capability that is not here.
    """

    def __init__(
        self, spec: WorkSpec, model: ChatModel, toolbox: Toolbox, checks: Evaluator
    ) -> None:
        toolbox.check(spec.grants)
        self.spec = spec
        self.model = model
        self.toolbox = toolbox
        self.contract = Contract(spec.contract, spec.columns)
        self.checks = Checks(spec, checks) if spec.contract.checks else None
        self.request = request_of(spec)
        self.room = spec.limits.output_tokens
        self.prepared = None if spec.grants else model.prepare(self.request)
        schema = msgspec.json.encode(spec.contract.schema)
        self.fixed_bytes = _size(spec.system) + len(schema) + _TOKENS_OF_FORM

    def widen(self) -> bool:
        """Give answers more room from now on: False if they have it already."""
        larger = min(self.spec.limits.output_tokens * _LARGER, max(self.room, _LARGEST_ROOM))
        if larger <= self.room:
            return False
        self.room = larger
        self.request = msgspec.structs.replace(self.request, max_output_tokens=larger)
        if self.prepared is not None:
            self.prepared = self.model.prepare(self.request)
        return True

    async def accept(self, reply: ChatReply, values: Values) -> bytes:
        """The answer in a reply, as canonical JSON.

        Raises:
            NotAccepted: It breaks the contract.
            AttemptFailed: It is no answer, and asking on would not make it one.
        """
        _must_be_answer(reply)
        try:
            _, answer = self.contract.parse(reply.text, values)
        except ContractBroken as broken:
            raise NotAccepted(broken.message, broken.kind) from None
        if self.checks is not None:
            broken_checks = await self.checks.broken(values, answer)
            if broken_checks:
                words = "; ".join(f"the check `{check}` is not true" for check in broken_checks)
                raise NotAccepted(words)
        return answer


async def solve(
    item: LeaseItem, opened: OpenedStep, meter: Meter, log: CallLog | None = None
) -> Outcome:
    """Make one attempt. Whatever goes wrong is an outcome; only cancelling gets out.

    Args:
        item: The subtask.
        opened: Its step.
        meter: Where its model calls pass.
        log: Filled with its calls as they happen.
    """
    log = log or CallLog()
    begun = time.monotonic()
    talk: list[Message] = []
    try:
        if opened.prepared is not None:
            answer = await _plain(item, opened, meter, log, talk)
        else:
            answer = await _with_tools(item, opened, meter, log, talk)
        return Outcome(
            item.lease_id,
            item.ordinal,
            item.generation,
            item.reuse_key,
            None,
            answer,
            "" if log.raw.encode("utf-8", "replace") == answer else log.raw,
            "",
            log.attempts,
            log.active_s,
            transcript_of(talk),
        )
    except (ChatFailure, NotAccepted, AttemptFailed) as failure:
        kind, words = failure.kind, failure.message
    except OutOfTurns as out:
        kind, words = ErrorKind.TURNS, str(out)
    except OutOfTime:
        kind, words = ErrorKind.TIMEOUT, f"longer than {opened.spec.limits.timeout_s:g} s"
    except Exception as error:  # our own defect must cost this row only
        kind, words = ErrorKind.INTERNAL, f"{type(error).__name__}: {error}"
    return Outcome(
        item.lease_id,
        item.ordinal,
        item.generation,
        item.reuse_key,
        kind,
        raw=log.raw,
        message=words[:_LONGEST_MESSAGE],
        attempts=log.attempts,
        duration_s=log.active_s or time.monotonic() - begun,
        transcript=transcript_of(talk),
    )


def _asked(spec: WorkSpec, values: Values) -> tuple[Message, int]:
    """The user message of a row, and about how many tokens its pictures have."""
    text, _ = user_message(spec, values)
    shown = images_of(spec, values)
    parts: list[Part] = [Text(text), *(Image(one.type, one.data) for one in shown)]
    return Message("user", parts), sum(one.tokens for one in shown)


async def _plain(
    item: LeaseItem, opened: OpenedStep, meter: Meter, log: CallLog, talk: list[Message]
) -> bytes:
    spec = opened.spec
    asked, tokens = _asked(spec, item.values)
    user = asked.text
    size = opened.fixed_bytes + _size(user) + tokens

    async def ask() -> ChatReply:
        prepared = opened.prepared
        assert prepared is not None

        async def send(call_id: str, left_s: float) -> ChatReply:
            if not tokens:
                return await prepared.complete_text(user, timeout_s=left_s)
            shared = opened.request
            return await opened.model.complete(
                msgspec.structs.replace(
                    shared, messages=[*shared.messages, asked], call_id=call_id, timeout_s=left_s
                )
            )

        bound = bound_of(size, opened.room, spec.price)
        return await meter.call(send, bound, spec.price, log, spec.limits.timeout_s)

    reply = await _with_room(opened, ask)
    log.raw = reply.text
    try:
        return await opened.accept(reply, item.values)
    except NotAccepted:
        if spec.limits.repairs < 1 or spec.limits.turns < 2:
            raise
    talk += [*opened.request.messages, asked]
    talk.append(Message("assistant", [Text(reply.text)]))  # the loop looks at it once more
    return await _converse(item, opened, meter, log, talk, OpenTools([]))


async def _with_tools(
    item: LeaseItem, opened: OpenedStep, meter: Meter, log: CallLog, talk: list[Message]
) -> bytes:
    asked, _ = _asked(opened.spec, item.values)
    talk += [*opened.request.messages, asked]
    try:
        tools = await opened.toolbox.open(opened.spec.grants)
    except Exception as error:
        raise _tool_trouble("a capability does not open", error) from error
    try:
        return await _converse(item, opened, meter, log, talk, tools)
    finally:
        await tools.close()


async def _converse(
    item: LeaseItem,
    opened: OpenedStep,
    meter: Meter,
    log: CallLog,
    talk: list[Message],
    tools: OpenTools,
) -> bytes:
    spec, limits = opened.spec, opened.spec.limits
    fixed = opened.fixed_bytes + len(msgspec.json.encode(tools.specs))
    fixed += sum(shown.tokens for shown in images_of(spec, item.values))

    async def complete(messages: list[Message]) -> ChatReply:
        size = fixed + sum(map(_message_size, messages))

        async def ask() -> ChatReply:
            request = msgspec.structs.replace(opened.request, messages=messages, tools=tools.specs)

            async def send(call_id: str, left_s: float) -> ChatReply:
                return await opened.model.complete(
                    msgspec.structs.replace(request, call_id=call_id, timeout_s=left_s)
                )

            bound = bound_of(size, opened.room, spec.price)
            return await meter.call(send, bound, spec.price, log, limits.timeout_s)

        reply = await _with_room(opened, ask)
        log.raw = reply.text or log.raw
        return reply

    async def call_tool(call: ToolCall) -> ToolResult:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, limits.timeout_s - log.active_s)):
                return await tools.call(call)
        except TimeoutError as error:
            raise AttemptFailed(ErrorKind.TIMEOUT, f"in the tool {call.name}: no time") from error
        except Exception as error:
            raise _tool_trouble(f"the tool {call.name} failed", error) from error
        finally:
            log.active_s += time.monotonic() - begun

    async def accept(reply: ChatReply) -> bytes:
        return await opened.accept(reply, item.values)

    return await agent_loop(
        talk,
        complete=complete,
        call_tool=call_tool,
        accept=accept,
        turns=limits.turns,
        repairs=limits.repairs,
    )


async def _with_room(opened: OpenedStep, ask: Callable[[], Awaitable[ChatReply]]) -> ChatReply:
    """A reply; once more with a larger limit where thoughts have taken all of it.

    The step then keeps the larger limit: what one row needs, most of them will.
    """
    room = opened.room
    reply = await ask()
    if reply.stop != "length" or reply.text.strip() or reply.calls:
        return reply
    if opened.room == room and not opened.widen():
        return reply
    try:
        return await ask()
    except ChatFailure as failure:
        if failure.kind in (ErrorKind.CONTEXT_TOO_LONG, ErrorKind.BAD_REQUEST):
            return reply  # there is no more room to be had
        raise


def _must_be_answer(reply: ChatReply) -> None:
    if reply.stop == "end" and reply.text:
        return
    match reply.stop:
        case "length":
            spent = f" after {reply.tokens.output:,} tokens" if reply.tokens.reported else ""
            thought = "" if reply.text.strip() else ", before it had begun"
            raise AttemptFailed(ErrorKind.CUT_OFF, f"the answer was cut off{spent}{thought}")
        case "filter":
            raise AttemptFailed(
                ErrorKind.FILTERED, reply.text or "the provider's filter stopped the answer"
            )
        case "refusal":
            raise AttemptFailed(ErrorKind.REFUSED, reply.text or "the model declined")
        case _:
            if not reply.text.strip():
                raise AttemptFailed(ErrorKind.EMPTY, "the model answered nothing")


def _tool_trouble(what: str, error: Exception) -> AttemptFailed:
    words = error if isinstance(error, ApwaError) else f"{type(error).__name__}: {error}"
    return AttemptFailed(ErrorKind.TOOL, f"{what}: {words}")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _message_size(message: Message) -> int:
    calls = sum(len(call.arguments) + len(call.name) for call in message.calls)
    return _size(message.text) + calls + _TOKENS_A_MESSAGE
