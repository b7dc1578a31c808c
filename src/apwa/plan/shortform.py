"""The short form of contracts: ``{name: str, kind: "a | b", tags: "list[str]", note: "str?"}``.

A field's type is a word (str, int, float, bool, date, datetime), ``list[type]``, an object
``{name: type, …}``, or alternatives ``a | b | c``; a ``?`` behind it allows null. Every field is
required and no other is allowed. A JSON Schema is taken as it is.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any, cast

from apwa.plan.loading import did_you_mean
from apwa.plan.places import Path

Schema = dict[str, Any]

_WORDS: dict[str, Schema] = {
    "str": {"type": "string"},
    "string": {"type": "string"},
    "text": {"type": "string"},
    "int": {"type": "integer"},
    "integer": {"type": "integer"},
    "float": {"type": "number"},
    "number": {"type": "number"},
    "bool": {"type": "boolean"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
}
_TOKEN = re.compile(r"""\s*(list\s*\[|[{}\[\],:|?]|"[^"]*"|'[^']*'|[^{}\[\],:|?"']+)""")


class ContractProblem(Exception):
    """A contract that says nothing usable; ``path`` below the contract."""

    def __init__(self, path: Path, what: str, todo: str = "") -> None:
        super().__init__(what)
        self.path = path
        self.what = what
        self.todo = todo


def contract_schema(contract: Mapping[str, Any]) -> Schema:
    """The JSON Schema of a contract, which may be one already. Raises ContractProblem.

    A schema's objects are closed: what it does not name is not allowed.
    """
    if is_json_schema(contract):
        return cast(Schema, _closed(copy.deepcopy(dict(contract))))
    if not contract:
        raise ContractProblem((), "the contract has no field", "for instance {summary: str}")
    return _object(contract, ())


def contract_problems(contract: Mapping[str, Any]) -> list[ContractProblem]:
    """All that is wrong with a contract, field by field, for whoever has to mend it."""
    problems: list[ContractProblem] = []
    for part in [{name: value} for name, value in contract.items()] or [contract]:
        try:
            contract_schema(part)
        except ContractProblem as problem:
            problems.append(problem)
    return problems


def is_json_schema(contract: Mapping[str, Any]) -> bool:
    return (
        "$schema" in contract
        or "$ref" in contract
        or (contract.get("type") == "object" and isinstance(contract.get("properties"), Mapping))
    )


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            closed[key] = {name: _closed(part) for name, part in value.items()}
        elif key in ("items", "anyOf", "oneOf"):
            closed[key] = _closed(value)
        else:
            closed[key] = value
    if "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


def _object(fields: Mapping[str, Any], path: Path) -> Schema:
    properties = {str(name): _field(value, (*path, name)) for name, value in fields.items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _field(value: Any, path: Path) -> Schema:
    if isinstance(value, str):
        return _Parser(value, path).whole()
    if isinstance(value, Mapping):
        fields = cast(Mapping[str, Any], value)
        if not fields:
            raise ContractProblem(path, "an object without fields")
        if isinstance(fields.get("type"), str) and fields["type"] in _JSON_TYPES:
            if set(fields) <= _SCHEMA_KEYS:  # a JSON Schema of one field inside the short form
                return cast(Schema, _closed(copy.deepcopy(dict(fields))))
        elif "enum" in fields and isinstance(fields["enum"], list):
            return dict(fields)
        return _object(fields, path)
    if isinstance(value, list):
        items = cast(list[Any], value)
        if len(items) == 1 and isinstance(items[0], (str, Mapping)):
            return {"type": "array", "items": _field(items[0], (*path, 0))}
        if items and all(isinstance(item, str) for item in items):
            return {"type": "string", "enum": items}
    raise ContractProblem(path, f"{value!r} is no type", _KNOWN)


_KNOWN = 'types are str, int, float, bool, date, "a | b", "list[str]", and "str?" with null'
_JSON_TYPES = {"string", "integer", "number", "boolean", "array", "object"}
_SCHEMA_KEYS = {
    "type", "description", "enum", "const", "format", "pattern", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "items",
    "minItems", "maxItems", "uniqueItems", "properties", "required", "additionalProperties",
    "title", "examples", "default",
}  # fmt: skip


class _Parser:
    """Recursive descent over one field's text."""

    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self._path = path
        self._tokens = [found.group(1).strip() for found in _TOKEN.finditer(text)]
        self._tokens = [token for token in self._tokens if token]
        self._at = 0

    def whole(self) -> Schema:
        schema = self._type(0)
        if self._at != len(self._tokens):
            raise self._bad(f"there is something left: {self._tokens[self._at]!r}")
        return schema

    def _type(self, depth: int) -> Schema:
        if depth > 12:
            raise self._bad("the type is nested too deeply")
        if self._peek().startswith("list"):
            if self._peek().endswith("["):
                self._at += 1
                inner = self._type(depth + 1)
                self._take("]")
                return self._maybe_null({"type": "array", "items": inner})
            if self._peek() == "list":
                raise self._bad("a list needs the type of its items", 'for instance "list[str]"')
        if self._peek() == "{":
            return self._maybe_null(self._braces(depth))
        return self._alternatives()

    def _braces(self, depth: int) -> Schema:
        self._take("{")
        properties: Schema = {}
        while self._peek() != "}":
            name = self._word()
            self._take(":")
            properties[name] = self._type(depth + 1)
            if self._peek() != "}":
                self._take(",")
        self._take("}")
        if not properties:
            raise self._bad("an object without fields")
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def _alternatives(self) -> Schema:
        words = [self._word()]
        while self._peek() == "|":
            self._at += 1
            words.append(self._word())
        nulls = [word for word in words if word in ("null", "None")]
        words = [word for word in words if word not in ("null", "None")]
        if len(words) == 1:
            word = words[0].lower()
            if word not in _WORDS:
                todo = did_you_mean(word, _WORDS) if " " not in word else ""
                raise self._bad("", todo if todo.startswith("did") else _KNOWN)
            schema = dict(_WORDS[word])
        elif not words:
            raise self._bad("null alone is no type")
        elif all(word in _WORDS for word in words):
            raise self._bad("a field has one type", "choose one, or make two fields")
        elif all(re.fullmatch(r"-?\d{1,15}", word) for word in words):
            schema = {"type": "integer", "enum": [int(word) for word in words]}
        else:
            schema = {"type": "string", "enum": words}
        if len(set(words)) != len(words):
            raise self._bad("an alternative stands here twice")
        return nullable(schema) if nulls else self._maybe_null(schema)

    def _maybe_null(self, schema: Schema) -> Schema:
        if self._peek() == "?":
            self._at += 1
            return nullable(schema)
        return schema

    def _word(self) -> str:
        token = self._peek()
        if token in ("", *"{}[],:|?") or token.endswith("["):
            raise self._bad(f"a name was expected, not {token!r}" if token else "it ends too early")
        self._at += 1
        return token[1:-1] if token[0] in "'\"" else token

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            found = repr(self._peek()) if self._peek() else "the end"
            raise self._bad(f"{wanted!r} was expected, not {found}")
        self._at += 1

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _bad(self, what: str, todo: str = "") -> ContractProblem:
        why = f": {what}" if what else ""
        return ContractProblem(self._path, f"{self._text!r} is no type{why}", todo or _KNOWN)


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    schema = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema
