"""A workbench, a log of turns and a model that say the same thing each time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from apwa.journal.seam import ManagerTurn
from apwa.manager import ToolAnswer
from apwa.models import ChatReply, ChatRequest, Message, PreparedChat, Tokens, ToolCall
from apwa.vocabulary import Problem, Usage

GOOD = {"redact": {"template": "Redact {{text}}", "over": "notes", "contract": {"clean": "str"}}}
BAD = {"redact": {"template": "Redact {{text}}", "over": "nots", "contract": {"clean": "str"}}}


@dataclass
class PlainBench:
    """Keeps a plan as the run does: only whole ones make a version. Counts what it is asked."""

    rows: int = 100
    steps: dict[str, Any] = field(default_factory=dict)
    kept: str = ""
    plan_version: int = 0
    asked: list[str] = field(default_factory=list)
    long: int = 0

    def cards(self) -> str:
        return f"Table notes: {self.rows:,} rows, 1 columns (row key: position)."

    def capabilities(self) -> str:
        return "None: workers can only read their row and answer."

    def plan_text(self) -> str:
        return self.kept

    async def put_steps(
        self, steps: dict[str, dict[str, Any] | None], answer: str, reason: str
    ) -> list[Problem]:
        self.asked.append("put_steps")
        merged = {**self.steps, **steps}
        self.steps = {name: step for name, step in merged.items() if step is not None}
        problems = [
            Problem(f"there is no table {step['over']!r}", f"steps.{name}.over", todo="use notes")
            for name, step in self.steps.items()
            if step.get("over", "notes") not in ("notes", *self.steps)
        ]
        text = yaml.safe_dump({"steps": self.steps, "answer": answer})
        if not problems and text != self.kept:
            self.kept, self.plan_version = text, self.plan_version + 1
        return problems

    async def describe(self, table: str) -> ToolAnswer:
        return self._answer("describe", f"card of {table}")

    async def sample(self, table: str, rows: int, columns: list[str]) -> ToolAnswer:
        return self._answer("sample", f"{rows} rows of {table}")

    async def query(self, sql: str) -> ToolAnswer:
        return self._answer("query", "x" * self.long)

    async def pilot(self) -> ToolAnswer:
        return self._answer("pilot", "The pilot ran.")

    async def failures(self, step: str) -> ToolAnswer:
        return self._answer("failures", f"Step {step}: nothing is quarantined.")

    async def run(self) -> ToolAnswer:
        return self._answer("run", f"The run is complete: {self.rows:,} rows.")

    async def answer_card(self, table: str) -> ToolAnswer:
        return self._answer("answer_card", f"card of {table}")

    def _answer(self, tool: str, text: str) -> ToolAnswer:
        self.asked.append(tool)
        return ToolAnswer(text)

    def reopened(self) -> PlainBench:
        """As after a kill: only whole plan versions are left."""
        steps = yaml.safe_load(self.kept)["steps"] if self.kept else {}
        return PlainBench(self.rows, steps, self.kept, self.plan_version, long=self.long)


class Killed(BaseException):
    pass


@dataclass
class Turns:
    """Keeps turns; dies at one of them, before or after it is durable."""

    kept: list[ManagerTurn] = field(default_factory=list)
    die_at: int = -1
    durable: bool = False

    async def append(self, message: bytes, usage: Usage, plan_version: int) -> None:
        dies = len(self.kept) == self.die_at
        if dies and not self.durable:
            raise Killed
        self.kept.append(ManagerTurn(len(self.kept) + 1, message, usage, plan_version))
        if dies:
            raise Killed

    def load(self) -> Sequence[ManagerTurn]:
        return list(self.kept)

    @property
    def messages(self) -> list[Message]:
        return [msgspec.json.decode(turn.message, type=Message) for turn in self.kept]

    @property
    def last_answer(self) -> str:
        return next(m.text for m in reversed(self.messages) if m.role in ("tool", "user"))


Say = tuple[str, dict[str, Any]] | list[tuple[str, dict[str, Any]]] | str | ChatReply


@dataclass
class Script:
    """A ChatModel whose n-th turn is the n-th line of a script, whoever asks."""

    lines: list[Say] | Callable[[int], Say]
    requests: list[ChatRequest] = field(default_factory=list)

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        turn = sum(message.role == "assistant" for message in request.messages)
        line = self.lines(turn) if callable(self.lines) else self.lines[turn]
        size = sum(len(message.text) for message in request.messages)
        tokens = Tokens(input=size // 4, output=20)
        if isinstance(line, ChatReply):
            return line
        if isinstance(line, str):
            return ChatReply(line, [], "end", tokens)
        calls = line if isinstance(line, list) else [line]
        return ChatReply(
            "", [ToolCall("same", name, json.dumps(args)) for name, args in calls], "tools", tokens
        )

    def prepare(self, request: ChatRequest) -> PreparedChat:
        raise NotImplementedError("the manager talks in whole requests")

    async def close(self) -> None:
        pass


def put(steps: dict[str, Any], answer: str = "redact") -> tuple[str, dict[str, Any]]:
    return "put_steps", {"steps": steps, "answer": answer, "reason": "a test"}


def finish(answer: str = "redact") -> tuple[str, dict[str, Any]]:
    return "finish", {"answer_table": answer, "words": "All redacted."}
