"""A plan as data: what its YAML may hold. Pydantic, because it comes in from outside.

Nothing here knows tables or endpoints: ``check.py`` asks whether a plan fits them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)

from apwa.documents import Split
from apwa.plan.amounts import amount_of
from apwa.vocabulary import WorkLimits, names_secret, secret_in_address

ResourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
ResourceAmount = Annotated[float, BeforeValidator(amount_of), Field(gt=0)]
StepName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


SET_OTHERWISE = {
    "model": "say model: of the template",
    "messages": "the template makes them",
    "tools": "grant capabilities",
    "tool_choice": "grant capabilities",
    "response_format": "the contract makes it",
    "max_tokens": "say limits: {output_tokens: …}",
    "max_completion_tokens": "say limits: {output_tokens: …}",
    "max_output_tokens": "say limits: {output_tokens: …}",
    "stream": "it is found out",
    "stream_options": "it is found out",
    "n": "one answer is asked for",
}
"""What no parameter may set, and how it is set."""
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableDecl(_Part):
    """What a plan says of an input table."""

    key: list[str] = []
    sensitive: list[str] = []
    split: Split = ""
    """Of documents: what makes a row, ``pages`` or ``records``; else a file does."""


class Reduce(_Part):
    """How a template combines rows: all rows of a group, level by level, until one is left."""

    by: list[str] = []
    """Columns whose values make the groups; none: one group of all rows."""
    fan_in: int | None = Field(default=None, ge=2)
    """Items combined by one subtask at most; 8 where nothing is said."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens of the items of one subtask at most (but always two items)."""


class Redacts(_Part):
    """What a field of the answer redacts."""

    source: str
    """The column that is redacted; the template names it."""
    replaced: str
    """Path of the strings in the answer that were replaced, such as ``replaced[].text``."""


class Limits(_Part):
    """Bounds of one subtask; what is left out is apwa's own default."""

    output_tokens: int | None = Field(default=None, ge=1)
    turns: int | None = Field(default=None, ge=1)
    repairs: int | None = Field(default=None, ge=0)
    attempts: int | None = Field(default=None, ge=1)
    timeout_s: float | None = Field(default=None, gt=0)

    def work(self, output_tokens: int | None = None) -> WorkLimits:
        """As the worker's limits; ``output_tokens`` where nothing is said here."""
        given = self.model_dump(exclude_none=True)
        if output_tokens is not None:
            given.setdefault("output_tokens", output_tokens)
        return WorkLimits(**given)


class TemplateStep(_Part):
    """One description of many subtasks: an instruction over each row of a table."""

    template: str = Field(min_length=1)
    """The instruction; ``{{column}}`` stands for the row's value."""
    over: str
    """The table or step whose rows are worked."""
    contract: dict[str, Any]
    """What an answer must be: the short form (name: type) or a JSON Schema of an object."""
    checks: list[str] = []
    """SQL conditions over ``input.x`` and ``output.y`` that must be true."""
    quotes: dict[str, str] = {}
    """Path of a text in the answer, to the column it must be copied from."""
    releases: list[str] = []
    """Fields of the answer that policy rules no longer hold back: a person vouches for them."""
    redacts: dict[str, Redacts] = {}
    """Field of the answer, to what it redacts: no listed string may survive, and all else stays."""
    grant: dict[str, dict[str, Any]] = {}
    """Capabilities of the workers, each with its arguments."""
    reduce: Reduce | None = None
    model: str = ""
    resources: dict[ResourceName, ResourceAmount] = {}
    """What one host of these workers is given on a cluster: cpu, memory, gpu, or its own names."""
    limits: Limits = Limits()
    parameters: dict[str, Any] = {}
    """Fields of the model call's body: temperature, reasoning_effort and the like."""
    headers: dict[str, str] = {}
    """Headers of the model call. Never a key: keys come from the environment."""

    @field_validator("parameters", mode="after")
    @classmethod
    def _not_the_request_itself(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in SET_OTHERWISE:
                raise ValueError(f"{name} is not set here: {SET_OTHERWISE[name]}")
            if names_secret(name):
                raise ValueError(f"{name} would carry a key, and keys stand in no plan")
        return value

    @field_validator("model", mode="after")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        if held := secret_in_address(value):
            raise ValueError(f"the address holds {held}, and keys stand in no plan")
        return value

    @field_validator("headers", mode="after")
    @classmethod
    def _no_keys(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if names_secret(name):
                raise ValueError(f"{name} would carry a key, and keys stand in no plan")
            if not _HEADER.fullmatch(name) or not text.isprintable():
                raise ValueError(f"{name!r} is no header that can be sent")
        return value

    @field_validator("grant", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {name: {} for name in value}
        if isinstance(value, dict):
            return {name: {} if inner is None else inner for name, inner in value.items()}
        return value


class QueryStep(_Part):
    """A table made by SQL, without a model."""

    query: str = Field(min_length=1)
    key: list[str] = []
    releases: list[str] = []
    """Columns that policy rules no longer hold back: a person vouches for them."""


class RowsStep(_Part):
    """A small table that the plan holds itself."""

    rows: list[dict[str, Any]] = Field(min_length=1)
    key: list[str] = []

    @field_validator("rows", mode="after")
    @classmethod
    def _nested_as_text(cls, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Lists of texts stay lists; other nested values become JSON text."""
        names = {name for row in rows for name in row}
        nested = {name for name in names if _is_nested([row.get(name) for row in rows])}
        return [
            {name: _text(value) if name in nested else value for name, value in row.items()}
            for row in rows
        ]


Step = TemplateStep | QueryStep | RowsStep

STEP_KINDS: dict[str, type[TemplateStep] | type[QueryStep] | type[RowsStep]] = {
    "template": TemplateStep,
    "query": QueryStep,
    "rows": RowsStep,
}
"""A step's kind is told by the one of these keys that it has."""


class Plan(_Part):
    """Steps that make tables of tables, and which of them is the answer."""

    apwa: Literal[1] = 1
    job: str = ""
    tables: dict[str, TableDecl] = {}
    policy: dict[str, list[str]] = {}
    """Columns (TABLE.COLUMN with *, sensitive, *) to the endpoints to which they may go."""
    steps: dict[StepName, Step] = Field(min_length=1)
    answer: str = ""
    """The step that is the answer; may be left out where only one step is nobody's source."""

    @property
    def models(self) -> list[str]:
        """The models that templates name."""
        named = {step.model for step in self.steps.values() if isinstance(step, TemplateStep)}
        return sorted(named - {""})


def plan_json_schema() -> dict[str, Any]:
    """The JSON Schema of plan files, for editors."""
    schema = Plan.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    grant = schema["$defs"]["TemplateStep"]["properties"]["grant"]
    names_alone = {"type": "array", "items": {"type": "string"}}
    mapping = {key: grant.pop(key) for key in ("type", "additionalProperties")}
    mapping["additionalProperties"] = {"anyOf": [{"type": "object"}, {"type": "null"}]}
    grant["anyOf"] = [mapping, names_alone]
    return schema


def _is_nested(values: list[Any]) -> bool:
    nested = [value for value in values if isinstance(value, (dict, list))]
    all_texts = all(
        isinstance(value, list) and all(isinstance(item, str) for item in value) for value in nested
    )
    return bool(nested) and not all_texts


def _text(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list)) else value
