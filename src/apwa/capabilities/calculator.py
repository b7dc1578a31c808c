"""Exact arithmetic for workers, because models add badly.

The expression is parsed, never evaluated as code: numbers, the usual operators and a few
functions are all there is. Numbers are fractions, so that 0.1 + 0.2 is 0.3; every value is
bounded, so that no expression can take long.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from apwa.capabilities.seam import CapabilityCard, ToolResult
from apwa.models.seam import Text, ToolSpec

_LONGEST = 1000  # characters
_MOST_BITS = 4096  # of a numerator or denominator
_MOST_POWER = 1000

_TOOL = ToolSpec(
    "calculate",
    "Work out an arithmetic expression exactly. Operators: + - * / // % ** and parentheses; "
    "functions: abs, ceil, floor, max, min, round(x, digits), sqrt, sum(a, b, …). Write numbers "
    "plainly: 1824.50, no thousands separators or currency signs.",
    {
        "type": "object",
        "properties": {"expression": {"type": "string", "description": "e.g. (19.5 - 4) * 12"}},
        "required": ["expression"],
        "additionalProperties": False,
    },
)


class Calculator:
    """The capability ``calculator``: one tool, ``calculate``."""

    card = CapabilityCard(
        "calculator",
        "Exact arithmetic: sums, products, rounding. Grant it where an answer holds a number that "
        "must be worked out.",
        {"type": "object", "properties": {}, "additionalProperties": False},
        version="1",
    )

    def portable(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def open(self, arguments: dict[str, Any]) -> CalculatorSession:
        return CalculatorSession()


class CalculatorSession:
    @property
    def tools(self) -> list[ToolSpec]:
        return [_TOOL]

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolResult:
        expression = arguments.get("expression")
        if not isinstance(expression, str):
            return ToolResult([Text("give the argument expression, a text")], failed=True)
        try:
            return ToolResult([Text(calculate(expression))])
        except CannotCalculate as trouble:
            return ToolResult([Text(str(trouble))], failed=True)

    async def close(self) -> None:
        pass


class CannotCalculate(Exception):
    """Why an expression has no value here, in words for the model."""


def calculate(expression: str) -> str:
    """The value of an arithmetic expression: exact where its decimals end, else 15 digits.

    >>> calculate("0.1 + 0.2")
    '0.3'

    Raises:
        CannotCalculate: The expression is none, or its value is out of bounds.
    """
    if len(expression) > _LONGEST:
        raise CannotCalculate(f"the expression is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _written(_value(tree.body))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise CannotCalculate(f"this is no arithmetic expression: {expression[:100]}") from None
    except ZeroDivisionError:
        raise CannotCalculate("division by zero") from None
    except OverflowError:
        raise CannotCalculate("the value is too large") from None


_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(Fraction(repr(number)))  # of the decimals as written
        case ast.UnaryOp(op=ast.UAdd() | ast.USub() as sign, operand=operand):
            return _value(operand) if isinstance(sign, ast.UAdd) else -_value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _bounded(Fraction(_OPERATORS[type(op)](_value(left), _value(right))))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _bounded(_call(name, [_value(argument) for argument in arguments]))
        case ast.Tuple():
            raise CannotCalculate("write numbers without thousands separators")
        case _:
            raise CannotCalculate(f"not allowed in an expression: {ast.unparse(node)[:100]}")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if abs(exponent) > _MOST_POWER:
        raise CannotCalculate(f"no exponent may pass {_MOST_POWER}")
    if exponent.denominator == 1:
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if size * abs(exponent.numerator) > _MOST_BITS:
            raise CannotCalculate("the value is too large")
        return Fraction(base**exponent.numerator)
    if base < 0:
        raise CannotCalculate("a root of a negative number is no real number")
    return _bounded(Fraction(float(base) ** float(exponent)))


def _call(name: str, values: list[Fraction]) -> Fraction:
    match name, values:
        case "abs", [one]:
            return abs(one)
        case "floor", [one]:
            return Fraction(math.floor(one))
        case "ceil", [one]:
            return Fraction(math.ceil(one))
        case "sqrt", [one]:
            return _root(one)
        case "round", [one]:
            return _rounded(one, 0)
        case "round", [one, digits] if digits.denominator == 1 and abs(digits) <= 50:
            return _rounded(one, digits.numerator)
        case "min", [_, *_]:
            return min(values)
        case "max", [_, *_]:
            return max(values)
        case "sum", _:
            return sum(values, Fraction(0))
        case _:
            raise CannotCalculate(f"there is no function {name} of {len(values)} arguments")


def _root(one: Fraction) -> Fraction:
    if one < 0:
        raise CannotCalculate("a root of a negative number is no real number")
    top, bottom = math.isqrt(one.numerator), math.isqrt(one.denominator)
    if top * top == one.numerator and bottom * bottom == one.denominator:
        return Fraction(top, bottom)
    return Fraction(math.sqrt(one))


def _rounded(one: Fraction, digits: int) -> Fraction:
    """Halves away from zero, as people round money."""
    scale = Fraction(10) ** digits
    whole = math.floor(abs(one) * scale + Fraction(1, 2))
    return Fraction(whole if one >= 0 else -whole) / scale


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise CannotCalculate("the value is too large")
    return value


def _written(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    digits = _decimals(value.denominator)
    if digits is None or digits > 30:
        return f"{float(value):.15g}"
    whole = str(abs(value.numerator) * 10**digits // value.denominator).rjust(digits + 1, "0")
    return f"{'-' if value < 0 else ''}{whole[:-digits]}.{whole[-digits:]}"


def _decimals(denominator: int) -> int | None:
    """How many decimals a fraction of this denominator has; None if they never end."""
    counts: list[int] = []
    for prime in (2, 5):
        count = 0
        while denominator % prime == 0:
            denominator //= prime
            count += 1
        counts.append(count)
    return max(counts) if denominator == 1 else None
