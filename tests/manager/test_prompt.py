"""What the manager is told must be true of the plans that are accepted."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa
import pytest

from apwa.manager.prompt import SYSTEM, first_message
from apwa.manager.tools import offered_tools
from apwa.plan import TableShape, check_plan, plan_from
from apwa.tables import CheckProcess, SqlProcess

TEXT, COUNT = pa.string(), pa.int64()
TABLES = {
    "notes": {"text": TEXT},
    "summaries": {"country": TEXT, "summary": TEXT},
    "labelled": {"country": TEXT, "label": TEXT},
    "docs": {"doc": COUNT, "body": TEXT},
}


def examples() -> list[dict[str, Any]]:
    """The steps that the prompt shows."""
    found: list[dict[str, Any]] = []
    for start in (match.start() for match in re.finditer(r'\{"(template|query|rows)"', SYSTEM)):
        found.append(json.JSONDecoder().raw_decode(SYSTEM[start:])[0])
    query = re.search(r"SELECT doc, unnest.*", SYSTEM)
    assert query is not None
    return [*found, {"query": query.group()}]


def shape(name: str) -> TableShape:
    return TableShape(name, pa.schema(list(TABLES[name].items())), (), 100)


async def check(steps: dict[str, dict[str, Any]], answer: str, tables: list[str]) -> None:
    """Raises PlanError with the problems."""
    sql, checks = SqlProcess(), CheckProcess()
    try:
        plan, places = plan_from(steps, answer, "a job", {})
        await check_plan(
            plan, places, {name: shape(name) for name in tables},
            query_shape=sql.shape, check_problem=checks.check_problem, grants={}, context=None,
        )  # fmt: skip
    finally:
        await sql.close()
        await checks.close()


def test_the_prompt_shows_each_kind_of_step():
    kinds = {("reduce" if "reduce" in step else next(iter(step))) for step in examples()}
    assert kinds == {"template", "reduce", "query", "rows"}


@pytest.mark.parametrize("step", examples(), ids=lambda step: next(iter(step)))
async def test_each_step_that_the_prompt_shows_is_a_plan_without_problems(step: dict[str, Any]):
    words = step.get("over") or step.get("query", "")
    steps = {"shown": step}
    answer = "shown"
    if "rows" in step:
        steps["worked"] = {"template": "On {{city}}", "over": "shown", "contract": {"fact": "str"}}
        answer = "worked"
    await check(steps, answer, [name for name in TABLES if re.search(rf"\b{name}\b", words)])


async def test_the_types_and_checks_that_the_prompt_names_are_taken():
    kinds = ["str", "int", "float", "bool", "date", "yes | no | unclear", "list[str]", "str?"]
    kinds.append("list[{text: str, tag: str}]")
    contract = {f"f{n}": kind for n, kind in enumerate(kinds)} | {"total": "float", "score": "int"}
    assert all(kind in SYSTEM for kind in kinds)
    checks = ["output.total >= 0", "output.score BETWEEN 1 AND 5"]
    assert all(condition in SYSTEM for condition in checks)
    step = {"template": "Read {{text}}", "over": "notes", "contract": contract, "checks": checks}
    await check({"shown": step | {"limits": {"output_tokens": 2048}}}, "shown", ["notes"])


def test_each_tool_that_the_prompt_names_is_offered_and_described():
    tools = offered_tools("run")
    for tool in tools:
        assert tool.name in SYSTEM
        assert len(tool.description) > 20
        for name, schema in tool.parameters["properties"].items():
            assert schema["description"], (tool.name, name)


def test_the_first_message_is_bounded_and_says_what_is_wanted():
    text = first_message("Redact", "pilot", "c" * 1_000_000, "None.")
    assert len(text) < 60_000
    assert "<job>\nRedact\n</job>" in text
    assert "Wanted: plan and pilot: put_steps, pilot, mend if needed, then finish" in text
