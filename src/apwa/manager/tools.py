"""The tools a manager is offered, as its model sees them, and the arguments they take."""

from __future__ import annotations

from typing import Any

import msgspec

from apwa.manager.prompt import Upto
from apwa.models import ToolCall, ToolSpec


class _Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="tool"):
    pass


class Describe(_Arguments, frozen=True, tag="describe"):
    table: str


class Sample(_Arguments, frozen=True, tag="sample"):
    table: str
    rows: int = 3
    columns: list[str] = []


class Query(_Arguments, frozen=True, tag="query"):
    sql: str


class PutSteps(_Arguments, frozen=True, tag="put_steps"):
    steps: dict[str, dict[str, Any] | None]
    answer: str
    reason: str = ""


class Pilot(_Arguments, frozen=True, tag="pilot"):
    pass


class Failures(_Arguments, frozen=True, tag="failures"):
    step: str


class Run(_Arguments, frozen=True, tag="run"):
    pass


class AnswerCard(_Arguments, frozen=True, tag="answer_card"):
    table: str


class Finish(_Arguments, frozen=True, tag="finish"):
    answer_table: str
    words: str


class Refuse(_Arguments, frozen=True, tag="refuse"):
    reason: str


Tool = Describe | Sample | Query | PutSteps | Pilot | Failures | Run | AnswerCard | Finish | Refuse

_decoder = msgspec.json.Decoder(Tool)


_STEPS_SHAPE = 'steps is an object of step name to step: {"redact": {"template": …, "over": …}}.'


class BadCall(Exception):
    """A tool call that cannot be understood; says to the model what is wrong with it."""


def read_call(call: ToolCall, offered: list[ToolSpec]) -> Tool:
    """The call's tool and arguments. Raises BadCall."""
    names = [spec.name for spec in offered]
    if call.name not in names:
        raise BadCall(f"There is no tool {call.name[:80]!r} here. Tools: {', '.join(names)}.")
    try:
        given = msgspec.json.decode(call.arguments.strip() or "{}")
    except msgspec.DecodeError as error:
        raise BadCall(
            f"The arguments of {call.name} are no valid JSON ({error}). If they were cut off, send"
            " fewer steps at a time: steps sent before are kept."
        ) from error
    if not isinstance(given, dict):
        raise BadCall(f"The arguments of {call.name} must be a JSON object.")
    if call.name == "put_steps":
        given = _unpacked(given)
    try:
        return _decoder.decode(msgspec.json.encode({**given, "tool": call.name}))
    except msgspec.ValidationError as error:
        shape = f" {_STEPS_SHAPE}" if "$.steps" in str(error) else ""
        raise BadCall(f"The arguments of {call.name} do not fit: {error}.{shape}") from error


def _unpacked(given: dict[Any, Any]) -> dict[Any, Any]:
    """Some models write an inner object as a JSON string, or steps as a list with names: take
    what they mean."""

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            try:
                return msgspec.json.decode(value)
            except msgspec.DecodeError:
                return value
        return value

    steps = plain(given.get("steps"))
    if isinstance(steps, list):
        listed = [dict(step) for step in map(plain, steps) if isinstance(step, dict)]
        named = {step.pop("name", None): step for step in listed}
        if len(named) == len(steps) and steps and all(isinstance(name, str) for name in named):
            steps = named
    if isinstance(steps, dict):
        steps = {name: plain(step) for name, step in steps.items()}
    return {**given, "steps": steps}


# ---- as the model sees them


def offered_tools(upto: Upto) -> list[ToolSpec]:
    """The tools for a job that is to go so far."""
    left_out = {"plan": {"pilot", "failures", "run", "answer_card"}, "pilot": {"run"}, "run": set()}
    return [spec for spec in _SPECS if spec.name not in left_out[upto]]


def _spec(name: str, description: str, **properties: dict[str, Any]) -> ToolSpec:
    required = [key for key, value in properties.items() if "default" not in value]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return ToolSpec(name, description, schema)


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _names(description: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}, "description": description}


