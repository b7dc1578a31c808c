"""Policy: which columns may go where, through queries and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from apwa.plan import Destination, Policy, Rule, load_plan, rules_of
from apwa.plan.lineage import lineage_of
from apwa.vocabulary import Misuse, PlanError, Problem
from tests.plan.test_check import NOTES, check, problems

REMOTE = Destination("openai:x", ("openai:x", "https://api.openai.com/v1"), False)
LOCAL = Destination("ollama:x", ("ollama:x", "http://localhost:11434/v1"), True)


async def broken(
    plan: str, rules: Mapping[str, Sequence[str]], to: Destination = REMOTE, **given: Any
) -> list[Problem]:
    checked = await check(plan, **given)
    _, places = load_plan(plan, "plan.yaml")
    policy = Policy(rules_of(rules, "a test"), {("notes", "lang")})
    ends = dict.fromkeys(checked.plan.steps, to)
    return policy.problems(checked, places, {"notes": NOTES}, ends)


def template(text: str, more: str = "") -> str:
    return (
        f"apwa: 1\nsteps:\n  a: {{template: '{text}', over: notes, contract: {{y: str}}{more}}}\n"
    )


@pytest.mark.parametrize(
    ("columns", "held"),
    [
        ("notes.text", True), ("notes.*", True), ("*.text", True), ("*", True), ("*.*x*", True),
        ("notes.TEXT", True), ("notes.lang", False), ("others.*", False), ("*.tex", False),
        ("sensitive", False),
    ],
)  # fmt: skip
async def test_a_rule_holds_the_columns_that_it_names(columns: str, held: bool) -> None:
    found = await broken(template("Read {{text}}"), {columns: ["local"]})
    assert bool(found) == held
    assert await broken(template("Read {{text}}"), {columns: ["local"]}, LOCAL) == []
    if held:
        (problem,) = found
        assert problem.line == 3 and problem.path == "steps.a.template"
        for word in ("'text'", columns, "[local]", "a test", "openai:x"):
            assert word in problem.what
        assert "releases" in problem.todo


async def test_sensitive_columns_are_held_as_a_class() -> None:
    assert await broken(template("Read {{lang}}"), {"sensitive": ["local"]})


@pytest.mark.parametrize(
    ("endpoints", "allowed"),
    [
        (["openai:*"], True), (["openai:x"], True), (["*"], True), (["local", "openai:*"], True),
        (["https://api.openai.com/*"], True), (["https://*"], True),
        ([], False), (["openai:y"], False), (["local"], False), (["ollama:*"], False),
        (["https://api.openai.com"], False), (["http://api.openai.com/*"], False),
    ],
)  # fmt: skip
async def test_an_endpoint_is_allowed_by_name_by_address_or_as_local(
    endpoints: list[str], allowed: bool
) -> None:
    found = await broken(template("Read {{text}}"), {"notes.text": endpoints})
    assert (found == []) == allowed


async def test_every_rule_must_allow_it() -> None:
    plan = template("Read {{text}}")
    assert await broken(plan, {"notes.text": ["openai:*"], "*": ["local"]})
    assert await broken(plan, {"*": ["openai:*"], "notes.*": ["openai:x", "local"]}) == []


QUERIES = {
    "SELECT id, text AS t FROM notes": {"t", "id"},
    "SELECT * FROM notes": {"id", "text", "lang"},
    "FROM notes": {"id", "text", "lang"},
    "SELECT id FROM notes WHERE length(text) > 3": {"id"},
    "SELECT lang FROM notes": set[str](),
    "SELECT lang, count(*) AS n FROM notes GROUP BY lang ORDER BY n": set[str](),
    "SELECT count(text) AS n, count(DISTINCT text) AS m FROM notes": set[str](),
    "SELECT max(text) AS m, count(*) AS n FROM notes": {"m"},
    'SELECT upper("TEXT") AS u FROM notes': {"u"},
    "SELECT n AS whole FROM notes AS n": {"whole"},
    "SELECT notes AS whole FROM notes": {"whole"},
    "SELECT x.lang AS l FROM notes AS x(id, lang, text)": {"l"},
    "SELECT #2 AS second FROM notes": {"second"},
    "SELECT COLUMNS('te.*') FROM notes": {"text"},
    "WITH w AS (SELECT text AS lang FROM notes) SELECT lang FROM w": {"lang"},
    "WITH w AS (SELECT text FROM notes) SELECT w AS r FROM w": {"r"},
    "SELECT a.lang FROM notes AS a JOIN notes AS b USING (text)": {"lang"},
    "SELECT lang FROM notes NATURAL JOIN (SELECT lang FROM notes)": {"lang"},
    "SELECT lang FROM notes UNION ALL SELECT text AS lang FROM notes": {"lang"},
    "SELECT (SELECT max(text) FROM notes) AS m FROM notes": {"m"},
    "SELECT list_transform([lang], lambda x: x || '!') AS l FROM notes": set[str](),
    "SELECT unnest([text]) AS piece FROM notes": {"piece"},
}


@pytest.mark.parametrize("sql", QUERIES)
async def test_what_a_query_makes_of_a_column_is_held_as_that_column(sql: str) -> None:
    plan = f"apwa: 1\nsteps:\n  q:\n    query: |\n      {sql}\nanswer: q\n"
    checked = await check(plan)
    lineage = lineage_of(checked, {"notes": NOTES})["q"]
    assert {c for c, origins in lineage.items() if ("notes", "text") in origins} == QUERIES[sql]


async def test_an_answer_is_held_as_what_its_worker_was_shown_until_it_is_released() -> None:
    plan = """\
