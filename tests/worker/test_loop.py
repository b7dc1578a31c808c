from __future__ import annotations

import msgspec
import pytest

from apwa.capabilities import ToolResult
from apwa.models import ChatReply, Message, Text, Tokens, ToolCall
from apwa.worker import NotAccepted, OutOfTurns, agent_loop


def said(text: str = "", *calls: ToolCall, stop: str = "end") -> ChatReply:
    return ChatReply(text, list(calls), "tools" if calls and stop == "end" else stop, Tokens(9, 3))


def call(name: str, number: int = 0) -> ToolCall:
    return ToolCall(f"call_{number}", name, "{}")


class Conversation:
    """A model that says its lines, a tool that counts its calls, an ear that keeps it all."""

    def __init__(self, *lines: ChatReply) -> None:
        self.lines = list(lines)
        self.tools_run: list[str] = []
        self.kept: list[Message] = []
        self.cut_after: int | None = None

    async def complete(self, messages: list[Message]) -> ChatReply:
        return self.lines[sum(message.role == "assistant" for message in messages)]

    async def call_tool(self, asked: ToolCall) -> ToolResult:
        self.tools_run.append(asked.name)
        return ToolResult([Text(f"{asked.name} says 7")], failed=asked.name == "broken")

    async def accept(self, reply: ChatReply) -> str:
        if "good" not in reply.text:
            raise NotAccepted(f"{reply.text!r} is not good")
        return reply.text

    async def keep(self, message: Message, tokens: Tokens | None) -> None:
        if len(self.kept) == self.cut_after:
            raise KeyboardInterrupt
        assert (tokens is not None) == (message.role == "assistant")
        self.kept.append(message)

    async def run(self, messages: list[Message], turns: int = 6, repairs: int = 2) -> str:
        return await agent_loop(
            messages,
            complete=self.complete,
            call_tool=self.call_tool,
            accept=self.accept,
            turns=turns,
            repairs=repairs,
            on_message=self.keep,
        )


START = [Message("system", [Text("do")]), Message("user", [Text("it")])]


async def test_tool_calls_are_answered_and_a_refused_answer_is_fed_back() -> None:
    talk = Conversation(said("", call("a"), call("broken", 1)), said("bad"), said("good"))
    messages = list(START)
    assert await talk.run(messages) == "good"
    assert talk.tools_run == ["a", "broken"]
    roles = [message.role for message in messages]
    assert roles == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    assert messages[3].text == "a says 7"
    assert messages[4].text == "Failed: broken says 7" and messages[4].call_id == "call_1"
    assert messages[6].text == (
        "Your answer was not accepted: 'bad' is not good\n"
        "Answer again with the whole corrected JSON object and nothing else."
    )
    assert talk.kept == messages[2:]


@pytest.mark.parametrize("cut_after", range(8))
async def test_a_broken_off_conversation_goes_on_where_it_stood(cut_after: int) -> None:
    lines = [said("", call("a"), call("b", 1)), said("bad"), said("", call("c")), said("good")]
    whole = list(START)
    assert await Conversation(*lines).run(whole) == "good"
    first = Conversation(*lines)
    first.cut_after = cut_after
    with pytest.raises(KeyboardInterrupt):
        await first.run(list(START))
    again = [*START, *msgspec.json.decode(msgspec.json.encode(first.kept), type=list[Message])]
    assert await Conversation(*lines).run(again) == "good"
    assert again == whole


async def test_the_last_refusal_stands_when_repairs_are_used_up() -> None:
    talk = Conversation(said("bad 1"), said("bad 2"), said("good"))
    with pytest.raises(NotAccepted, match="bad 2"):
        await talk.run(list(START), repairs=1)


async def test_a_model_that_only_calls_tools_runs_out_of_turns() -> None:
    talk = Conversation(*[said("", call("a"))] * 9)
    with pytest.raises(OutOfTurns, match="4 turns: it went on calling tools"):
        await talk.run(list(START), turns=4)
    assert len(talk.tools_run) == 4


async def test_tool_calls_of_a_reply_that_was_cut_off_are_not_run() -> None:
    talk = Conversation(said("half", call("a"), stop="length"), said("good"))
    assert await talk.run(list(START)) == "good"
    assert talk.tools_run == []