def _object(description: str) -> dict[str, Any]:
    return {"type": "object", "description": description}


_STEP: dict[str, Any] = {
    "type": ["object", "null"],
    "description": (
        "A step: exactly one of template, query and rows, with the fields that go with it. null"
        " drops the step."
    ),
    "properties": {
        "template": _text("Instruction to the worker of one row, with {{column}} placeholders."),
        "over": _text("With template: the table or step whose rows it works."),
        "contract": _object("With template: field to type in short form, or a JSON Schema."),
        "checks": _names("With template: SQL conditions over output.field and input.column."),
        "quotes": _object("With template: answer path to the column it is copied from."),
        "redacts": _object(
            "With template: answer field to {source: column, replaced: path of the strings}."
        ),
        "grant": _object("With template: capability to its arguments."),
        "reduce": {
            "type": "object",
            "description": "With template: merge rows level by level into one row a group.",
            "properties": {
                "by": _names("Group columns; empty: one group."),
                "fan_in": {"type": "integer", "minimum": 2},
                "tokens": {"type": "integer", "minimum": 1},
            },
        },
        "limits": _object("With template: output_tokens, turns, repairs, attempts, timeout_s."),
        "query": _text("One DuckDB SELECT over tables and steps by name."),
        "rows": {
            "type": "array",
            "items": {"type": "object"},
            "description": "A small table, row by row, all with the same columns.",
        },
        "key": _names("With query or rows: columns that name a row; leave out if none does."),
    },
}

_SPECS = [
    _spec(
        "describe",
        "The full card of one table: columns, types, token sizes, sample values.",
        table=_text("Name of an input table, or of a step that was piloted or run."),
    ),
    _spec(
        "sample",
        "A few random rows of a table, clipped. Untrusted data.",
        table=_text("Name of an input table, or of a step that was piloted or run."),
        rows={
            "type": "integer",
            "minimum": 1,
            "maximum": 5,
            "default": 3,
            "description": "How many.",
        },
        columns=_names("Only these columns; empty: all.") | {"default": []},
    ),
    _spec(
        "query",
        "Try one SELECT over the tables (and steps that were piloted or run) and look at its first"
        " rows. For finding out about the data and for trying the SQL of a query step. It changes"
        " nothing.",
        sql=_text("One DuckDB SELECT; the rules of query steps hold."),
    ),
    _spec(
        "put_steps",
        "Add or change steps of the plan and name the answer. Steps not named here stay as they"
        " are. The whole plan is checked: you get a list of problems, or the new version.",
        steps={
            "type": "object",
            "description": "Step name to step; null drops the step.",
            "additionalProperties": _STEP,
        },
        answer=_text("The step whose table is the job's answer."),
        reason=_text("Why, in one sentence, for the person who reads the plan's history."),
    ),
    _spec(
        "pilot",
        "Work a small sample through the whole plan. You get counts, failures, some answers, and a"
        " forecast of tokens and money. Costs a little; do it after each real change.",
    ),
    _spec(
        "failures",
        "Why rows of a step failed in the last pilot or run: more examples than the report has,"
        " and the answers that were not accepted.",
        step=_text("Name of a step."),
    ),
    _spec(
        "run",
        "Work all rows. Only after a pilot whose answers are right. May wait for a person's"
        " approval and may take long. You get counts, failures and costs.",
    ),
    _spec(
        "answer_card",
        "Card and some rows of a step's finished table, so that you can speak of the answer.",
        table=_text("Name of a step that was piloted or run."),
    ),
    _spec(
        "finish",
        "End: the job is done as far as it was wanted.",
        answer_table=_text("The step whose table is the answer."),
        words=_text("To the person: what was done, what came out, what to doubt. Short."),
    ),
    _spec(
        "refuse",
        "End: the job cannot or must not be done here.",
        reason=_text("Why, and what would have to change."),
    ),
]
