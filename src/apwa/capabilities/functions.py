"""A user's own functions as capabilities: each is one tool, with the function's name.

The types of its parameters become the tool's schema, its docstring what the model reads of it.
Arguments are checked before the function is called.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints, overload

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_json

from apwa.capabilities.seam import CapabilityCard, ToolResult
from apwa.models.seam import Text, ToolSpec
from apwa.vocabulary import Misuse

_MARK = "__apwa_capability__"
_LONGEST_RESULT = 100_000  # characters
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Marked:
    pure: bool
    secrets: tuple[str, ...]


@overload
def capability(function: Function, /) -> Function: ...


@overload
def capability(
    *, pure: bool = False, secrets: Sequence[str] = ()
) -> Callable[[Function], Function]: ...


def capability(
    function: Function | None = None, /, *, pure: bool = False, secrets: Sequence[str] = ()
) -> Function | Callable[[Function], Function]:
    """Mark a function of a module as a capability, for ``--module`` and ``run(modules=…)``.

    It may be ``async``; any other is called in a thread. A ``ValueError`` that it raises is told to
    the model, which may try again; anything else ends the attempt.

    Args:
        pure: It gives the same for the same arguments, so that equal rows may share an answer.
        secrets: Environment variables that it reads. They are looked for before anything is spent,
            and reach the hosts of a cluster.
    """

    def mark(marked: Function) -> Function:
        setattr(marked, _MARK, _Marked(pure, tuple(secrets)))
        return marked

    return mark if function is None else mark(function)


def functions_of(contents: Mapping[str, Any], version: str, where: str) -> list[UserFunction]:
    """The functions among a module's contents that are marked.

    Raises Misuse for one that no tool can be made of.
    """
    found: list[UserFunction] = []
    seen: set[int] = set()
    for value in contents.values():
        marked = getattr(value, _MARK, None)
        if isinstance(marked, _Marked) and inspect.isfunction(value) and id(value) not in seen:
            seen.add(id(value))
            place = f"{where}, line {value.__code__.co_firstlineno}, {value.__name__}"
            found.append(UserFunction(value, marked, version, place))
    return found


class UserFunction:
    """The capability that a function is.

    Attributes:
        secrets: Environment variables that it reads.
    """

    def __init__(
        self, function: Callable[..., Any], marked: _Marked, version: str, where: str
    ) -> None:
        words = inspect.getdoc(function)
        if not words:
            raise Misuse("the function has no docstring", where, "Say in one what it is good for.")
        self.secrets = marked.secrets
        self._function = function
        self._arguments = _arguments_of(function, where)
        schema = self._arguments.model_json_schema()
        for title in (schema, *schema.get("properties", {}).values()):
            title.pop("title", None)
        self._tool = ToolSpec(function.__name__, words, schema)
        self.card = CapabilityCard(
            function.__name__, words, _NO_ARGUMENTS, version, shareable=marked.pure,
            requires=list(marked.secrets),
        )  # fmt: skip

    def portable(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments

    async def start(self) -> None:
        for name in self.secrets:
            if name not in os.environ:
                raise Misuse(f"{name} is not set here", f"capability {self.card.name}")

    async def stop(self) -> None:
        pass

    async def open(self, arguments: dict[str, Any]) -> UserFunction:
        return self  # nothing is kept between calls, so that all may share it

    @property
    def tools(self) -> list[ToolSpec]:
        return [self._tool]

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolResult:
        try:
            checked = self._arguments.model_validate(arguments)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]
            )
            return ToolResult([Text(f"the arguments do not fit: {wrong}")], failed=True)
        values = {name: getattr(checked, name) for name in type(checked).model_fields}
        try:
            if inspect.iscoroutinefunction(self._function):
                result = await self._function(**values)
            else:
                result = await asyncio.to_thread(self._function, **values)
        except ValueError as error:
            return ToolResult([Text(str(error) or type(error).__name__)], failed=True)
        text = result if isinstance(result, str) else to_json(result).decode()
        if len(text) > _LONGEST_RESULT:
            words = f"the result has {len(text):,} characters, at most {_LONGEST_RESULT:,}: ask for"
            return ToolResult([Text(f"{words} less")], failed=True)
        return ToolResult([Text(text)])

    async def close(self) -> None:
        pass


def _arguments_of(function: Callable[..., Any], where: str) -> type[BaseModel]:
    """A model of a function's parameters."""
    fields: dict[str, Any] = {}
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise Misuse(f"its types cannot be read: {error}", where) from error
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise Misuse(
                f"the parameter {parameter} cannot be given by name", where, "Name each parameter."
            )
        if name not in hints:
            raise Misuse(
                f"the parameter {name} has no type", where, f"Give it one, such as {name}: str."
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints[name], default)
    try:
        made = create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
        msgspec.json.encode(made.model_json_schema())
    except Exception as error:  # pydantic's errors for what it knows no schema of are many
        raise Misuse(f"no tool can be made of its parameters: {error}", where) from error
    return made
