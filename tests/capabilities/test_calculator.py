from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apwa.capabilities import Calculator
from apwa.capabilities.calculator import CannotCalculate, calculate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0.1 + 0.2", "0.3"),
        ("(19.5 - 4) * 12", "186"),
        ("-7 // 2", "-4"),
        ("2 ** 10", "1024"),
        ("1 / 3", "0.333333333333333"),
        ("round(2.675, 2)", "2.68"),
        ("round(-2.5)", "-3"),
        ("sqrt(2.25)", "1.5"),
        ("max(1, 2.5, -3) + sum(1, 2, 3)", "8.5"),
        ("-0.05", "-0.05"),
        ("1e3 % 7", "6"),
    ],
)
def test_arithmetic_is_exact(expression: str, value: str) -> None:
    assert calculate(expression) == value


@given(st.lists(st.decimals(-(10**6), 10**6, places=2), min_size=1, max_size=20))
def test_sums_of_money_are_what_decimals_say(amounts: list[Decimal]) -> None:
    assert Decimal(calculate(" + ".join(f"({amount})" for amount in amounts))) == sum(amounts)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__",
        "open('x')",
        "'a' * 3",
        "[1 for x in y]",
        "lambda: 1",
        "1,824 + 1",
        "True + 1",
        "1 / 0",
        "1 +",
        "sqrt(-1)",
        "(-8) ** 0.5",
        "1e999",
        "round(1, 2.5)",
    ],
)
def test_what_is_no_arithmetic_is_refused_in_words(expression: str) -> None:
    with pytest.raises(CannotCalculate) as refused:
        calculate(expression)
    assert str(refused.value)


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    "expression", ["9**9**9**9", "2**100000", "(((9**999)**999)**999)", "1+" * 499 + "1", "(" * 999]
)
def test_no_expression_takes_long(expression: str) -> None:
    with contextlib.suppress(CannotCalculate):
        calculate(expression)


async def test_trouble_that_the_model_can_mend_is_a_failed_result() -> None:
    session = await Calculator().open({})
    assert [tool.name for tool in session.tools] == ["calculate"]
    good = await session.call("calculate", {"expression": "6*7"})
    bad = await session.call("calculate", {"expression": "six times seven"})
    worse = await session.call("calculate", {})
    assert (good.parts[0].text, good.failed) == ("42", False)
    assert bad.failed and worse.failed
