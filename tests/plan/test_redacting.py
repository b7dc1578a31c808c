"""Redactions: no listed string survives, and all else is as it was. Over texts marked by people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apwa.plan import Contract, ContractBroken, contract_schema
from apwa.plan.redacting import NotRedacted, redaction
from apwa.vocabulary import ContractSpec, Redacted

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in Path(__file__).with_name("redactions.jsonl").read_text("utf-8").splitlines()
]
RIGHT = [row for row in ROWS if "left" not in row]


def marked(row: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The text in pieces: what stays, each with what follows it and is marked."""
    text, at = row["text"], 0
    kept: list[str] = []
    listed: list[str] = []
    for start, stop, _ in sorted(row["spans"]):
        if start >= at:
            kept.append(text[at:start])
            listed.append(text[start:stop])
            at = stop
    return [*kept, text[at:]], listed


def put(kept: list[str], replacements: list[str]) -> str:
    return "".join(k + r for k, r in zip(kept, [*replacements, ""], strict=True))


@pytest.mark.parametrize("row", RIGHT, ids=lambda row: row["text"][:20])
def test_what_people_marked_and_replaced_is_a_redaction(row: dict[str, Any]) -> None:
    kept, listed = marked(row)
    redacted = put(kept, ["[X]"] * len(listed))
    assert redaction(row["text"], redacted, listed) == redacted


def test_what_people_missed_is_found() -> None:
    missed = [row for row in ROWS if "left" in row]
    assert len(missed) == 2
    for row in missed:
        kept, listed = marked(row)
        with pytest.raises(NotRedacted, match=f"'{row['left']}' still stands in it"):
            redaction(row["text"], put(kept, ["[X]"] * len(listed)), listed)


@given(st.sampled_from(RIGHT), st.data())
def test_a_replacement_undone_is_found_in_capitals_too(
    row: dict[str, Any], data: st.DataObject
) -> None:
    kept, listed = marked(row)
    number = data.draw(st.integers(0, len(listed) - 1))
    tags = ["[X]"] * len(listed)
    tags[number] = data.draw(st.sampled_from([listed[number], listed[number].upper()]))
    with pytest.raises(NotRedacted):
        redaction(row["text"], put(kept, tags), listed)


@given(st.sampled_from(RIGHT), st.data())
def test_what_is_replaced_and_not_listed_is_found(row: dict[str, Any], data: st.DataObject) -> None:
    kept, listed = marked(row)
    number = data.draw(st.integers(0, len(kept) - 1))
    words = kept[number].split(" ")
    at = data.draw(st.integers(0, len(words) - 1))
    if not any(c.isalnum() for c in words[at]):
        return
    changed = [*kept]
    changed[number] = " ".join([*words[:at], "\u2588", *words[at + 1 :]])
    with pytest.raises(NotRedacted, match="unchanged"):
        redaction(row["text"], put(changed, ["[X]"] * len(listed)), listed)


@given(st.sampled_from(RIGHT), st.data())
def test_text_that_is_added_is_found(row: dict[str, Any], data: st.DataObject) -> None:
    kept, listed = marked(row)
    number = data.draw(st.integers(0, len(listed) - 1))
    tags = ["[X]"] * len(listed)
    tags[number] = "[X] " + "and so the patient went home, as was said before. " * 40
    with pytest.raises(NotRedacted):
        redaction(row["text"], put(kept, tags), listed)


@given(st.sampled_from(RIGHT))
def test_straightened_marks_and_spaces_come_back_as_they_were(row: dict[str, Any]) -> None:
    kept, listed = marked(row)
    tags = ["[X]"] * len(listed)
    straight = [k.replace("\u201c", '"').replace("\u2019", "'").replace("\n", " \n ") for k in kept]
    found = redaction(row["text"], put(straight, tags).strip(), listed)
    assert found.split() == put(kept, tags).split()
    assert all(part.strip() in found for part in kept)


