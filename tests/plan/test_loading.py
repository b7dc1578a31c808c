"""Plans as text: what is read, what is refused, and where each problem stands."""

from __future__ import annotations

import jsonschema_rs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from apwa.plan import (
    Plan,
    QueryStep,
    Reduce,
    RowsStep,
    TemplateStep,
    dump_plan,
    load_plan,
    plan_from,
    plan_json_schema,
)
from apwa.vocabulary import PlanError, Problem

WHOLE = """\
apwa: 1
job: Mask what is private, then tell how often.
tables:
  notes:
    key: [id]
    sensitive: [text]
steps:
  mask:
    template: |
      Mask all names in {{text}}.

      Keep everything else.
    over: notes
    contract:
      masked: str
      replaced: "list[{text: str, tag: NAME | EMAIL}]"
    checks:
      - length(output.masked) > 0
    quotes:
      replaced[].text: text
    grant: [calculator]
    limits: {output_tokens: 500, timeout_s: 12.5}
    parameters: {temperature: 0}
  counted:
    query: |
      SELECT r.tag AS tag, count(*) AS n
      FROM mask, unnest(replaced) AS u(r)
      GROUP BY ALL
    key: [tag]
  kinds:
    rows:
      - {kind: a, weight: 1.5}
      - {kind: b, weight: 2}
  told:
    template: Tell {{tag}} in one sentence.
    over: counted
    contract: {tag: str}
    reduce: {fan_in: 4}
answer: told
"""


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(PlanError) as raised:
        load_plan(text, "plan.yaml")
    return raised.value.problems


def test_a_whole_plan_is_read() -> None:
    plan, _ = load_plan(WHOLE, "plan.yaml")
    assert plan.tables["notes"].key == ["id"]
    mask = plan.steps["mask"]
    assert isinstance(mask, TemplateStep)
    assert mask.grant == {"calculator": {}}
    assert mask.limits.work().output_tokens == 500
    assert mask.limits.work().turns == 12
    assert isinstance(plan.steps["counted"], QueryStep)
    assert isinstance(plan.steps["kinds"], RowsStep)
    told = plan.steps["told"]
    assert isinstance(told, TemplateStep)
    assert told.reduce == Reduce(fan_in=4)
    assert plan.answer == "told"


def test_a_dumped_plan_is_the_same_plan_and_the_same_text() -> None:
    plan, _ = load_plan(WHOLE, "plan.yaml")
    text = dump_plan(plan)
    again, _ = load_plan(text, "plan.yaml")
    assert again == plan
    assert dump_plan(again) == text
    assert "template: |\n" in text  # long instructions stay readable


def test_a_manager_s_steps_survive_a_dump_of_their_own() -> None:
    plan, _ = load_plan(WHOLE, "plan.yaml")
    steps = {name: step.model_dump(exclude_defaults=True) for name, step in plan.steps.items()}
    again, _ = plan_from(steps, plan.answer, plan.job, plan.tables)
    assert again == plan


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t\x85\u2028"), max_size=40
)
cells = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
cells |= st.floats(allow_nan=False, allow_infinity=False) | st.lists(texts, max_size=3)


@settings(max_examples=150, deadline=None)
@given(texts.filter(bool), texts, st.lists(st.dictionaries(texts, cells, max_size=3), min_size=1))
def test_any_text_and_value_comes_back_from_yaml(
    template: str, job: str, rows: list[dict[str, object]]
) -> None:
    plan = Plan(
        job=job,
        steps={
            "a": TemplateStep(template=template, over=job, contract={"x": template}),
            "b": RowsStep(rows=rows),
        },
        answer="a",
    )
    assert load_plan(dump_plan(plan), "plan")[0] == plan


def test_yaml_words_that_look_like_values_stay_text() -> None:
    plan, _ = load_plan(
        "apwa: 1\nsteps:\n  r:\n    rows:\n"
        "      - {country: no, at: 12:30, day: 2020-01-02, code: 007, big: 1_000, on: yes}\n",
        "plan",
    )
    step = plan.steps["r"]
    assert isinstance(step, RowsStep)
    assert step.rows == [
        {"country": "no", "at": "12:30", "day": "2020-01-02", "code": "007", "big": "1_000",
         "on": "yes"}
    ]  # fmt: skip


