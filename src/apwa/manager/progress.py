"""How far a conversation has come, folded from its own messages, so that a resume knows it too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from apwa.manager.prompt import Upto
from apwa.models import Message, ToolCall

NOT_DONE = "Not done. "
"""How the answer to a tool call begins that did not do what was asked."""


@dataclass(slots=True)
class Progress:
    """What has been achieved, by plan version.

    Attributes:
        broken: The draft as last sent has problems; the version in force is an older one.
        piloted: The version last piloted, 0 for none.
        ran: The version last run in full, 0 for none.
    """

    broken: bool = False
    piloted: int = 0
    ran: int = 0

    def note(self, tool: str, answer: str, plan_version: int) -> None:
        """Take in the answer to a tool call, given while ``plan_version`` was in force."""
        done = not answer.startswith(NOT_DONE)
        if tool == "put_steps":
            self.broken = not done
        elif tool == "pilot" and done:
            self.piloted = plan_version
        elif tool == "run" and done:
            self.ran = plan_version

    def lacking(self, tool: str, upto: Upto, plan_version: int) -> str:
        """What has to be done before ``tool`` may be used; empty if it may."""
        if tool not in ("pilot", "run", "finish"):
            return ""
        if self.broken:
            return "The plan as you last sent it has problems. Mend them with put_steps first."
        if plan_version == 0:
            return "There is no plan yet. Send its steps with put_steps first."
        if tool == "run" and self.piloted != plan_version:
            return "This version of the plan has not been piloted. Call pilot first."
        if tool == "finish" and upto == "pilot" and self.piloted != plan_version:
            return "A pilot is wanted, and this version of the plan has had none. Call pilot first."
        if tool == "finish" and upto == "run" and self.ran != plan_version:
            return (
                "The full run is wanted, and this version of the plan has not been run. Pilot it,"
                " then call run."
            )
        return ""


def answers(messages: Sequence[Message]) -> Iterator[tuple[int, ToolCall, Message]]:
    """Each answered tool call with its answer and the answer's place."""
    calls: dict[str, ToolCall] = {}
    for place, message in enumerate(messages):
        calls |= {call.id: call for call in message.calls}
        if message.role == "tool" and message.call_id in calls:
            yield place, calls[message.call_id], message
