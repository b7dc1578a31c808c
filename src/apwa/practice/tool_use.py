"""A worker's tools: work out what a row asks to compute, look up what it asks to look up.

One call a tool at most, made from the row's own values; its result goes into the answer's
fields that ask for it.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from apwa.practice.request import Work
from apwa.practice.solve import solve
from apwa.practice.wire import Answer, Call, ChatBody, Function

_COMPUTE = re.compile(
    r"\b(comput|calculat|work out|evaluat|add up|multipl|sum of|arithmetic)", re.I
)
_LOOK = re.compile(r"\b(look(?:ed|ing|s)?[ -]?up|lookup|find in the table|from the list)\b", re.I)
_SUM = re.compile(r"[(\d][\d\s.+*/()%-]*[+*/%-][\d\s.+*/()%-]*[\d)]")


def use_tools(body: ChatBody, work: Work) -> Answer | None:
    """The tool call to make now, or the answer with the results; None if no tool is due."""
    offered = {tool.function.name: tool.function for tool in body.tools or []}
    if not offered:
        return None
    results = [m.text for m in body.messages if m.role == "tool"]
    if results:
        return Answer(_with_result(solve(work), results[-1]))
    for name, function in offered.items():
        argument = _argument(name, work)
        if argument:
            return Answer(calls=[Call(name, {_parameter(function): argument})])
    return None


def _argument(tool: str, work: Work) -> str:
    """What to hand the tool; empty if the instruction does not ask for it."""
    if re.search("calc|math", tool) and _COMPUTE.search(work.instruction):
        found = _SUM.search(work.text)
        return found.group().strip() if found else ""
    if re.search("look", tool) and _LOOK.search(work.instruction):
        named = re.findall(r"<([a-z0-9_]+)>", work.instruction)
        keys = [work.fields[name] for name in named if name in work.fields]
        return min(keys or list(work.fields.values()), key=len, default="").strip()
    return ""


def _parameter(function: Function) -> str:
    properties = cast("dict[str, Any]", function.parameters.get("properties") or {})
    return next(iter(properties), "input")


def _with_result(answer: str, result: str) -> str:
    """The answer with the tool's result in the fields that it was made for."""
    try:
        fields: Any = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        return result
    if not isinstance(fields, dict):
        return answer
    number = re.search(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", result)
    record = _record(result)
    filled: dict[str, Any] = {}
    for name, value in cast("dict[str, Any]", fields).items():
        if name in record and type(record[name]) is type(value):
            filled[name] = record[name]
        elif isinstance(value, bool):
            filled[name] = value
        elif isinstance(value, int | float) and number and not record:
            exact = float(number.group())
            filled[name] = int(exact) if isinstance(value, int) and exact.is_integer() else exact
        elif isinstance(value, str) and len(fields) == 1:
            filled[name] = result
        else:
            filled[name] = value
    return msgspec.json.encode(filled).decode()


def _record(result: str) -> dict[str, Any]:
    try:
        found: Any = msgspec.json.decode(result)
    except msgspec.DecodeError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