@pytest.mark.parametrize(
    ("source", "text", "listed"),
    [
        ("Ann paid the annual fee.", "[N] paid the annual fee.", ["Ann"]),
        ("May you may, May.", "[N] you may, [N].", ["May"]),
        ("Room 12 is 12.5 m wide.", "Room [N] is 12.5 m wide.", ["12"]),
        ("Smiths met.", "[N]s met.", ["Smith"]),
        ("Met Smith, of the Smiths.", "Met [N], of the [N]s.", ["Smith"]),
        ("John Smith, John.", "[A], [B].", ["John Smith", "John"]),
        ("Met Al  yesterday.", "Met yesterday.", ["Al"]),
        ("Ana", "[N]", ["Ana"]),
        ("nothing here", "nothing here\n", []),
        ("", "", []),
        ("José and Jose\u0301.", "[N] and [N].", ["José"]),
    ],
)
def test_what_is_a_redaction(source: str, text: str, listed: list[str]) -> None:
    redaction(source, text, listed)


@pytest.mark.parametrize(
    ("source", "text", "listed", "words"),
    [
        ("I am John, JOHN I am.", "I am [N], JOHN I am.", ["John"], "'John' still stands"),
        ("Peter-Paul came.", "[N]-Paul came.", ["Peter", "Paul"], "'Paul' still stands"),
        ("Jo\u00ado came.", "Jo\u00ado came.", ["Joo"], "still stands"),
        ("He lives in Rome.", "She lives in [C].", ["Rome"], "at its beginning"),
        (
            "He lives in Rome.",
            "He lives in [C], so they say" + " and say" * 9 + ".",
            ["Rome"],
            "after 'Rome' was replaced",
        ),
        ("He lives here.", "He lives here. So there!", [], "at its beginning"),
        ("", "Something.", [], "the source has none"),
    ],
)
def test_what_is_none_and_why(source: str, text: str, listed: list[str], words: str) -> None:
    with pytest.raises(NotRedacted, match=words):
        redaction(source, text, listed)


@given(st.text(max_size=60), st.text(max_size=60), st.lists(st.text(max_size=5), max_size=3))
def test_whatever_a_model_writes_is_a_redaction_or_says_why(
    source: str, text: str, listed: list[str]
) -> None:
    try:
        redaction(source, text, listed)
    except NotRedacted as why:
        assert str(why)


def test_a_contract_holds_a_redaction_to_its_source() -> None:
    fields = {"redacted": "str", "replaced": "list[{text: str, tag: str}]"}
    spec = ContractSpec(
        contract_schema(fields), redacts={"redacted": Redacted("body", "replaced[].text")}
    )
    contract = Contract(spec, ["id", "body"])
    body = "Dr. O\u2019Neill  called; ask o\u2019neill."

    def parse(redacted: str, *replaced: str) -> dict[str, Any]:
        listed = [{"text": text, "tag": "NAME"} for text in replaced]
        answer = msgspec.json.encode({"redacted": redacted, "replaced": listed}).decode()
        return contract.parse(answer, [1, body])[0]

    answer = parse("Dr. [NAME] called; ask [NAME].", "O'Neill", "o'neill")
    assert answer["redacted"] == "Dr. [NAME]  called; ask [NAME]."
    assert [r["text"] for r in answer["replaced"]] == ["O\u2019Neill", "o\u2019neill"]
    for wrong, listed, words in (
        ("Dr. [NAME] called; ask o'neill.", ["O'Neill"], "redacted: .O.Neill. still stands"),
        ("Dr. [NAME] called; ask [NAME].", ["O'Neil"], "redacted: "),
        ("Dr. [NAME] called; ask [NAME].", ["O'Brien"], r"replaced\[0\].text: .* word for word"),
    ):
        with pytest.raises(ContractBroken, match=words):
            parse(wrong, *listed)
    with pytest.raises(ContractBroken, match="redacted"):
        contract.parse('{"redacted": "x", "replaced": []}', [1, None])
