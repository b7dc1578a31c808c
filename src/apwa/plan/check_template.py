"""The problems of one template step, and the shape of the table that it makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jsonschema_rs
import pyarrow as pa

from apwa.plan.contract import in_words, refuse, validator_of
from apwa.plan.loading import did_you_mean
from apwa.plan.mapping import answer_fields, resolved, without_null
from apwa.plan.model import TemplateStep
from apwa.plan.places import Path
from apwa.plan.quoting import quote_path
from apwa.plan.shapes import GrantCard, TableShape
from apwa.plan.shortform import (
    ContractProblem,
    Schema,
    contract_problems,
    contract_schema,
    is_json_schema,
)
from apwa.plan.templates import (
    ITEM,
    check_columns,
    input_schema,
    placeholders,
    redacts_of,
    system_text,
    tags_of,
)
from apwa.tables import count_tokens, is_images
from apwa.vocabulary import ContractSpec

Say = Callable[[Path, str, str], None]
CheckFunction = Callable[[str, pa.Schema, pa.Schema], Awaitable[str | None]]

_REDUCE_COLUMNS = [
    pa.field("items", pa.int64()),
    pa.field("missing", pa.list_(pa.string())),
]


class TemplateCheck:
    """Looks at one template. ``source`` None: what it ranges over has problems of its own."""

    def __init__(
        self,
        name: str,
        step: TemplateStep,
        source: TableShape | None,
        say: Callable[[Path, str, str], None],
        grants: Mapping[str, GrantCard],
        context: int | None,
        output_tokens: int | None,
    ) -> None:
        self.step = step
        self.source = source
        self.path: Path = ("steps", name)
        self.name = name
        self.grants = grants
        self.context = context
        self.output_tokens = output_tokens
        self.answers: list[str] = []  # names of the answer's fields, once they are known
        self._say_at = say

    async def run(self, check_problem: CheckFunction) -> TableShape | None:
        self._placeholders()
        self._grants()
        schema, fields = self._contract()
        self._reduce(fields)
        if schema is not None:
            self._quotes(schema)
            self._redacts(schema)
            self._context(schema)
        if self.source is None or schema is None:
            return None
        self._clashes(fields)
        self.answers = [field.name for field in fields]
        await self._checks(fields, check_problem)
        return self._shape(fields)

    def _say(self, path: Path, what: str, todo: str = "") -> None:
        self._say_at((*self.path, *path), what, todo)

    # ---- the instruction

    def _placeholders(self) -> None:
        found = placeholders(self.step.template)
        source = self.source
        if source is None:
            return
        columns = source.schema.names
        for column in found:
            if column not in columns:
                what = f"{source.name!r} has no column {column!r} for {{{{{column}}}}}"
                self._say(("template",), what, did_you_mean(column, columns))
        if self.step.reduce is not None:
            for column in found:
                if column in columns and is_images(source.schema.field(column)):
                    what = f"{column!r} holds pictures, and a reduce sees texts only"
                    self._say(("template",), what, "let a step before it say what they show")
        if not found and (self.step.reduce is not None or source.rows is None or source.rows > 1):
            what = "the template names no column, so every subtask would be the same"
            self._say(("template",), what, f"use {{{{column}}}}; {did_you_mean('', columns)}")

    def _context(self, schema: Schema) -> None:
        if self.context is None:
            return
        tags = tags_of(placeholders(self.step.template), [ITEM])
        contract = ContractSpec(
            schema, list(self.step.checks), dict(self.step.quotes), redacts=redacts_of(self.step)
        )
        tokens = count_tokens(system_text(self.step, tags, contract))
        output = self.step.limits.work(self.output_tokens).output_tokens
        if tokens + output >= self.context:
            what = (
                f"the instruction has {tokens:,} tokens and an answer may have {output:,}, which"
                f" leaves no room for a row in the model's {self.context:,}"
            )
            self._say(("template",), what, "shorten it, or lower limits.output_tokens")

    def _grants(self) -> None:
        for name, arguments in self.step.grant.items():
            card = self.grants.get(name)
            path: Path = ("grant", name)
            if card is None:
                todo = f"leave it out, or allow it with --grant {name}"
                if self.grants:
                    todo += f"; granted to this run: {', '.join(self.grants)}"
                self._say(path, f"the capability {name!r} is not granted to this run", todo)
                continue
            validator = jsonschema_rs.validator_for(card.arguments, retriever=refuse)
            for error in validator.iter_errors(arguments):
                self._say(path, f"the arguments of {name!r} do not fit: {in_words(error)}")

    # ---- the contract

    def _contract(self) -> tuple[Schema | None, list[pa.Field]]:
        try:
            schema = contract_schema(self.step.contract)
        except ContractProblem as first:
            for problem in contract_problems(self.step.contract) or [first]:
                self._say(("contract", *problem.path), problem.what, problem.todo)
            return None, []
        for reference in _references(schema):
            if not reference.startswith("#"):
                what = f"the reference {reference!r} leads out of the plan"
                self._say(("contract",), what, "write the schema out, or use #/$defs/…")
                return None, []
        try:
            validator_of(schema)
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            what = str(error).split("\n", 1)[0]
            self._say(("contract",), f"the contract is no valid JSON Schema: {what}")
            return None, []
        try:
            fields, problems = answer_fields(schema)
        except ContractProblem as problem:
            fields, problems = [], [problem]
        for problem in problems:
            # the short form has no "properties": its fields stand right below the contract
            short = not is_json_schema(self.step.contract)
            path = problem.path[1:] if short else problem.path
            self._say(("contract", *path), problem.what, problem.todo)
        return (None, []) if problems else (schema, fields)

    def _clashes(self, fields: list[pa.Field]) -> None:
        assert self.source is not None
        reduce = self.step.reduce
        kept = reduce.by if reduce is not None else self.source.schema.names
        by_fold = {column.casefold(): column for column in kept}
        seen: set[str] = set()
        for field in fields:
            name = field.name
            path = self._property(name)
            folded = name.casefold()
            if folded in by_fold:
                whose = "a column of reduce.by" if reduce is not None else "a column of the input"
                todo = f"call it otherwise, for instance new_{name}"
                self._say(path, f"{name!r} is already {whose}", todo)
            elif folded.startswith("_"):
                todo = f"call it {name.lstrip('_') or 'value'}"
                self._say(path, f"{name!r}: names that begin with _ are apwa's own", todo)
            elif reduce is not None and folded in ("items", "missing"):
                what = f"{name!r} is a column that every reduce makes"
                self._say(path, what, "call it otherwise")
            elif folded in seen:
                what = f"{name!r} differs from another field only in capitals"
                self._say(path, what, "call it otherwise")
            seen.add(folded)

    def _property(self, name: str) -> Path:
        if is_json_schema(self.step.contract):
            return ("contract", "properties", name)
        return ("contract", name)

    async def _checks(self, fields: list[pa.Field], check_problem: CheckFunction) -> None:
        assert self.source is not None
        inputs, outputs = input_schema(self.step, self.source), pa.schema(fields)
        for number, check in enumerate(self.step.checks):
            path: Path = ("checks", number)
            used = check_columns([check], inputs.names)
            unknown = [column for column in used if column not in inputs.names]
            if used and self.step.reduce is not None:
                what = "the checks of a reduce see no input: its items may be answers of models"
                self._say(path, what, "use output only")
            elif unknown:
                what = f"{self.source.name!r} has no column {unknown[0]!r}"
                self._say(path, what, did_you_mean(unknown[0], inputs.names))
            elif any(is_images(inputs.field(column)) for column in used):
                self._say(path, "a check sees no pictures", "check what was answered of them")
            elif (problem := await check_problem(check, inputs, outputs)) is not None:
                self._say(path, problem)

    def _quotes(self, schema: Schema) -> None:
        if self.step.quotes and self.step.reduce is not None:
            what = "a reduce has no quotes: its items may be answers of models"
            self._say(("quotes",), what, "quote in the step that it ranges over")
            return
        shown = placeholders(self.step.template)
        for text, column in self.step.quotes.items():
            path: Path = ("quotes", text)
            parts = quote_path(text)
            if parts is None:
                self._say(path, f"{text!r} is no path", "write field, or list[].field")
            elif why := _not_text(parts, schema):
                self._say(path, f"{text!r} {why}", "quotes are texts of the answer")
            if self._holds_images(column):
                self._say(path, f"{column!r} holds pictures: there is no text to copy from")
            else:
                self._shown(path, column, shown)

    def _shown(self, path: Path, column: str, shown: list[str]) -> None:
        if column not in shown:
            what = f"{column!r} is not in the template, so nothing can be copied from it"
            todo = f"use {{{{{column}}}}} in the template"
            if self.source is not None and column not in self.source.schema.names:
                todo = did_you_mean(column, shown) or todo
            self._say(path, what, todo)

    def _redacts(self, schema: Schema) -> None:
        if self.step.redacts and self.step.reduce is not None:
            what = "a reduce redacts nothing: its items may be answers of models"
            self._say(("redacts",), what, "redact in the step that it ranges over")
            return
        shown = placeholders(self.step.template)
        for field, redacts in self.step.redacts.items():
            path: Path = ("redacts", field)
            if why := _not_text((field,), schema):
                self._say(path, f"{field!r} {why}", "it is the redacted text, a field of its own")
            parts = quote_path(redacts.replaced)
            if parts is None or "[]" not in parts:
                what = f"{redacts.replaced!r} is no path of a list's texts"
                self._say((*path, "replaced"), what, "write list[].field, or list[]")
            elif why := _not_text(parts, schema):
                what = f"{redacts.replaced!r} {why}"
                self._say((*path, "replaced"), what, "it holds the strings that were replaced")
            self._shown((*path, "source"), redacts.source, shown)

    def _holds_images(self, column: str) -> bool:
        schema = None if self.source is None else self.source.schema
        return schema is not None and column in schema.names and is_images(schema.field(column))

    # ---- reduce

    def _reduce(self, fields: list[pa.Field]) -> None:
        reduce = self.step.reduce
        if reduce is None:
            return
        if self.source is not None:
            columns = self.source.schema.names
            for number, column in enumerate(reduce.by):
                if column not in columns:
                    what = f"{self.source.name!r} has no column {column!r}"
                    self._say(("reduce", "by", number), what, did_you_mean(column, columns))
        if len(set(reduce.by)) != len(reduce.by):
            self._say(("reduce", "by"), "a column stands here twice")
        if not fields:
            return
        answers = {field.name for field in fields}
        shown = placeholders(self.step.template)
        if shown and set(shown) <= set(reduce.by):
            what = "the template names only columns of reduce.by, so items would hold nothing else"
            self._say(("template",), what, f"name a field of the contract: {', '.join(answers)}")
        for column in shown:
            if column not in answers and column not in reduce.by:
                what = f"{{{{{column}}}}} is no field of the contract"
                todo = (
                    "the answers of one level are the items of the next, so a reduce reads what"
                    f" it writes: give the contract a field {column!r}, or read one of"
                    f" {', '.join(answers)}"
                )
                self._say(("template",), what, todo)

    def _shape(self, fields: list[pa.Field]) -> TableShape:
        assert self.source is not None
        reduce = self.step.reduce
        if reduce is None:
            schema = pa.schema([*self.source.schema, *fields])
            return TableShape(self.name, schema, self.source.key, self.source.rows)
        names = self.source.schema.names
        by = [self.source.schema.field(column) for column in reduce.by if column in names]
        schema = pa.schema([*by, *fields, *_REDUCE_COLUMNS])
        return TableShape(self.name, schema, tuple(reduce.by), None if reduce.by else 1)


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [reference for part in schema for reference in _references(part)]
    if not isinstance(schema, dict):
        return []
    found = [
        value
        for key, value in schema.items()
        if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str)
    ]
    return found + [reference for part in schema.values() for reference in _references(part)]


def _not_text(parts: tuple[str, ...], schema: Schema) -> str:
    """Why a path leads to no text; empty if it does."""
    at = resolved(schema, schema, ())
    for part in parts:
        at = resolved(without_null(at)[0], schema, ())
        if part == "[]":
            if at.get("type") != "array":
                return "leads into something that is no list"
            at = resolved(at["items"], schema, ())
        else:
            properties = at.get("properties", {})
            if part not in properties:
                if at.get("type") == "array":
                    return f"leads into a list: write []. before {part!r}"
                todo = did_you_mean(part, properties)
                return f"leads nowhere: there is no field {part!r}" + (f", {todo}" if todo else "")
            at = resolved(properties[part], schema, ())
    text = without_null(at)[0]
    if text.get("type") != "string":
        return "leads to something that is no text"
    if "format" in text:
        return f"leads to a {text['format']}, which is put into a form of its own and not copied"
    return ""
