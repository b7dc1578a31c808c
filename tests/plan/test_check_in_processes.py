"""Plan checks with the processes that runs use for queries and checks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pyarrow as pa
import pytest

from apwa.plan import CheckedPlan, TableShape, check_plan, load_plan
from apwa.tables import CheckProcess, SqlProcess
from apwa.vocabulary import PlanError

NOTES = TableShape("notes", pa.schema([("id", pa.int64()), ("text", pa.string())]), ("id",), 5)


@pytest.fixture
async def processes() -> AsyncIterator[tuple[SqlProcess, CheckProcess]]:
    sql, checks = SqlProcess(), CheckProcess()
    yield sql, checks
    await sql.close()
    await checks.close()


async def check(text: str, processes: tuple[SqlProcess, CheckProcess]) -> CheckedPlan:
    sql, checks = processes
    plan, places = load_plan(text, "plan.yaml")
    return await check_plan(
        plan, places, {"notes": NOTES}, query_shape=sql.shape,
        check_problem=checks.check_problem, grants={}, context=8192,
    )  # fmt: skip


async def test_chunks_are_worked_and_joined(processes: tuple[SqlProcess, CheckProcess]) -> None:
    checked = await check(
        """\
apwa: 1
steps:
  parts:
    query: |
      SELECT id, u.part AS part, tokens(u.part) AS size
      FROM notes, unnest(chunk(text, 500)) AS u(part)
  read:
    template: "Say what stands in {{part}}"
    over: parts
    contract: {told: str, day: "date?"}
    checks: ["length(output.told) <= 2 * input.size", "output.day IS NULL OR output.told <> ''"]
  all:
    template: "Join {{told}}"
    over: read
    contract: {told: str}
    reduce: {by: [id]}
""",
        processes,
    )
    assert checked.order == ["parts", "read", "all"]
    assert checked.shapes["parts"].schema == pa.schema(
        [("id", pa.int64()), ("part", pa.string()), ("size", pa.int64())]
    )
    assert checked.shapes["all"].schema.names == ["id", "told", "items", "missing"]


async def test_what_the_processes_refuse_is_a_problem_with_its_place(
    processes: tuple[SqlProcess, CheckProcess],
) -> None:
    with pytest.raises(PlanError) as raised:
        await check(
            """\
apwa: 1
steps:
  few:
    query: |
      SELECT id,
        texts
      FROM notes
  read:
    template: "Read {{text}}"
    over: notes
    contract: {told: str}
    checks: ["(SELECT count(*) FROM notes) > 0", "output.tld <> ''"]
answer: read
""",
            processes,
        )
    lines = [problem.line for problem in raised.value.problems]
    words = str(raised.value)
    assert {6, 12} <= set(lines)
    assert words.count("checks[") == 2
    assert "texts" in words
