"""Promises of contract checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pytest
import pytest_asyncio

from apwa.tables import CheckProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = pa.schema([("body", pa.string()), ("my col", pa.int64())])
OUTPUT = pa.schema(
    [
        ("text", pa.string()),
        ("n", pa.int64()),
        ("tags", pa.list_(pa.string())),
        ("o", pa.struct([("a", pa.int64())])),
    ]
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def checks() -> AsyncIterator[CheckProcess]:
    process = CheckProcess()
    await process.start()
    yield process
    await process.close()


@pytest.mark.parametrize(
    "check",
    [
        "output.n > 0",
        "length(output.text) <= length(input.body)",
        "output.text LIKE '%x%' AND output.n IN (1, 2) OR NOT output.n = 3",
        "contains(input.body, output.text)",
        "regexp_matches(output.text, '^[a-z]+$')",
        "len(output.tags) BETWEEN 1 AND 3",
        "list_bool_and(list_transform(output.tags, lambda t: length(t) > 1))",
        "len(list_filter(output.tags, lambda t: t = 'x')) = 0",
        'input."my col" = output.n -- said by the user',
        "output.o.a IS NULL",
        "CASE WHEN output.n > 1 THEN true ELSE output.text <> '' END",
        "try_cast(output.text AS DATE) IS NOT NULL",
        "tokens(output.text) < 100",
    ],
)
async def test_a_sound_check_has_no_problem(checks: CheckProcess, check: str) -> None:
    assert await checks.check_problem(check, INPUT, OUTPUT) is None


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("output.nope > 0", "there is no output.nope"),
        ("n > 0", "write input.n or output.n"),
        ("output.text", "true or false"),
        ("output.n >", "no SQL"),
        ("true) , (true", "one condition"),
        ("true) FROM pairs WHERE (true", "one condition"),
        ("true); SELECT (1", "2 statements"),
        ("(SELECT true)", "a subquery"),
        ("EXISTS (SELECT 1 FROM read_text('/etc/passwd'))", "a subquery"),
        ("sum(output.n) > 0", "sum()"),
        ("row_number() OVER (ORDER BY output.n) > 0", "a window"),
        ("random() > 0.5", "random()"),
        ("now() > DATE '2020-01-01'", "now()"),
        ("getenv('HOME') = ''", "getenv()"),
        ("output.n > ?", "a parameter"),
        ("unnest(output.tags) = 'x'", "unnest()"),
        ("nofunction(output.n)", "nofunction()"),
        ("length(output.n, 2) > 1", "No function matches"),
    ],
)
async def test_a_check_that_may_not_be_is_named_in_words(
    checks: CheckProcess, check: str, words: str
) -> None:
    assert words in str(await checks.check_problem(check, INPUT, OUTPUT))


async def test_each_row_is_told_which_checks_are_true_of_it(checks: CheckProcess) -> None:
    inputs = pa.RecordBatch.from_pydict({"body": ["abc", "abc", None]})
    outputs = pa.RecordBatch.from_pydict({"text": ["b", "12", "x"], "n": [1, None, 0]})
    found = await checks.evaluate(
        ["contains(input.body, output.text)", "output.n >= 0", "cast(output.text AS INT) > 1"],
        inputs,
        outputs,
    )
    assert found == [[True, True, False], [False, False, True], [False, True, False]]


async def test_many_rows_keep_their_order(checks: CheckProcess) -> None:
    n = pa.table({"n": list(range(10_000))})
    found = await checks.evaluate(["input.n % 3 = 0", "input.n = output.n"], n, n)
    assert found == [[i % 3 == 0, True] for i in range(10_000)]


async def test_no_columns_no_rows_and_no_checks_are_no_trouble(checks: CheckProcess) -> None:
    one = pa.table({"n": [1, 2]})
    bare = one.select([])
    assert await checks.check_problem("output.n > 1", pa.schema([]), one.schema) is None
    assert await checks.evaluate(["output.n > 1"], bare, one) == [[False], [True]]
    assert await checks.evaluate([], one, one) == [[], []]
    assert await checks.evaluate(["output.n > 1"], one.slice(0, 0), one.slice(0, 0)) == []


async def test_a_row_that_takes_too_long_fails_its_checks_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = CheckProcess(timeout_s=1.0)
    call = process._child.call

    async def patient(request: dict[str, Any], timeout_s: float) -> Any:
        # the rows that are quick may yet meet a child that starts slowly
        found = pa.ipc.open_stream(request["output"]).read_all()
        return await call(request, timeout_s if 10_000_000_000 in found["n"].to_pylist() else 100.0)

    monkeypatch.setattr(process._child, "call", patient)
    await process.start()
    rows = pa.table({"n": [1, 10_000_000_000, 3]})
    slow = "len(list_filter(range(output.n % 1000000000 + output.n // 100), lambda x: x > 0)) >= 0"
    found = await process.evaluate([slow, "output.n > 0"], rows, rows)
    assert found[0] == [True, True] and found[2] == [True, True]
    assert found[1] == [False, False]
    await process.close()
