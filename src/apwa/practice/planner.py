"""The practice model as a manager: one tool call a turn, decided from the conversation alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from apwa.practice.planning.briefing import Briefing, read_briefing
from apwa.practice.planning.compose import compose
from apwa.practice.planning.draft import CannotPlan, Step
from apwa.practice.planning.intent import reason_to_refuse
from apwa.practice.planning.mend import mend_failures, mend_problems
from apwa.practice.wire import Answer, Call, ChatBody

_MOST_DRAFTS = 3
_NOT_DONE = "Not done."
_WHO = "The practice model planned this by rules; it is no language model."


@dataclass(frozen=True, slots=True)
class Turn:
    """A tool call of ours that was answered."""

    tool: str
    arguments: dict[str, Any]
    result: str

    @property
    def done(self) -> bool:
        return not self.result.startswith(_NOT_DONE)


def plan(body: ChatBody) -> Answer:
    """The next tool call of a manager's conversation."""
    offered = {tool.function.name for tool in body.tools or []}
    first = next((m.text for m in body.messages if m.role == "user"), "")
    turns = _turns(body)
    call = _next(read_briefing(first), turns, offered)
    return Answer(text=_said(call), calls=[call])


def _turns(body: ChatBody) -> list[Turn]:
    results = {m.tool_call_id: m.text for m in body.messages if m.role == "tool"}
    found: list[Turn] = []
    for message in body.messages:
        for call in message.tool_calls or []:
            if call.id in results:
                arguments = msgspec.json.decode(call.function.arguments or "{}")
                found.append(Turn(call.function.name, arguments, results[call.id]))
    return found


def _next(briefing: Briefing, turns: list[Turn], offered: set[str]) -> Call:
    if not turns:
        return _first_draft(briefing)
    last = turns[-1]
    drafts = [turn for turn in turns if turn.tool == "put_steps"]
    if not drafts:
        return _first_draft(briefing)
    answer = str(drafts[-1].arguments.get("answer", ""))
    match last.tool:
        case "put_steps" if not last.done:
            return _mended(drafts)
        case "put_steps":
            return Call("pilot", {}) if "pilot" in offered else _finish(briefing, turns, answer)
        case "pilot" if not last.done:
            return Call("refuse", {"reason": f"The pilot does not run: {last.result[:600]}"})
        case "pilot" if (step := _failing(last.result)) and _may_mend(drafts):
            return Call("failures", {"step": step})
        case "failures" if (mend := _mend_after(last, drafts)) is not None:
            return mend
        case "pilot" | "failures":
            return Call("run", {}) if "run" in offered else _finish(briefing, turns, answer)
        case "run" if not last.done:
            return Call("refuse", {"reason": f"The run came to no end: {last.result[:600]}"})
        case "run":
            return Call("answer_card", {"table": answer})
        case _:
            return _finish(briefing, turns, answer)


def _first_draft(briefing: Briefing) -> Call:
    reason = reason_to_refuse(briefing.job, briefing.capabilities)
    if reason:
        return Call("refuse", {"reason": reason})
    try:
        draft = compose(briefing)
    except CannotPlan as cannot:
        return Call("refuse", {"reason": str(cannot)})
    return Call(
        "put_steps",
        {"steps": draft.steps, "answer": draft.answer, "reason": " ".join(draft.said)},
    )


def _steps(drafts: list[Turn]) -> dict[str, Step]:
    """The steps as they stand after all drafts."""
    steps: dict[str, Step] = {}
    for draft in drafts:
        for name, step in cast("dict[str, Step | None]", draft.arguments["steps"]).items():
            if step is None:
                steps.pop(name, None)
            else:
                steps[name] = step
    return steps


def _mended(drafts: list[Turn]) -> Call:
    """The plan without what its problems name; a refusal if that does not help either."""
    problems = drafts[-1].result
    changed = mend_problems(_steps(drafts), problems) if len(drafts) < _MOST_DRAFTS else {}
    if not changed:
        return Call("refuse", {"reason": f"I find no plan without problems. {problems[:900]}"})
    return _put(changed, drafts, "The plan's problems are mended.")


def _put(changed: dict[str, Step], drafts: list[Turn], reason: str) -> Call:
    answer = drafts[-1].arguments["answer"]
    return Call("put_steps", {"steps": changed, "answer": answer, "reason": reason})


def _may_mend(drafts: list[Turn]) -> bool:
    return sum(draft.done for draft in drafts) < 2


def _failing(report: str) -> str:
    """The first step of a report with quarantined rows."""
    match = re.search(r"^Step (\w+): .*?\b([1-9][\d,]*) quarantined", report, re.M)
    return match.group(1) if match else ""


def _mend_after(last: Turn, drafts: list[Turn]) -> Call | None:
    name = str(last.arguments.get("step", ""))
    step = _steps(drafts).get(name)
    mended = mend_failures(step, last.result) if step and _may_mend(drafts) else None
    if mended is None:
        return None
    return _put({name: mended}, drafts, f"The contract of {name} is loosened after the pilot.")


def _finish(briefing: Briefing, turns: list[Turn], answer: str) -> Call:
    reasons = [str(t.arguments.get("reason", "")) for t in turns if t.tool == "put_steps"]
    said = [_WHO, *reasons[:1]]
    ran = next((t for t in reversed(turns) if t.tool == "run" and t.done), None)
    report = ran or next((t for t in reversed(turns) if t.tool == "pilot" and t.done), None)
    if report is not None:
        counts = re.findall(r"^Step (\w+): (.*? done, .*?quarantined)", report.result, re.M)
        whose = "" if ran else "In the pilot: "
        said += [f"{whose}{name}: {count}." for name, count in counts if name == answer]
        aside = [f"{name}: {count}." for name, count in counts if not re.search(r"\b0 quar", count)]
        said += [f"Set aside: {line}" for line in aside]
    said.append(f"The answer is the table {answer}.")
    return Call("finish", {"answer_table": answer, "words": " ".join(said)})


def _said(call: Call) -> str:
    """A line for the person who watches."""
    if call.name == "put_steps":
        return str(call.arguments["reason"])
    return ""
