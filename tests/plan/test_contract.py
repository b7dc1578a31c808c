"""Contracts: what is an answer, what is none, and what the model is told about it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apwa.plan import Contract, ContractBroken, answer_schema, answers_to_arrow, contract_schema
from apwa.vocabulary import ContractSpec, ErrorKind


def contract(fields: dict[str, Any], quotes: dict[str, str] | None = None) -> Contract:
    return Contract(ContractSpec(contract_schema(fields), quotes=quotes or {}), ["id", "body"])


def broken(of: Contract, text: str, values: list[Any] | None = None) -> ContractBroken:
    with pytest.raises(ContractBroken) as raised:
        of.parse(text, values or [1, ""])
    return raised.value


SMALL = {"label": "good | bad", "score": "float"}


def test_keys_come_out_in_schema_order_and_compact() -> None:
    answer, text = contract(SMALL).parse('{ "score": 1, "label": "good" }', [])
    assert text == b'{"label":"good","score":1}'
    assert answer == {"label": "good", "score": 1}
    nested = contract({"a": "list[{x: int, y: str}]"})
    assert nested.parse('{"a":[{"y":"q","x":2.0}]}', [])[1] == b'{"a":[{"x":2,"y":"q"}]}'


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"label": "bad", "score": 0.5}\n```',
        'Here you are:\n{"label": "bad", "score": 0.5}\nI hope that helps {really}.',
        '\ufeff{"label": "bad", "score": 0.5}',
    ],
)
def test_fences_and_prose_around_one_object_are_put_aside(text: str) -> None:
    assert contract(SMALL).parse(text, [])[0] == {"label": "bad", "score": 0.5}


def test_a_whole_object_inside_of_one_that_is_cut_off_is_no_answer() -> None:
    of = contract({"label": "str"})
    cut = 'So: {"parts": [{"label": "inner"}], "label": "ou'
    assert "no valid JSON" in broken(of, cut).message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"label": "ugly", "score": 1}', 'label: must be one of "good", "bad"; it is \'ugly\''),
        ('{"label": "good", "score": "1"}', "score: must be a number, not a text ('1')"),
        ('{"score": 1}', "'label' is missing"),
        ('{"label": "good", "score": 1, "why": "x"}', "not allowed: 'why'"),
        ("[1, 2]", "one JSON object, not a list"),
        ("good", "one JSON object"),
        ('{"label": "good", "score": 1} {"label": "bad", "score": 1}', "there are 2"),
        ('{"label": "good", "score": ', "no valid JSON"),
        ('{"label": "good", "score": NaN}', "no valid JSON"),
        ('{"label": "good", "score": 1e999}', "no valid JSON"),
        ('{"label": "\\ud800", "score": 1}', "no valid JSON"),
        ("{" * 100_000, "no valid JSON"),
        ('{"label":' * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_with_field_rule_and_value(text: str, said: str) -> None:
    wrong = broken(contract(SMALL), text)
    assert said in wrong.message
    assert wrong.kind is ErrorKind.CONTRACT


def test_at_most_three_problems_are_said_and_long_values_are_clipped() -> None:
    many = contract(dict.fromkeys("abcdef", "int"))
    wrong = broken(many, msgspec.json.encode(dict.fromkeys("abcdef", "x" * 5000)).decode())
    assert wrong.message.count("must be a whole number") == 3
    assert len(wrong.message) < 1000


def test_nothing_said_is_empty_and_not_merely_wrong() -> None:
    words = contract({"title": "str", "note": "str?"})
    assert broken(words, "").kind is ErrorKind.EMPTY
    assert broken(words, " \n").kind is ErrorKind.EMPTY
    assert broken(words, '{"title": "", "note": null}').kind is ErrorKind.EMPTY


def test_empty_lists_and_nulls_that_the_schema_allows_are_answers() -> None:
    assert contract({"tags": "list[str]", "note": "str?"}).parse('{"tags":[],"note":null}', [])


def test_formats_and_ranges_are_asserted() -> None:
    days = contract({"day": "date", "n": "int"})
    assert "valid date" in broken(days, '{"day": "2023-02-30", "n": 1}').message
    assert "calendar" in broken(days, '{"day": "0000-01-01", "n": 1}').message
    assert "out of the range" in broken(days, '{"day": "2023-02-28", "n": 1e30}').message
    assert (
        "out of the range"
        in broken(days, '{"day": "2023-02-28", "n": 9223372036854775808}').message
    )


def test_no_schema_is_fetched() -> None:
    with pytest.raises(Exception, match="outside of the plan"):
        Contract(ContractSpec({"$ref": "http://127.0.0.1:9/x.json"}), [])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner),
    max_leaves=12,
)


@given(JSON_VALUES | st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), JSON_VALUES))
def test_whatever_a_model_says_is_an_answer_that_makes_a_row_or_is_broken(said: Any) -> None:
    spec = ContractSpec(
        contract_schema({"a": "int?", "b": "float?", "c": "list[{a: str, b: int?}]?", "d": "date?"})
    )
    try:
        answer, text = Contract(spec, []).parse(msgspec.json.encode(said).decode(), [])
    except ContractBroken as wrong:
        assert wrong.message
        return
    assert msgspec.json.decode(text) == answer
    assert answers_to_arrow([text], answer_schema(spec)).num_rows == 1


# ---- quotes

BODY = "Dear “Ann\u00a0 Lee”,\nthe ﬁle costs 5 €; naïve cafe\u0301.\r\n  Yours – Bob"
QUOTED = {"replaced": "list[{text: str, tag: NAME | ITEM}]"}


def quoted(text: str, body: Any = BODY) -> str:
    of = contract(QUOTED, {"replaced[].text": "body"})
    said = msgspec.json.encode({"replaced": [{"text": text, "tag": "NAME"}]}).decode()
    return of.parse(said, [1, body])[0]["replaced"][0]["text"]


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ("Bob", "Bob"),
        ("  Bob ", "Bob"),
        ('"Ann Lee"', "“Ann\u00a0 Lee”"),
        ("the file costs", "the ﬁle costs"),
        ("caf\u00e9.", "cafe\u0301."),
        ("cafe\u0301. Yours - Bob", "cafe\u0301.\r\n  Yours – Bob"),
        ("Lee”, the", "Lee”,\nthe"),
    ],
)
def test_a_quote_is_put_into_the_source_s_own_words(said: str, own: str) -> None:
    assert quoted(said) == own
    assert own in BODY


@pytest.mark.parametrize("said", ["Carl", "bob", "B", "", "   ", "Ann Lee the file"])
def test_what_does_not_stand_in_the_source_is_no_quote(said: str) -> None:
    with pytest.raises(ContractBroken) as raised:
        quoted(said)
    assert "replaced[0].text" in raised.value.message


def test_a_source_of_one_character_can_be_quoted() -> None:
    assert quoted("x", "x") == "x"
    with pytest.raises(ContractBroken):
        quoted("xy", None)


@given(st.text(min_size=1), st.data())
def test_any_piece_of_the_source_is_a_quote_of_it(body: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(body) - 1))
    piece = body[start : data.draw(st.integers(start + 1, len(body)))]
    if len(piece.strip()) >= 2:
        assert quoted(piece, body) in body
