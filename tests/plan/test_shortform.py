"""The short form of contracts, and the columns that contracts make."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from apwa.plan import answer_schema, answers_to_arrow, contract_schema
from apwa.plan.mapping import answer_fields
from apwa.plan.shortform import ContractProblem, contract_problems
from apwa.vocabulary import ContractSpec


def field(text: Any) -> dict[str, Any]:
    return contract_schema({"f": text})["properties"]["f"]


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("str", {"type": "string"}),
        ("float", {"type": "number"}),
        ("int?", {"type": ["integer", "null"]}),
        ("bool", {"type": "boolean"}),
        ("date", {"type": "string", "format": "date"}),
        ("str | null", {"type": ["string", "null"]}),
        ("a | b | not sure", {"type": "string", "enum": ["a", "b", "not sure"]}),
        ("'c++' | \"d|e\"", {"type": "string", "enum": ["c++", "d|e"]}),
        ("a | b?", {"type": ["string", "null"], "enum": ["a", "b", None]}),
        ("1 | 2 | 3", {"type": "integer", "enum": [1, 2, 3]}),
        ("list[str]", {"type": "array", "items": {"type": "string"}}),
        ("list[int]?", {"type": ["array", "null"], "items": {"type": "integer"}}),
        (["str"], {"type": "array", "items": {"type": "string"}}),
        ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 0}),
    ],
)
def test_each_word_has_its_schema(text: Any, schema: dict[str, Any]) -> None:
    assert field(text) == schema


def test_lists_of_objects_and_nested_mappings_are_closed() -> None:
    expected = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "tag": {"type": "string", "enum": ["NAME", "EMAIL"]},
        },
        "required": ["text", "tag"],
        "additionalProperties": False,
    }
    assert field("list[{text: str, tag: NAME | EMAIL}]")["items"] == expected
    assert field({"text": "str", "tag": "NAME | EMAIL"}) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strng", "did you mean 'string'"),
        ("list", "type of its items"),
        ("list[str", "']' was expected"),
        ("list[]", "name was expected"),
        ("str | int", "one type"),
        ("{a: str", "expected"),
        ("a | a", "twice"),
        ("", "too early"),
        ("str]", "left"),
        (12, "is no type"),
        ({}, "without fields"),
    ],
)
def test_a_wrong_type_says_what_was_expected(text: Any, said: str) -> None:
    with pytest.raises(ContractProblem) as raised:
        field(text)
    assert said in f"{raised.value.what} {raised.value.todo}"
    assert raised.value.path[0] == "f"


def test_columns_follow_the_contract_and_never_the_rows() -> None:
    schema = contract_schema(
        {
            "name": "str", "n": "int", "x": "float?", "ok": "bool", "day": "date",
            "kind": "a | b", "tags": "list[str]", "items": "list[{text: str, score: float}]",
        }
    )  # fmt: skip
    columns = answer_schema(ContractSpec(schema))
    assert columns == pa.schema(
        {
            "name": pa.string(), "n": pa.int64(), "x": pa.float64(), "ok": pa.bool_(),
            "day": pa.date32(), "kind": pa.string(), "tags": pa.list_(pa.string()),
            "items": pa.list_(pa.struct({"text": pa.string(), "score": pa.float64()})),
        }
    )  # fmt: skip
    answer = {
        "name": "n", "n": 2**63 - 1, "x": 2**60 + 1, "ok": True, "day": "2024-02-29",
        "kind": "a", "tags": [], "items": [{"text": "t", "score": 1}],
    }  # fmt: skip
    batch = answers_to_arrow([None, msgspec.json.encode(answer)], columns)
    assert batch.schema == columns
    empty, full = batch.to_pylist()
    assert set(empty.values()) == {None}
    assert full["day"] == datetime.date(2024, 2, 29)
    assert full["items"] == [{"text": "t", "score": 1.0}]
    assert answers_to_arrow([], columns).num_rows == 0


@pytest.mark.parametrize(
    "part",
    [
        {"type": ["string", "integer"]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object"},
        {"type": "array"},
        {"enum": ["a", 1]},
        {},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/loop"},
    ],
)
def test_what_cannot_be_a_column_is_said_before_any_row(part: dict[str, Any]) -> None:
    loop = {"type": "object", "properties": {"again": {"$ref": "#/$defs/loop"}}}
    schema = {
        "type": "object", "properties": {"good": {"type": "string"}, "bad": part},
        "$defs": {"loop": loop},
    }  # fmt: skip
    _, (problem,) = answer_fields(contract_schema(schema))
    assert problem.path[:2] == ("properties", "bad")


def test_local_references_and_null_alternatives_are_followed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"$ref": "#/$defs/word"}, {"type": "null"}]},
            "b": {"enum": ["x", "y", None]},
            "c": {"const": 3},
        },
        "$defs": {"word": {"type": "string"}},
    }
    assert answer_schema(ContractSpec(contract_schema(schema))) == pa.schema(
        {"a": pa.string(), "b": pa.string(), "c": pa.int64()}
    )


def test_all_wrong_fields_of_a_contract_are_said_at_once() -> None:
    problems = contract_problems({"a": "str or null", "b": "int", "c": "strg", "d": "array"})
    assert [problem.path for problem in problems] == [("a",), ("c",), ("d",)]
    assert problems[0].what == "'str or null' is no type"
    assert "with null" in problems[0].todo
    assert problems[1].todo == "did you mean 'str'?"
