"""Plan checks: every problem before the first call, each with its place and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from apwa.plan import CheckedPlan, GrantCard, TableShape, check_plan, load_plan, plan_from
from apwa.tables import SqlProblem
from apwa.tables.content import FIELDS
from apwa.vocabulary import PlanError, Problem

NOTES = TableShape(
    "notes",
    pa.schema([("id", pa.int64()), ("text", pa.string()), ("lang", pa.string())]),
    ("id",),
    5,
)
CARD = GrantCard(
    "lookup",
    {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
    True,
    "1",
    "Looks rows up.",
)


async def query_shape(
    sql: str, schemas: Mapping[str, pa.Schema], key: Sequence[str] = ()
) -> pa.Schema:
    """What ``SqlProcess.shape`` does, without its process and its rules."""
    with duckdb.connect(":memory:") as connection:
        for name, schema in schemas.items():
            connection.register(name, schema.empty_table())
        try:
            return connection.sql(sql).to_arrow_table().schema
        except duckdb.Error as error:
            position = sql.find("wrong")
            before = sql[: max(position, 0)]
            column = len(before) - before.rfind("\n")
            raise SqlProblem(str(error).split("\n")[0], before.count("\n") + 1, column) from error


async def check_problem(check: str, inputs: pa.Schema, outputs: pa.Schema) -> str | None:
    def struct(schema: pa.Schema) -> pa.Array:
        return pa.array([], pa.struct(list(schema)))

    both = pa.table({"input": struct(inputs), "output": struct(outputs)})
    with duckdb.connect(":memory:") as connection:
        connection.register("pairs", both)
        try:
            connection.sql(f"SELECT ({check})::BOOLEAN FROM pairs")
        except duckdb.Error as error:
            return str(error).split("\n")[0]
    return None


async def check(
    text: str,
    tables: Sequence[TableShape] = (NOTES,),
    grants: Sequence[GrantCard] = (CARD,),
    context: int | None = None,
) -> CheckedPlan:
    plan, places = load_plan(text, "plan.yaml")
    return await check_plan(
        plan,
        places,
        {table.name: table for table in tables},
        query_shape=query_shape,
        check_problem=check_problem,
        grants={card.name: card for card in grants},
        context=context,
    )


async def problems(text: str, **given: Any) -> list[Problem]:
    with pytest.raises(PlanError) as raised:
        await check(text, **given)
    return raised.value.problems


async def test_a_whole_plan_is_ordered_and_every_step_has_its_shape() -> None:
    checked = await check(
        """\
apwa: 1
steps:
  told:
    template: "Tell of {{lang}}: {{summary}}"
    over: summed
    contract: {summary: str}
    reduce: {by: [lang]}
  summed:
    template: "Sum up {{text}}, of {{kind}}"
    over: wide
    contract: {summary: str, day: "date?"}
    checks: ["length(output.summary) < length(input.text)"]
    grant: {lookup: {key: k}}
  wide:
    query: |
      WITH told AS (SELECT * FROM notes)
      SELECT told.*, kinds.kind FROM told, kinds
  kinds:
    rows: [{kind: a, weight: 1}, {kind: b, weight: 2.5}]
    key: [kind]
"""
    )
    assert checked.order == ["kinds", "wide", "summed", "told"]
    assert checked.needs == {
        "told": {"summed"}, "summed": {"wide"}, "wide": {"notes", "kinds"}, "kinds": set(),
    }  # fmt: skip
    assert checked.plan.answer == "told"  # nobody's source: named, though the plan left it out
    shapes = checked.shapes
    assert shapes["kinds"].schema == pa.schema([("kind", pa.string()), ("weight", pa.float64())])
    assert (shapes["kinds"].key, shapes["kinds"].rows) == (("kind",), 2)
    assert shapes["summed"].schema.names == ["id", "text", "lang", "kind", "summary", "day"]
    assert shapes["told"].schema == pa.schema(
        [
            ("lang", pa.string()), ("summary", pa.string()),
            ("items", pa.int64()), ("missing", pa.list_(pa.string())),
        ]
    )  # fmt: skip
    assert (shapes["told"].key, shapes["told"].rows) == (("lang",), None)


async def test_a_template_keeps_the_key_and_rows_of_its_source() -> None:
    checked = await check(
        "apwa: 1\nsteps:\n  a: {template: 'x {{text}}', over: notes, contract: {y: str}}\n"
    )
    assert (checked.shapes["a"].key, checked.shapes["a"].rows) == (("id",), 5)


async def test_all_problems_come_at_once_each_with_its_line_and_what_to_do() -> None:
    found = await problems(
        """\