apwa: 1
steps:
  redacted:
    template: Redact {{text}}
    over: notes
    contract: {clean: str, note: str}
    model: ollama:x
    releases: [clean]
  told:
    template: Tell of {{clean}} and {{lang}} and {{WHAT}}
    over: redacted
    contract: {tale: str}
  whole:
    template: "All of {{tale}}"
    over: told
    contract: {tale: str}
    reduce: {by: [lang]}
answer: whole
"""
    rules = rules_of({"notes.text": ["local"]}, "a test")
    ends = {"redacted": LOCAL, "told": REMOTE, "whole": REMOTE}
    for what, held in {"id": [], "text": ["told", "whole"], "note": ["told", "whole"]}.items():
        text = plan.replace("WHAT", what)
        checked = await check(text)
        _, places = load_plan(text, "plan.yaml")
        found = Policy(rules, ()).problems(checked, places, {"notes": NOTES}, ends)
        assert [problem.path for problem in found] == [f"steps.{s}.template" for s in held]
        assert all("made from notes.text" in p.what for p in found if "'text'" not in p.what)


async def test_a_rule_or_a_release_that_means_nothing_is_an_error() -> None:
    for columns, endpoint, words in (
        ("text", "local", "names no columns"),
        (".text", "local", "names no columns"),
        ("notes.text", "openai", "names no endpoint"),
    ):
        with pytest.raises(Misuse, match=words):
            rules_of({columns: [endpoint]}, "a test")
        plan = template("Read {{text}}") + f"policy: {{{columns}: [{endpoint}]}}\n"
        (problem,) = await problems(plan)
        assert words in problem.what and problem.line == 4
    plan = template("Read {{text}}") + "policy: {notes.txt: [local], nots.text: [local]}\n"
    one, two = await problems(plan)
    assert "no column notes.txt" in one.what + two.what and "'text'" in one.todo + two.todo
    assert "no table 'nots'" in one.what + two.what
    (problem,) = await problems(template("Read {{text}}", ", releases: [z]"))
    assert problem.path == "steps.a.releases[0]" and "no field 'z'" in problem.what
    query = "apwa: 1\nsteps:\n  q: {query: SELECT id FROM notes, releases: [text]}\n"
    (problem,) = await problems(query)
    assert "the query makes no column 'text'" in problem.what


def test_a_rule_says_itself_with_its_place() -> None:
    assert str(Rule("a.b", ["local", "x:*"], "plan.yaml")) == "a.b: [local, x:*] (plan.yaml)"


def test_a_star_in_a_plan_is_written_in_quotes() -> None:
    with pytest.raises(PlanError, match="put quotes around"):
        load_plan(template("x {{text}}") + "policy: {*: [local]}\n", "plan.yaml")
    plan, _ = load_plan(template("x {{text}}") + 'policy: {"*": [local]}\n', "plan.yaml")
    assert plan.policy == {"*": ["local"]}
