"""The agent that turns a job into a plan, tries it, mends it and has it run.

The loop is the workers' own: ask the model, run its tool calls one after the other, keep every
message before the next thing happens. So a run that was killed anywhere goes on from its last kept
message: a tool call without an answer is made again, which does no harm, since the workbench's
tools go on from where the journal stands. The end is a tool call too, and is never answered, so a
run that was killed right after it ends in the same way again.

What the model reads is bounded whatever the data: the workbench bounds each answer, the loop clips
it again, and old answers shrink to their beginnings once there is a lot of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import yaml

from apwa.capabilities import ToolResult
from apwa.manager.progress import NOT_DONE, Progress, answers
from apwa.manager.prompt import SYSTEM, Upto, first_message
from apwa.manager.tools import (
    AnswerCard,
    BadCall,
    Describe,
    Failures,
    Finish,
    Pilot,
    PutSteps,
    Query,
    Refuse,
    Run,
    Sample,
    Tool,
    offered_tools,
    read_call,
)
from apwa.manager.turns import TurnLog
from apwa.manager.workbench import ToolAnswer, Workbench
from apwa.models import ChatModel, ChatReply, ChatRequest, Message, Role, Text, Tokens, ToolCall
from apwa.vocabulary import JobRefused, Problem, RunFailed, Usage
from apwa.worker import NotAccepted, OutOfTurns, agent_loop

MAX_TURNS = 40  # model calls between two starts; to resume is a person's word for some more
_MAX_CALLS = 8  # tool calls of one turn that are looked at
_MAX_REMINDERS = 4  # turns without a tool call
_OUTPUT_TOKENS = 8192
_CLIP = 12_000  # characters of one tool's answer
_MEMORY = 160_000  # characters of all tool answers, before old ones shrink
_SHRUNK = 400
_RECENT = 6  # messages that never shrink

_REMINDER = (
    "That called no tool, so nothing happened. Go on with a tool call; end with finish or refuse."
)
_CUT_OFF = (
    "Your message was cut off at the output limit. Write less: put_steps keeps the steps sent"
    " before, so send a few at a time."
)


@dataclass(frozen=True, slots=True)
class ManagerEnd:
    """The step whose table is the answer, and the manager's words about it."""

    answer: str
    words: str


class _Finished(Exception):
    """Carries the end out of the loop."""

    def __init__(self, end: ManagerEnd) -> None:
        super().__init__()
        self.end = end


