from __future__ import annotations

import asyncio
import datetime
import decimal
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pytest

from apwa.tables import CheckProcess, plain_rows
from apwa.vocabulary import ContractSpec, TagSpec, WorkSpec
from apwa.worker.checks import Checks, column_of


@pytest.fixture
async def process() -> AsyncIterator[CheckProcess]:
    process = CheckProcess()
    yield process
    await process.close()


def a_step(checks: list[str], input_types: dict[str, str]) -> WorkSpec:
    schema = {
        "type": "object",
        "properties": {"total": {"type": "number"}, "name": {"type": ["string", "null"]}},
        "required": ["total", "name"],
    }
    return WorkSpec(
        "s", "", [TagSpec("body", "body")], "n", ["body", *input_types],
        ContractSpec(schema, checks, {}, input_types), "e", "m", b"p",
    )  # fmt: skip


async def test_many_answers_are_tried_together_and_each_hears_of_its_own(
    process: CheckProcess,
) -> None:
    spec = a_step(["output.total <= input.amount", "length(output.name) > 1"], {"amount": "int64"})
    checks = Checks(spec, process)

    async def broken(n: int) -> list[str]:
        name = "a" if n == 7 else "ab"
        answer = f'{{"total": {n}, "name": "{name}"}}'.encode()
        return await checks.broken(["text", 500], answer)

    found = await asyncio.gather(*(broken(n) for n in range(600)))
    for n, names in enumerate(found):
        wanted = ["output.total <= input.amount"] if n > 500 else []
        assert names == wanted + (["length(output.name) > 1"] if n == 7 else [])


async def test_a_cancelled_row_does_not_hold_up_the_others(process: CheckProcess) -> None:
    checks = Checks(a_step(["output.total > 0"], {}), process)
    answer = b'{"total": 1, "name": null}'
    tasks = [asyncio.create_task(checks.broken(["x"], answer)) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == [[]] * 4


@pytest.mark.parametrize(
    "values",
    [
        ["a", None],
        [1, None],
        [1.5, None],
        [True, None],
        [datetime.date(2024, 2, 29), None],
        [datetime.datetime(2024, 2, 29, 12, 30, 1), None],
        [datetime.datetime(2024, 2, 29, 12, 30, 1, tzinfo=datetime.UTC), None],
        [decimal.Decimal("12.50"), None],
        [["a", "b"], None],
        [[datetime.date(2024, 2, 29)], None],
        [{"a": 1, "b": "x"}, None],
        [None, None],
    ],
)
def test_an_input_column_is_in_a_check_what_it_is_in_its_table(values: list[Any]) -> None:
    column = pa.array(values)
    plain = [row[0] for row in plain_rows(pa.record_batch({"x": column}), ["x"])]
    again = column_of(plain, str(column.type))
    assert again.type == column.type and again.to_pylist() == values
