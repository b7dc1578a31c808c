"""Rows worked by rules: real input in, answers that fit the schema out."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from apwa.practice import sample

from .conftest import REDACTION, TEXT, Endpoint, Json, schema, worker

NOTE = "Dear Mrs. Smith, I am Anna Kovacs. Write to anna.k@example.org or call +44 20 7946 0018."


def rows(name: str) -> list[Json]:
    return [json.loads(line) for line in sample(name).read_text(encoding="utf-8").splitlines()]


def test_personal_data_is_replaced_and_listed_word_for_word(model: Endpoint) -> None:
    found = model.fields(worker("Redact personal data in <body>.", REDACTION, {"body": NOTE}))
    for secret in ("Anna Kovacs", "anna.k@example.org", "7946"):
        assert secret not in found["redacted"]
    assert {"text": "anna.k@example.org", "tag": "EMAIL"} in found["replaced"]
    assert all(piece["text"] in NOTE for piece in found["replaced"])


def test_what_is_replaced_and_what_is_left_make_the_note_again(model: Endpoint) -> None:
    for row in rows("notes.jsonl")[:40]:
        body = worker("Redact personal data in <text>.", REDACTION, {"text": row["text"]})
        found = model.fields(body)
        again = found["redacted"]
        for piece in found["replaced"]:
            again = again.replace(f"[{piece['tag']}]", piece["text"], 1)
        assert again == row["text"]


def test_a_closed_list_of_tags_is_kept_to(model: Endpoint) -> None:
    tags = {"type": "string", "enum": ["NAME", "MAIL", "OTHER"]}
    replaced = {"type": "array", "items": schema(text=TEXT, tag=tags)}
    answer = schema(redacted=TEXT, replaced=replaced)
    found = model.fields(worker("Redact personal data in <body>.", answer, {"body": NOTE}))
    assert {piece["tag"] for piece in found["replaced"]} <= {"NAME", "MAIL", "OTHER"}
    assert "[MAIL]" in found["redacted"]


def test_only_the_kinds_asked_for_are_redacted(model: Endpoint) -> None:
    task = "Redact only e-mail addresses in <body>."
    found = model.fields(worker(task, REDACTION, {"body": NOTE}))
    assert "Anna Kovacs" in found["redacted"]
    assert "anna.k@example.org" not in found["redacted"]


FIELDS = schema(
    company={"type": ["string", "null"]},
    date={"type": ["string", "null"]},
    address={"type": ["string", "null"]},
    total={"type": ["number", "null"]},
)
RECEIPT = """\
AIK HUAT HARDWARE SDN BHD
NO. 17-G, JALAN SETIA INDAH,
40170 SHAH ALAM, SELANGOR
TEL: 03-3362 4137
DATE: 31/01/2018
CEMENT 2 X 8.50 17.00
TOTAL 17.00
CASH 20.00
CHANGE 3.00"""


def test_fields_are_extracted_by_their_names(model: Endpoint) -> None:
    task = "Extract the company, date, address and total from <text>."
    assert model.fields(worker(task, FIELDS, {"text": RECEIPT})) == {
        "company": "AIK HUAT HARDWARE SDN BHD",
        "date": "31/01/2018",
        "address": "NO. 17-G, JALAN SETIA INDAH, 40170 SHAH ALAM, SELANGOR",
        "total": 17.0,
    }


def test_what_is_extracted_stands_in_the_receipt(model: Endpoint) -> None:
    for row in rows("receipts.jsonl"):
        found = model.fields(worker("Extract the fields of <text>.", FIELDS, {"text": row["text"]}))
        folded = " ".join(row["text"].split())
        for name in ("company", "date", "address"):
            assert found[name] is None or " ".join(found[name].split()) in folded


@pytest.mark.parametrize(
    ("text", "tone"),
    [
        ("A wonderful, moving film with great acting.", "positive"),
        ("Dull, badly written and a terrible waste of time.", "negative"),
        ("The train leaves at nine.", "neutral"),
    ],
)
def test_tone_is_told(model: Endpoint, text: str, tone: str) -> None:
    answer = schema(tone={"type": "string", "enum": ["positive", "negative", "neutral"]})
    assert model.fields(worker("Classify the tone.", answer, {"text": text})) == {"tone": tone}


ADDRESS = sample("addresses") / "1865-Lincoln.txt"


def test_a_summary_is_short_and_taken_from_the_text(model: Endpoint) -> None:
    text = ADDRESS.read_text(encoding="utf-8")
    task = "Summarise <text> in at most two sentences of 60 words in all."
    found = model.fields(worker(task, schema(summary=TEXT), {"text": text}))["summary"]
    assert 5 < len(found.split()) <= 62
    assert found.split()[0] in text


def test_a_reduce_reads_all_its_items(model: Endpoint) -> None:
    items = [{"summary": "The harbour was closed."}, {"summary": "The bridge stayed open."}]
    found = model.fields(worker("Merge <summary> into one.", schema(summary=TEXT), *items))
    assert "harbour" in found["summary"] and "bridge" in found["summary"]


def test_the_schema_is_read_from_the_prompt_where_none_is_enforced(model: Endpoint) -> None:
    body = worker("Redact <body>.", REDACTION, {"body": NOTE}, enforced=False)
    assert set(model.fields(body)) == {"redacted", "replaced"}


def test_the_tags_mark_changes_nothing(model: Endpoint) -> None:
    one = worker("Redact <body>.", REDACTION, {"body": NOTE}, nonce="aaaa")
    other = worker("Redact <body>.", REDACTION, {"body": NOTE}, nonce="Zz19xQ")
    assert model.answer(one)["content"] == model.answer(other)["content"]


def test_a_repair_brings_another_answer(model: Endpoint) -> None:
    answer = schema(kind={"type": "string", "enum": ["red", "green", "blue"]})
    body = worker("Classify <text>.", answer, {"text": "nothing to go by"})
    first = model.answer(body)["content"]
    body["messages"] += [
        {"role": "assistant", "content": first},
        {"role": "user", "content": "Your answer was not accepted: check `x` is not true"},
    ]
    assert json.loads(model.answer(body)["content"]) != json.loads(first)


ODD = schema(
    when={"type": ["string", "null"], "format": "date"},
    score={"type": "integer", "minimum": 1, "maximum": 5},
    share={"type": "number"},
    sure={"type": "boolean"},
    tags={"type": "array", "items": TEXT, "minItems": 2, "maxItems": 3},
    people={"type": "array", "items": schema(name=TEXT, role={"type": ["string", "null"]})},
    more={"anyOf": [schema(note={"type": "string", "maxLength": 20}), {"type": "null"}]},
    fixed={"const": "v1"},
    level={"type": ["string", "null"], "enum": ["low", "high", None]},
    code={"type": "string", "minLength": 30},
)


@pytest.mark.parametrize("text", [NOTE, RECEIPT, "", "…", "x" * 30_000, "née\n\n\t漢字 ☃"])
def test_any_schema_is_obeyed_whatever_the_text(model: Endpoint, text: str) -> None:
    found = model.fields(worker("Do something with <text>.", ODD, {"text": text}))
    jsonschema_rs.validate(ODD, found, validate_formats=True)


# ---- tools


def tool(name: str, parameter: str) -> Json:
    parameters = schema(**{parameter: TEXT})
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def with_result(body: Json, message: Json, result: str) -> Json:
    call = message["tool_calls"][0]["id"]
    return {
        **body,
        "messages": [
            *body["messages"],
            message,
            {"role": "tool", "tool_call_id": call, "content": result},
        ],
    }


def arguments(message: Json) -> Any:
    return json.loads(message["tool_calls"][0]["function"]["arguments"])


def test_a_sum_is_handed_to_the_calculator_and_its_result_used(model: Endpoint) -> None:
    body = worker(
        "Compute <sum>.",
        schema(result={"type": "number"}),
        {"sum": "What is (17 + 4) * 3.5?"},
        tools=[tool("calculate", "expression")],
    )
    message = model.answer(body)
    assert arguments(message) == {"expression": "(17 + 4) * 3.5"}
    assert model.fields(with_result(body, message, "73.5")) == {"result": 73.5}


def test_a_key_is_looked_up_once(model: Endpoint) -> None:
    body = worker(
        "Look up <code> and give its price.",
        schema(price={"type": "number"}),
        {"code": "A-17", "note": "a longer text that is not the key"},
        tools=[tool("look_up", "key")],
    )
    message = model.answer(body)
    assert arguments(message) == {"key": "A-17"}
    assert model.fields(with_result(body, message, '{"code":"A-17","price":12.5}')) == {
        "price": 12.5
    }


def test_no_tool_is_called_that_nobody_asked_for(model: Endpoint) -> None:
    body = worker(
        "Summarise <text>.",
        schema(summary=TEXT),
        {"text": "It cost 3 + 4 francs."},
        tools=[tool("calculate", "expression")],
    )
    assert "tool_calls" not in model.answer(body)


def test_numbers_that_can_be_no_date_are_passed_over(model: Endpoint) -> None:
    answer = schema(date={"type": ["string", "null"]})
    text = "NO 43-45-47G, TAMAN SEJATI\n25/01/2018 1:22:56PM"
    assert model.fields(worker("Extract the date.", answer, {"text": text})) == {
        "date": "25/01/2018"
    }