class Manager:
    """Plans one job over a workbench. Its use of tokens does not grow with the rows."""

    def __init__(
        self,
        model: ChatModel,
        model_name: str,
        workbench: Workbench,
        turns: TurnLog,
        *,
        on_said: Callable[[str, str], None],
    ) -> None:
        self._model = model
        self._model_name = model_name
        self._bench = workbench
        self._turns = turns
        self._on_said = on_said
        self._upto: Upto = "run"
        self._messages: list[Message] = []
        self._progress = Progress()

    async def plan_and_run(self, job: str, upto: str) -> ManagerEnd:
        """Work the job as far as wanted (plan, pilot or run), or go on where it was left.

        Raises JobRefused with the manager's reason, RunFailed if it comes to no end, and whatever
        stops the run underneath (Paused).
        """
        self._upto = msgspec.convert(upto, Upto)
        await self._take_up(job)
        spoken = sum(message.role == "assistant" for message in self._messages)
        try:
            await agent_loop(
                self._messages,
                complete=self._complete,
                call_tool=self._call_tool,
                accept=self._remind,
                turns=spoken + MAX_TURNS,
                repairs=_MAX_REMINDERS,
                on_message=self._keep,
            )
        except _Finished as finished:
            return finished.end
        except (OutOfTurns, NotAccepted) as stuck:
            raise RunFailed(
                "the manager came to no end with this job",
                todo="Resume with another --manager-model, or say the job in other words.",
            ) from stuck
        raise AssertionError("the loop above only ends by raising")

    # ---- the conversation

    async def _take_up(self, job: str) -> None:
        kept = list(self._turns.load())
        self._messages = [msgspec.json.decode(turn.message, type=Message) for turn in kept]
        for place, call, answer in answers(self._messages):
            self._progress.note(call.name, answer.text, kept[place].plan_version)
        if not self._messages:
            await self._say("system", SYSTEM)
        if len(self._messages) == 1:
            cards, capabilities = self._bench.cards(), self._bench.capabilities()
            await self._say("user", first_message(job, self._upto, cards, capabilities))
        if self._progress.broken:
            await self._send_draft_again()

    async def _send_draft_again(self) -> None:
        """The workbench keeps only whole plans: give it back the steps that had problems."""
        draft: list[ToolCall] = []
        for _, call, answer in answers(self._messages):
            if call.name == "put_steps":
                draft = [*draft, call] if answer.text.startswith(NOT_DONE) else []
        for call in draft:
            try:
                tool = read_call(call, offered_tools(self._upto))
            except BadCall:
                continue
            assert isinstance(tool, PutSteps)
            await self._bench.put_steps(tool.steps, tool.answer, tool.reason)

    async def _say(self, role: Role, text: str) -> None:
        message = Message(role, [Text(text)])
        self._messages.append(message)
        await self._keep(message, None)

    async def _keep(self, message: Message, tokens: Tokens | None) -> None:
        """Make a message durable before anything follows from it."""
        usage = Usage()
        if tokens is not None:
            t = tokens
            usage = Usage(1, t.input, t.output, t.cached, t.reasoning, t.cost_nusd)
        await self._turns.append(msgspec.json.encode(message), usage, self._bench.plan_version)
        if message.role == "assistant" and message.text.strip():
            self._on_said(_one_line(message.text), "")

    async def _complete(self, messages: list[Message]) -> ChatReply:
        reply = await self._model.complete(
            ChatRequest(
                self._model_name,
                remembered(messages),
                _OUTPUT_TOKENS,
                tools=offered_tools(self._upto),
            )
        )
        if reply.stop in ("refusal", "filter"):
            said = _one_line(reply.text) or reply.stop
            raise JobRefused(f"the manager's model declined the job: {said}")
        # ids of our own: some endpoints give none, or the same ones in each turn
        calls = [
            ToolCall(f"call_{len(messages)}_{n}", call.name, call.arguments)
            for n, call in enumerate(reply.calls[:_MAX_CALLS])
        ]
        # an empty message of its own would be refused by some endpoints in the next turn
        text = reply.text or ("" if calls else "(no words)")
        return msgspec.structs.replace(reply, text=text, calls=calls)

    async def _remind(self, reply: ChatReply) -> None:
        """Nothing but a tool call gets on: words alone are answered with a reminder."""
        cut_off = reply.stop == "length"
        raise NotAccepted("no tool was called", feedback=_CUT_OFF if cut_off else _REMINDER)

    # ---- the tools

    async def _call_tool(self, call: ToolCall) -> ToolResult:
        text = clipped(await self._answer(call))
        self._progress.note(call.name, text, self._bench.plan_version)
        return ToolResult([Text(text)])

    async def _answer(self, call: ToolCall) -> str:
        try:
            tool = read_call(call, offered_tools(self._upto))
        except BadCall as bad:
            self._on_said(_one_line(str(bad)), call.name[:40])
            return _not_done(str(bad))
        self._on_said(_summary(tool), call.name)
        lacking = self._progress.lacking(call.name, self._upto, self._bench.plan_version)
        if lacking:
            return _not_done(lacking)
        match tool:
            case Refuse(reason=reason):
                raise JobRefused(reason.strip() or "the manager refused the job")
            case Finish(answer_table=answer, words=words):
                return self._finish(answer, words)
            case PutSteps(steps=steps, answer=answer, reason=reason):
                problems = await self._bench.put_steps(steps, answer, reason)
                return self._plan_answer(problems)
            case _:
                answered = await self._use(tool)
                return _not_done(answered.text) if answered.failed else answered.text

    async def _use(self, tool: Tool) -> ToolAnswer:
        bench = self._bench
        match tool:
            case Describe(table=table):
                return await bench.describe(table)
            case Sample(table=table, rows=rows, columns=columns):
                return await bench.sample(table, rows, columns)
            case Query(sql=sql):
                return await bench.query(sql)
            case Pilot():
                return await bench.pilot()
            case Failures(step=step):
                return await bench.failures(step)
            case Run():
                return await bench.run()
            case AnswerCard(table=table):
                return await bench.answer_card(table)
            case _:
                raise AssertionError(f"{tool} is answered elsewhere")

    def _plan_answer(self, problems: list[Problem]) -> str:
        if problems:
            one = len(problems) == 1
            count = "one problem. Mend it" if one else f"{len(problems)} problems. Mend all of them"
            lines = [f"{number}. {problem}" for number, problem in enumerate(problems, 1)]
            listed = "\n".join(lines)
            return _not_done(
                f"The plan has {count}, then put_steps with the changed steps only:\n{listed}"
            )
        following = {"plan": "finish", "pilot": "pilot", "run": "pilot"}[self._upto]
        steps = ", ".join(self._steps())
        return (
            f"Version {self._bench.plan_version} of the plan has no problems. Steps: {steps}."
            f" Next: {following}."
        )

    def _finish(self, answer: str, words: str) -> str:
        steps = self._steps()
        if answer not in steps:
            return _not_done(
                f"answer_table must be a step of the plan, and {answer[:80]!r} is none."
                f" Steps: {', '.join(steps)}."
            )
        raise _Finished(ManagerEnd(answer, words))

    def _steps(self) -> list[str]:
        plan = yaml.safe_load(self._bench.plan_text())
        return list(plan["steps"])


# ---- messages


def remembered(messages: list[Message]) -> list[Message]:
    """The conversation as the model gets it: old answers of tools shrunk once there is much."""
    if sum(len(m.text) for m in messages if m.role == "tool") <= _MEMORY:
        return list(messages)
    old, recent = messages[:-_RECENT], messages[-_RECENT:]
    return [_shrunk(m) if m.role == "tool" else m for m in old] + recent


def _shrunk(message: Message) -> Message:
    text = message.text
    if len(text) <= _SHRUNK:
        return message
    text = text[:_SHRUNK] + "\n… (the rest of this old answer is left out; call the tool again)"
    return Message("tool", [Text(text)], call_id=message.call_id)


def clipped(text: str) -> str:
    if len(text) <= _CLIP:
        return text
    return text[:_CLIP] + f"\n… ({len(text) - _CLIP:,} more characters are left out)"


def _not_done(text: str) -> str:
    return NOT_DONE + text


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:300] + "…"


def _summary(tool: Tool) -> str:
    """What a tool is called for, in one line for the person who watches."""
    match tool:
        case PutSteps(steps=steps, reason=reason):
            return _one_line(reason or "steps " + ", ".join(steps))
        case Describe(table=table) | AnswerCard(table=table):
            return _one_line(table)
        case Sample(table=table, rows=rows):
            return _one_line(f"{rows} rows of {table}")
        case Query(sql=sql):
            return _one_line(sql)
        case Failures(step=step):
            return _one_line(step)
        case Finish(words=words):
            return _one_line(words)
        case Refuse(reason=reason):
            return _one_line(reason)
        case _:
            return ""
