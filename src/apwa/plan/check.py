"""Whether a plan fits its tables, capabilities and models: all problems, before the first call.

Steps are looked at in the order in which they would run, so that each is checked against the
columns that it will find. A step with problems of its own makes no others below it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from apwa.plan.check_rows import rows_shape
from apwa.plan.check_template import TemplateCheck
from apwa.plan.graph import leading_to, needs_of, ordered
from apwa.plan.loading import did_you_mean
from apwa.plan.model import Plan, QueryStep, RowsStep, TemplateStep
from apwa.plan.places import Places
from apwa.plan.policy import Rule, rule_problem, unmatched
from apwa.plan.shapes import HIDDEN, CheckedPlan, GrantCard, TableShape
from apwa.tables import SqlProblem
from apwa.vocabulary import PlanError, Problem


class QueryShape(Protocol):
    """Finds the columns of a query's result. Raises SqlProblem."""

    def __call__(
        self, sql: str, schemas: Mapping[str, pa.Schema], key: Sequence[str]
    ) -> Awaitable[pa.Schema]: ...


class CheckProblem(Protocol):
    """Says what is wrong with a contract's check; None if nothing is."""

    def __call__(
        self, check: str, input_schema: pa.Schema, output_schema: pa.Schema
    ) -> Awaitable[str | None]: ...


async def check_plan(
    plan: Plan,
    places: Places,
    inputs: Mapping[str, TableShape],
    *,
    query_shape: QueryShape,
    check_problem: CheckProblem,
    grants: Mapping[str, GrantCard],
    context: int | None,
    output_tokens: int | None = None,
    every_input: bool = True,
) -> CheckedPlan:
    """Check a plan against what there is.

    Args:
        plan: The plan.
        places: Where its parts stand, for the problems.
        inputs: The tables that were given.
        query_shape: ``SqlProcess.shape``.
        check_problem: ``CheckProcess.check_problem``.
        grants: The capabilities that the user lets the plan grant.
        context: The smallest context of the plan's models, in tokens; None: unknown.
        output_tokens: The output limit where a template names none; None: apwa's own.
        every_input: Whether a table that nothing reads is a problem. A manager cannot give a
            table back that the user gave.

    Raises PlanError with all problems.
    """
    check = _Check(
        plan, places, inputs, query_shape, check_problem, grants, context, output_tokens,
        every_input,
    )  # fmt: skip
    checked = await check.run()
    if check.problems:
        raise PlanError(sorted(check.problems, key=lambda p: (p.line, p.column)))
    return checked


