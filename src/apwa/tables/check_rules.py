"""What a contract's check may say: one scalar condition over ``input.x`` and ``output.y``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from apwa.tables.sql_rules import Node, SqlProblem, Text, function_name, one_select, walk

_CLASSES = {
    "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT",
    "FUNCTION", "LAMBDA", "LAMBDA_REF", "OPERATOR", "TYPE",
}  # fmt: skip
_WORDS = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "*",
    "PARAMETER": "a parameter",
}
SIDES = ("input", "output")


def check_condition(
    check: str,
    tree: Node,
    functions: Collection[str],
    columns: Mapping[str, Sequence[str]],
) -> None:
    """Raises SqlProblem for the first thing that a check may not say.

    Args:
        check: The condition.
        tree: Syntax tree of ``SELECT (check)``.
        functions: Names of the functions that checks may call.
        columns: Names of the columns, by side.
    """
    node = one_select(Text(check), tree)
    expressions = node.get("select_list") or []
    plain = len(expressions) == 1 and node.get("from_table", {}).get("type", "").startswith("EMPTY")
    if not plain or any(node.get(k) for k in ("where_clause", "modifiers", "having", "qualify")):
        raise SqlProblem("a check must be one condition")
    bound = _bound(expressions[0])
    for found in walk(expressions[0]):
        group = found.get("class")
        if group is None:
            continue
        if group not in _CLASSES:
            what = _WORDS.get(str(group), str(group).lower())
            raise SqlProblem(f"a check may not hold {what}")
        if group == "FUNCTION" and function_name(found) not in functions:
            raise SqlProblem(f"a check may not call {function_name(found)}()")
        if group == "COLUMN_REF":
            _check_column(found, bound, columns)


def _bound(expression: Node) -> set[str]:
    """Names that lambdas give to their parameters."""
    return {
        name
        for found in walk(expression)
        if found.get("class") == "LAMBDA"
        for inner in walk(found.get("lhs"))
        for name in inner.get("column_names") or []
    }


def _check_column(node: Node, bound: set[str], columns: Mapping[str, Sequence[str]]) -> None:
    names = [str(name) for name in node.get("column_names") or []]
    if names and names[0] in bound:
        return
    if len(names) < 2 or names[0].lower() not in SIDES:
        raise SqlProblem(f"write input.{names[-1]} or output.{names[-1]} in place of {names[-1]}")
    known = columns[names[0].lower()]
    if names[1].lower() not in {column.lower() for column in known}:
        shown = ", ".join(f"{names[0]}.{column}" for column in known) or "none"
        raise SqlProblem(f"there is no {names[0]}.{names[1]}; there are: {shown}")