def test_broken_yaml_names_its_line_and_column() -> None:
    (problem,) = problems_of("apwa: 1\nsteps:\n  a: [1, 2\nanswer: x\n")
    assert problem.line == 4
    assert problem.column > 0
    (problem,) = problems_of("apwa: 1\nsteps:\n  a:\n    contract: list[{a: b}]\n")
    assert problem.line == 4
    assert "quotes" in problem.todo


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("- a\n- b\n", "mapping"),
        ("apwa: 1\njob: &x a\nsteps: {a: *x}\n", "aliases"),
        ("apwa: 1\njob: !!python/object/apply:os.system [ls]\n", "tag"),
        ("apwa: 1\njob: !mine a\nsteps: {}\n", "tag"),
        ("apwa: 1\njob: a\njob: b\n", "twice"),
        ("apwa: " + "[" * 5000, "nested"),
        ("apwa: 1\njob: a\x00b\n", "character"),
        ("# " + "x" * (5 << 20), "4 MB"),
    ],
)
def test_what_no_plan_needs_is_refused(text: str, said: str) -> None:
    assert any(said in problem.what for problem in problems_of(text))


def test_all_problems_of_form_come_at_once_with_their_places() -> None:
    problems = problems_of(
        "apwa: 1\n"
        "steps:\n"
        "  Bad-Name:\n"
        "    query: SELECT 1\n"
        "  both:\n"
        "    query: SELECT 1\n"
        "    rows: [{a: 1}]\n"
        "  none: {over: x}\n"
        "  typo:\n"
        "    template: x\n"
        "    over: t\n"
        "    contract: {a: str}\n"
        "    limits: {output_token: 3}\n"
        "    reduce: {fan_in: 1}\n"
        "extra: 1\n"
    )
    found = {(p.path, p.line): p for p in problems}
    assert "no name for a step" in found["steps.Bad-Name", 3].what
    assert "query and rows" in found["steps.both", 5].what
    assert "none of template" in found["steps.none", 8].what
    assert found["steps.typo.limits.output_token", 13].line == 13
    assert found["steps.typo.limits.output_token", 13].todo == "did you mean 'output_tokens'?"
    assert "greater than or equal to 2" in found["steps.typo.reduce.fan_in", 14].what
    assert "no field 'extra'" in found["extra", 15].what


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("parameters: {max_tokens: 7}", "output_tokens"),
        ("parameters: {response_format: {}}", "contract"),
        ("headers: {Authorization: Bearer abc}", "keys stand in no plan"),
        ("headers: {X-Gateway-Key: abc}", "keys stand in no plan"),
        ("headers: {'a b': c}", "no header"),
        ("parameters: {api_key: abc}", "keys stand in no plan"),
        ("model: 'http://ann:pw@host/v1#m'", "a user and password"),
        ("model: 'http://host/v1?api-key=abc#m'", "a secret (api-key=…)"),
    ],
)
def test_what_a_call_may_not_carry_is_refused_with_its_place(line: str, said: str) -> None:
    text = (
        "apwa: 1\nsteps:\n  s:\n    template: x {{a}}\n    over: t\n    contract: {b: str}\n"
        f"    {line}\n"
    )
    with pytest.raises(PlanError) as caught:
        load_plan(text, "plan.yaml")
    (problem,) = caught.value.problems
    assert said in problem.what and problem.line == 7
    assert "abc" not in problem.what and "pw" not in problem.what.split()


def test_another_version_is_refused() -> None:
    (problem,) = problems_of("apwa: 2\nsteps:\n  a: {query: SELECT 1}\n")
    assert "only version 1" in problem.what
    (problem,) = problems_of("steps:\n  a: {query: SELECT 1}\n")
    assert "version is missing" in problem.what


def test_a_manager_s_wrong_step_is_a_problem_without_a_line() -> None:
    with pytest.raises(PlanError) as raised:
        plan_from({"a": "SELECT 1"}, "a", "job", {})
    (problem,) = raised.value.problems
    assert (problem.path, problem.line) == ("steps.a", 0)


def test_nested_values_of_rows_become_json_text() -> None:
    step = RowsStep(rows=[{"a": {"b": [1]}, "tags": ["x"]}, {"a": [2], "tags": []}])
    assert step.rows == [{"a": '{"b":[1]}', "tags": ["x"]}, {"a": "[2]", "tags": []}]


def test_the_schema_for_editors_takes_the_whole_plan() -> None:
    schema = plan_json_schema()
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(yaml.safe_load(WHOLE))
    assert not validator.is_valid({"apwa": 1, "steps": {"a": {"query": "x", "over": "y"}}})