class _Check:
    def __init__(
        self,
        plan: Plan,
        places: Places,
        inputs: Mapping[str, TableShape],
        query_shape: QueryShape,
        check_problem: CheckProblem,
        grants: Mapping[str, GrantCard],
        context: int | None,
        output_tokens: int | None,
        every_input: bool,
    ) -> None:
        self.plan = plan
        self.places = places
        self.inputs = inputs
        self.query_shape = query_shape
        self.check_problem = check_problem
        self.grants = grants
        self.context = context
        self.output_tokens = output_tokens
        self.every_input = every_input
        self.problems: list[Problem] = []
        self.needs = needs_of(plan, inputs)
        self.shapes: dict[str, TableShape] = {}

    async def run(self) -> CheckedPlan:
        self._tables()
        self._policy()
        order, cycles = ordered({n: of - self.inputs.keys() for n, of in self.needs.items()})
        for cycle in cycles:
            self._say(("steps", cycle[0]), f"the steps {' ← '.join(cycle)} need each other")
        answer = self._answer()
        for name in order:
            shape = await self._step(name)
            if shape is not None:
                self.shapes[name] = shape
        if answer and not cycles:
            self._unused(answer)
        plan = self.plan.model_copy(update={"answer": answer})
        return CheckedPlan(plan, order, self.needs, self.shapes)

    def _say(self, path: tuple[str | int, ...], what: str, todo: str = "") -> None:
        self.problems.append(self.places.problem(path, what, todo))

    # ---- tables, answer, what is left over

    def _tables(self) -> None:
        declared = self.plan.tables
        for name in declared:
            if name not in self.inputs:
                todo = f"give --table {name}=FILE"
                self._say(("tables", name), f"the plan wants a table {name!r}", todo)
                continue
            self._declared_columns(name)
        for name in self.inputs:
            if declared and name not in declared:
                todo = f"declare it, or leave out --table {name}=…"
                self._say(("tables",), f"the plan does not declare the table {name!r}", todo)
            if name in self.plan.steps:
                what = f"{name!r} is a table already"
                self._say(("steps", name), what, "give the step another name")

    def _declared_columns(self, name: str) -> None:
        declaration, columns = self.plan.tables[name], self.inputs[name].schema.names
        for field, wanted in (("key", declaration.key), ("sensitive", declaration.sensitive)):
            for number, column in enumerate(wanted):
                if column not in columns:
                    what = f"table {name!r} has no column {column!r}"
                    todo = did_you_mean(column, columns)
                    self._say(("tables", name, field, number), what, todo)

    def _answer(self) -> str:
        steps, answer = self.plan.steps, self.plan.answer
        if answer:
            if answer not in steps:
                what = f"there is no step {answer!r} to be the answer"
                self._say(("answer",), what, did_you_mean(answer, steps))
                return ""
            return answer
        read = {need for of in self.needs.values() for need in of}
        ends = [name for name in steps if name not in read]
        if len(ends) == 1:
            return ends[0]
        if ends:
            what = f"the steps {', '.join(ends)} lead to nothing else: which is the answer?"
            self._say(("answer",), what, "name it under `answer`")
        return ""

    def _unused(self, answer: str) -> None:
        used = leading_to(answer, self.needs)
        for name in self.plan.steps:
            if name not in used:
                what = f"the step does not lead to the answer ({answer!r})"
                self._say(("steps", name), what, "use it, or leave it out")
        if not self.every_input:
            return
        # a table that is only read wrongly is not unused
        failed = {n for n in self.plan.steps if n not in self.shapes}
        mentioned = {
            step.over for step in self.plan.steps.values() if isinstance(step, TemplateStep)
        }
        for name in self.inputs:
            if (
                name not in used
                and name not in mentioned
                and not failed
                and (not self.plan.tables or name in self.plan.tables)
            ):
                path = ("tables", name) if name in self.plan.tables else ("steps",)
                todo = f"use it, or leave out --table {name}=…"
                self._say(path, f"no step that leads to the answer reads the table {name!r}", todo)

    # ---- steps

    async def _step(self, name: str) -> TableShape | None:
        step = self.plan.steps[name]
        before = len(self.problems)
        if isinstance(step, RowsStep):
            shape = rows_shape(name, step, self._say)
        elif isinstance(step, QueryStep):
            shape = await self._query(name, step)
        else:
            shape = await self._template(name, step)
        return shape if len(self.problems) == before else None

    def _source(self, name: str) -> TableShape | None:
        shape = self.inputs.get(name) or self.shapes.get(name)
        if shape is None:
            return None
        schema = pa.schema([field for field in shape.schema if field.name not in HIDDEN])
        return TableShape(shape.name, schema, shape.key, shape.rows, shape.longest_tokens)

    async def _query(self, name: str, step: QueryStep) -> TableShape | None:
        path = ("steps", name, "query")
        if name in self.needs[name]:
            self._say(path, "the query reads its own step")
            return None
        schemas: dict[str, pa.Schema] = {}
        for need in sorted(self.needs[name]):
            source = self._source(need)
            if source is None:
                return None  # what it reads has problems of its own
            schemas[need] = source.schema
        try:
            schema = await self.query_shape(step.query, schemas, step.key)
        except SqlProblem as problem:
            self.problems.append(
                self.places.problem_inside(path, problem.line, problem.column, problem.message)
            )
            return None
        folded: set[str] = set()
        for column in schema.names:
            if column.casefold() in folded:
                self._say(path, f"the query has two columns {column!r}", "name one with AS")
            folded.add(column.casefold())
        for number, column in enumerate(step.key):
            if column not in schema.names:
                what = f"the query makes no column {column!r}"
                todo = did_you_mean(column, schema.names)
                self._say(("steps", name, "key", number), what, todo)
        self._releases(name, step.releases, schema.names, "the query makes no column")
        return TableShape(name, schema, tuple(step.key), None)

    def _releases(self, name: str, released: list[str], made: list[str], what: str) -> None:
        for number, column in enumerate(released):
            if column not in made:
                path = ("steps", name, "releases", number)
                self._say(path, f"{what} {column!r}", did_you_mean(column, made))

    def _policy(self) -> None:
        """What is wrong with the plan's own rules, whatever endpoints there are."""
        rules = [Rule(c, to, "the plan") for c, to in self.plan.policy.items()]
        for rule in rules:
            if problem := rule_problem(rule):
                self._say(("policy", rule.columns), problem)
                continue
            table = rule.columns.partition(".")[0]
            if "." in rule.columns and "*" not in table and table not in self.inputs:
                todo = did_you_mean(table, self.inputs)
                self._say(("policy", rule.columns), f"there is no table {table!r}", todo)
        for rule, todo in unmatched(rules, self.inputs):
            self._say(("policy", rule.columns), f"there is no column {rule.columns}", todo)

    async def _template(self, name: str, step: TemplateStep) -> TableShape | None:
        known = [*self.inputs, *self.plan.steps]
        source = self._source(step.over)
        if source is None and step.over not in known:
            what = f"there is no table or step {step.over!r}"
            self._say(("steps", name, "over"), what, did_you_mean(step.over, known))
        check = TemplateCheck(
            name, step, source, self._say, self.grants, self.context, self.output_tokens
        )
        shape = await check.run(self.check_problem)
        if shape is not None:
            fields = shape.schema.names if step.reduce is not None else check.answers
            self._releases(name, step.releases, fields, "the answer has no field")
        return shape