apwa: 1
steps:
  a:
    template: Read {{txt}}.
    over: notes
    contract:
      text: str
      _status: str
      bad: strng
    grant: {loookup: {}}
  b:
    template: Read {{text}}.
    over: nots
    contract: {y: str}
  c:
    template: Read {{text}}
    over: notes
    contract: {Text: str, Y: str, y: str, _hidden: str, z: str}
    checks: ["length(output.zz) > 0", "input.idd > 0"]
    quotes: {"z[].q": text, "w": text, "z": lang, "y.": text}
    grant: {lookup: {}}
  d:
    query: SELECT a.*, b.* FROM a, b, c
"""
    )
    by_line: dict[int, list[Problem]] = {}
    for problem in found:
        by_line.setdefault(problem.line, []).append(problem)
        assert problem.line
        assert problem.column

    def said(line: int) -> str:
        return " / ".join(str(problem) for problem in by_line[line])

    assert "no column 'txt'" in said(4)
    assert "did you mean 'text'?" in said(4)
    assert "did you mean 'string'?" in said(9)
    assert "--grant loookup" in said(10)
    assert "did you mean 'notes'?" in said(13)
    for wrong in ("'Text' is already a column", "'y' differs", "_hidden"):
        assert wrong in said(18)
    assert "zz" in said(19)
    assert "did you mean 'id'?" in said(19)
    for wrong in ("no list", "leads nowhere", "'lang' is not in the template", "no path"):
        assert wrong in said(20)
    assert "'key' is missing" in said(21)
    # what only follows from other problems is not said
    assert 23 not in by_line


async def test_a_query_s_problem_stands_at_its_line_in_the_yaml() -> None:
    (problem,) = await problems(
        "apwa: 1\nsteps:\n  q:\n    query: |\n      SELECT id,\n\n        wrong\n      FROM notes\n"
    )
    assert (problem.line, problem.column) == (7, 9)
    assert "wrong" in problem.what
    (problem,) = await problems("apwa: 1\nsteps:\n  q:\n    query: 'SELECT wrong FROM notes'\n")
    assert (problem.line, problem.column) == (4, 20)


async def test_a_circle_of_steps_is_named() -> None:
    found = await problems(
        """\
apwa: 1
steps:
  a: {template: "{{x}}", over: c, contract: {p: str}}
  b: {query: SELECT * FROM a}
  c: {query: "SELECT * FROM b, notes"}
  d: {template: "{{x}}", over: d, contract: {q: str}}
answer: a
"""
    )
    words = " ".join(problem.what for problem in found)
    assert "a ← c ← b ← a" in words
    assert "d ← d" in words


async def test_a_column_named_like_a_step_makes_no_circle() -> None:
    checked = await check(
        """\
apwa: 1
steps:
  texts: {query: "SELECT id, text AS total, 'FROM total' AS a FROM notes -- total"}
  total: {query: SELECT sum(id)::BIGINT AS total FROM texts}
"""
    )
    assert checked.order == ["texts", "total"]
    assert checked.needs["texts"] == {"notes"}


async def test_steps_and_tables_that_lead_nowhere_are_said() -> None:
    more = TableShape("more", NOTES.schema, (), 1)
    text = """\
apwa: 1
steps:
  a: {template: "{{text}}", over: notes, contract: {p: str}}
  b: {query: SELECT id FROM notes}
"""
    (problem,) = await problems(text)
    assert "a, b lead to nothing else" in problem.what
    unused, table = await problems(text + "answer: a\n", tables=[NOTES, more])
    assert "'more'" in unused.what + table.what
    assert "does not lead to the answer" in unused.what + table.what
    (problem,) = await problems(text + "answer: aa\n")
    assert problem.todo == "did you mean 'a'?"
    assert problem.line == 5


async def test_declared_and_given_tables_must_be_the_same() -> None:
    text = """\
apwa: 1
tables:
  notes: {key: [idd]}
  other: {}
steps:
  a: {template: "{{text}}", over: notes, contract: {p: str}}
"""
    wrong_key, missing = await problems(text)
    assert wrong_key.todo == "did you mean 'id'?"
    assert missing.todo == "give --table other=FILE"
    assert (missing.line, missing.path) == (4, "tables.other")
    undeclared = TableShape("third", NOTES.schema, (), 1)
    found = await problems(text, tables=[NOTES, undeclared])
    assert any("does not declare the table 'third'" in problem.what for problem in found)


async def test_a_step_cannot_take_a_table_s_name() -> None:
    found = await problems("apwa: 1\nsteps:\n  notes: {rows: [{a: 1}]}\n")
    assert any("is a table already" in problem.what for problem in found)


async def test_what_gets_a_form_of_its_own_cannot_be_a_quotation() -> None:
    """A date stands in the answer as 2018-01-21, and in the text as 21/01/2018."""
    text = """\
apwa: 1
steps:
  a: {template: "{{text}}", over: notes, contract: {day: "date?"}, quotes: {day: text}}
"""
    (problem,) = await problems(text)
    assert "'day' leads to a date" in problem.what and problem.path == "steps.a.quotes.day"


REDUCE = """\
apwa: 1
steps:
  a:
    template: "{template}"
    over: notes
    contract: {contract}
    reduce: {reduce}
    {more}
"""


@pytest.mark.parametrize(
    ("template", "contract", "reduce", "more", "said"),
    [
        ("Join {{text}}", "{joined: str}", "{}", "", "a reduce reads what it writes"),
        ("Join {{txt}}", "{txt: str}", "{}", "", "no column 'txt'"),
        ("Join all", "{text: str}", "{}", "", "names no column"),
        ("Of {{lang}}", "{text: str}", "{by: [lang]}", "", "only columns of reduce.by"),
        ("Join {{text}}", "{text: str, lang: str}", "{by: [lang]}", "", "a column of reduce.by"),
        ("Join {{text}}", "{text: str, items: int}", "{}", "", "every reduce makes"),
        ("Join {{text}}", "{text: str}", "{by: [langg]}", "", "did you mean 'lang'?"),
        ("Join {{text}}", "{text: str}", "{}", "quotes: {text: text}", "has no quotes"),
    ],
)
async def test_a_reduce_reads_what_it_writes(
    template: str, contract: str, reduce: str, more: str, said: str
) -> None:
    text = REDUCE
    for name, value in (
        ("{template}", template), ("{contract}", contract), ("{reduce}", reduce), ("{more}", more),
    ):  # fmt: skip
        text = text.replace(name, value)
    (problem,) = await problems(text)
    assert said in str(problem)


async def test_a_reduce_to_one_row_may_keep_the_names_of_what_it_reads() -> None:
    checked = await check(
        "apwa: 1\nsteps:\n"
        "  a: {template: 'Join {{text}}', over: notes, contract: {text: str}, reduce: {}}\n"
    )
    assert checked.shapes["a"].rows == 1
    assert checked.shapes["a"].schema.names == ["text", "items", "missing"]


async def test_a_template_that_names_no_column_is_only_for_one_row() -> None:
    step = "apwa: 1\nsteps:\n  a: {template: Say hello, over: %s, contract: {p: str}}\n"
    (problem,) = await problems(step % "notes")
    assert "names no column" in problem.what
    assert await check(step % "r" + "  r: {rows: [{a: 1}]}\n", tables=[])


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        ("{}", "no field"),
        ("{type: object, properties: {}}", "no properties"),
        ("{type: object, properties: {a: {type: strin}}}", "no valid JSON Schema"),
        ("{type: object, properties: {a: {type: string, pattern: '('}}}", "no valid JSON Schema"),
        (
            "{type: object, properties: {a: {type: string, pattern: '(?=a)a'}}}",
            "no valid JSON Schema",
        ),
        ("{type: object, properties: {a: {$ref: 'http://x/y'}}}", "leads out of the plan"),
        ("{type: object, properties: {a: {$ref: 'file:///etc/passwd'}}}", "leads out of the plan"),
        ("{type: object, properties: {a: {type: [string, integer]}}}", "several types"),
    ],
)
async def test_a_contract_that_cannot_be_held_is_a_problem(contract: str, said: str) -> None:
    text = "apwa: 1\nsteps:\n  a: {template: 'x {{text}}', over: notes, contract: %s}\n"
    (problem,) = await problems(text % contract)
    assert said in problem.what
    assert problem.line == 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("[{a: 1}, {b: 1}]", "differs in 'a'"),
        ("[{a: 1}, {a: x}]", "several types"),
        ("[{a: 99999999999999999999}]", "out of range"),
        ("[{}]", "no columns"),
        ("[{a: 1}, {a: 1}]\n    key: [a]", "in two rows, 1 and 2"),
        ("[{a: 1}]\n    key: [b]", "no column 'b'"),
    ],
)
async def test_rows_are_of_one_kind(rows: str, said: str) -> None:
    (problem,) = await problems(f"apwa: 1\nsteps:\n  r:\n    rows: {rows}\n", tables=[])
    assert said in problem.what


async def test_the_rows_of_a_plan_make_the_table_that_they_promise() -> None:
    checked = await check(
        "apwa: 1\nsteps:\n  r:\n    rows:\n"
        "      - {s: x, f: 1, b: true, l: [p], j: {q: 1}, n: null}\n"
        "      - {s: null, f: 2.5, b: false, l: [], j: [1], n: null}\n",
        tables=[],
    )
    step = checked.plan.steps["r"]
    batch = pa.RecordBatch.from_pylist(step.rows, schema=checked.shapes["r"].schema)  # type: ignore[union-attr]
    assert batch.num_rows == 2
    assert [str(field.type) for field in batch.schema] == [
        "string", "double", "bool", "list<item: string>", "string", "string",
    ]  # fmt: skip


async def test_a_key_that_a_query_does_not_make_is_a_problem() -> None:
    (problem,) = await problems("apwa: 1\nsteps:\n  q: {query: SELECT id FROM notes, key: [idd]}\n")
    assert (problem.path, problem.todo) == ("steps.q.key[0]", "did you mean 'id'?")


async def test_an_instruction_that_alone_fills_the_context_is_a_problem() -> None:
    text = (
        "apwa: 1\nsteps:\n  a: {template: '"
        + "word " * 3000
        + "{{text}}', over: notes, contract: {p: str}}\n"
    )
    (problem,) = await problems(text, context=4096)
    assert "leaves no room" in problem.what
    assert await check(text, context=16_000)


async def test_the_manager_s_plan_is_checked_in_the_same_way_without_lines() -> None:
    steps = {"a": {"template": "x {{txt}}", "over": "notes", "contract": {"y": "str"}}}
    plan, places = plan_from(steps, "a", "job", {})
    with pytest.raises(PlanError) as raised:
        await check_plan(
            plan, places, {"notes": NOTES}, query_shape=query_shape,
            check_problem=check_problem, grants={}, context=None,
        )  # fmt: skip
    (problem,) = raised.value.problems
    assert (problem.path, problem.line) == ("steps.a.template", 0)


async def test_what_a_redaction_names_must_be_there() -> None:
    fields = '{r: str, n: int, l: "list[{t: str, n: int}]"}'
    for redacts, words, path in (
        ('{r: {source: lang, replaced: "l[].t"}}', "'lang' is not in the template", "r.source"),
        ('{q: {source: text, replaced: "l[].t"}}', "no field 'q'", "q"),
        ('{n: {source: text, replaced: "l[].t"}}', "no text", "n"),
        ('{r: {source: text, replaced: "l[].n"}}', "no text", "r.replaced"),
        ("{r: {source: text, replaced: r}}", "no path of a list's texts", "r.replaced"),
        ('{r: {source: text, replaced: "m[].t"}}', "no field 'm'", "r.replaced"),
    ):
        plan = (
            "apwa: 1\nsteps:\n  a: {template: 'x {{text}}', over: notes,"
            f" contract: {fields}, redacts: {redacts}}}\n"
        )
        (problem,) = await problems(plan)
        assert words in problem.what and problem.path == f"steps.a.redacts.{path}"
        assert problem.todo and problem.line == 3
    reduced = (
        "apwa: 1\nsteps:\n  a: {template: 'x {{text}}', over: notes, contract: {text: str},"
        ' reduce: {by: []}, redacts: {text: {source: text, replaced: "l[]"}}}\n'
    )
    assert any("a reduce redacts nothing" in p.what for p in await problems(reduced))


DOCUMENTS = TableShape(
    "notes",
    pa.schema([pa.field("file", pa.string()), FIELDS["text"], FIELDS["images"]]),
    ("file",),
    5,
)


async def test_pictures_go_into_prompts_and_nowhere_else() -> None:
    plan = """\
apwa: 1
steps:
  seen:
    template: Look at {{images}}
    over: notes
    contract: {shown: str}
"""
    checked = await check(plan, tables=[DOCUMENTS])
    assert "images" in checked.shapes["seen"].schema.names
    found = await problems(
        plan + "    checks: [length(input.images) > 0]\n    quotes: {shown: images}\n",
        tables=[DOCUMENTS],
    )
    assert [problem.what for problem in found] == [
        "a check sees no pictures",
        "'images' holds pictures: there is no text to copy from",
    ]
    found = await problems(plan + "    reduce: {fan_in: 3}\n", tables=[DOCUMENTS])
    assert any("a reduce sees texts only" in problem.what for problem in found)
