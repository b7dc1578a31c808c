"""Policy over the wire: what may not go to an endpoint is never sent there, not a byte of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from apwa.manager import Workbench
from apwa.runs.workbench import RunWorkbench
from tests.cli.conftest import Apwa, Practice, read_rows

CANARY = "zebra-canary"  # in every value that is held back, and in nothing else
PLAN = """\
apwa: 1
steps:
  told:
    template: Summarise {{line}}.
    over: lines
    contract: {summary: str}
  lines:
    query: SELECT id, name || ' wrote ' || text AS line FROM notes
    key: [id]
answer: told
"""
REDACTING = """\
apwa: 1
policy: {{notes.name: ["{a}/*"]}}
steps:
  masked:
    template: Redact all personal data in {{{{name}}}}.
    over: notes
    contract: {{redacted: str}}
    model: {a}#apwa-practice
    releases: [redacted]
  told:
    template: Summarise {{{{redacted}}}}.
    over: masked
    contract: {{summary: str}}
    model: {b}#apwa-practice
answer: told
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    rows = [
        {"id": n, "name": f"{CANARY}{n}@example.com", "text": f"Row {n} is good. It is long."}
        for n in range(1, 9)
    ]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@dataclass
class Watched:
    """A practice model that keeps all that it is sent."""

    served: Practice
    folder: Path

    @property
    def base(self) -> str:
        return self.served.url.removesuffix("/v1")

    @property
    def model(self) -> str:
        return self.served.model

    def bodies(self) -> list[str]:
        kept = sorted(self.folder.glob("*.exchange.json")) if self.folder.exists() else []
        return [json.dumps(json.loads(path.read_text())["request"]) for path in kept]


@pytest.fixture
def watched(practice: Callable[..., Practice], tmp_path: Path) -> Callable[[str], Watched]:
    def serve(name: str) -> Watched:
        folder = tmp_path / "sent" / name
        return Watched(practice(record=folder), folder)

    return serve


def _run(model: str, *more: str, job: str = "plan.yaml") -> tuple[str, ...]:
    return ("run", job, "--table", "notes=notes.jsonl", "--model", model, "--yes", *more)


def test_a_plan_that_breaks_a_rule_ends_before_anything_is_sent(
    apwa: Apwa, watched: Callable[[str], Watched], tmp_path: Path
) -> None:
    there = watched("there")
    elsewhere = "https://models.example/*"
    flag = apwa(*_run(there.model, "--policy", f"notes.name={elsewhere}"))
    (tmp_path / "plan.yaml").write_text(PLAN + f'policy: {{notes.name: ["{elsewhere}"]}}\n')
    plan = apwa(*_run(there.model))
    dry = apwa(*_run(there.model, "--dry-run"))
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "apwa.toml").write_text(f'[policy]\n"notes.name" = ["{elsewhere}"]\n')
    setting = apwa(*_run(there.model, "--policy", "notes.name=*"))
    for ended in (flag, plan, dry, setting):
        assert ended.returncode == 2, ended.stderr
        said = " ".join(ended.stderr.split())
        for word in ("line 4, column 15", "'line'", "notes.name", there.model, "releases"):
            assert word in said, said
        assert "Traceback" not in said and CANARY not in said
    assert there.bodies() == [] and there.served.answered() == 0
    assert not list((tmp_path / "home" / "runs").glob("*")), "nothing is left behind"


def test_what_is_released_goes_on_and_the_rest_stays(
    apwa: Apwa, watched: Callable[[str], Watched], tmp_path: Path
) -> None:
    a, b = watched("a"), watched("b")
    (tmp_path / "plan.yaml").write_text(REDACTING.format(a=a.base, b=b.base))
    ended = apwa(*_run(a.model, "--no-pilot", "-o", "out.jsonl"))
    assert ended.returncode == 0, ended.stderr
    assert [row["_status"] for row in read_rows(tmp_path / "out.jsonl")] == ["done"] * 8
    assert sum(CANARY in body for body in a.bodies()) == 8
    assert b.bodies() and not any(CANARY in body for body in b.bodies())
    for wrong in ("    releases: [redacted]\n", "{{redacted}}"):
        right = REDACTING.format(a=a.base, b=b.base)
        mended = right.replace(wrong, "{{name}}" if wrong[0] == "{" else "")
        (tmp_path / "plan.yaml").write_text(mended)
        count = len(b.bodies())
        refused = apwa(*_run(a.model, "--no-pilot"))
        assert refused.returncode == 2 and "steps.told.template" in refused.stderr
        assert len(b.bodies()) == count


def test_a_manager_is_shown_no_value_that_may_not_go_to_it(
    apwa: Apwa, watched: Callable[[str], Watched], tmp_path: Path
) -> None:
    workers, manager = watched("workers"), watched("manager")
    job = "Replace all personal data in the name by tags such as [EMAIL]"
    ended = apwa(
        *_run(
            workers.model, "--manager-model", manager.model, "-v",
            "--policy", f"notes.name={workers.base}/*", "-o", "out.jsonl", job=job,
        )
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "the manager is shown no values of notes: name" in ended.stderr
    plan = next((tmp_path / "home").glob("runs/*/plan.yaml")).read_text()
    assert "policy:" in plan and "notes.name" in plan, "whoever runs it again is held to it too"
    assert len(manager.bodies()) >= 4
    assert not any(CANARY in body for body in manager.bodies())
    assert sum(CANARY in body for body in workers.bodies()) >= 8
    assert any("It is long" in body for body in manager.bodies()), "the rest is shown"


def test_a_resume_with_another_endpoint_or_a_mended_plan_is_held_to_the_rules_it_began_with(
    apwa: Apwa, watched: Callable[[str], Watched], tmp_path: Path
) -> None:
    a, b = watched("a"), watched("b")
    (tmp_path / "plan.yaml").write_text(PLAN + f'policy: {{"*": ["{a.base}/*"]}}\n')
    begun = apwa(*_run(a.model, "--no-pilot", "--max-calls", "4", "-o", "out.jsonl"))
    assert begun.returncode == 4, begun.stderr
    other = apwa("resume", "--model", b.model, "--max-calls", "100")
    (tmp_path / "mended.yaml").write_text(PLAN.replace("Summarise", "Retell"))  # no policy in it
    mended = apwa("resume", "--model", b.model, "--plan", "mended.yaml", "--max-calls", "100")
    loosened = apwa("resume", "--model", b.model, "--policy", "*=*", "--max-calls", "100")
    for ended in (other, mended, loosened):
        assert ended.returncode == 2, ended.stderr
        assert "may not go to" in ended.stderr and b.model in ended.stderr
    tightened = apwa("resume", "--policy", "notes.text=", "--max-calls", "100")
    assert tightened.returncode == 2 and "notes.text: []" in tightened.stderr
    assert b.bodies() == []


def test_a_run_goes_on_after_a_refused_resume(
    apwa: Apwa, watched: Callable[[str], Watched], tmp_path: Path
) -> None:
    a, b = watched("a"), watched("b")
    begun = apwa(*_run(
        a.model, "--no-pilot", "--max-calls", "4", "-o", "out.jsonl", "--policy", f"*={a.base}/*"
    ))  # fmt: skip
    assert begun.returncode == 4, begun.stderr
    assert apwa("resume", "--model", b.model, "--max-calls", "100").returncode == 2
    assert apwa("resume", "--policy", "notes.nme=local").returncode == 2
    assert apwa("resume", "--policy", "notes.text=").returncode == 2
    (tmp_path / "mended.yaml").write_text(PLAN.replace("{{line}}", "{{lie}}"))
    assert apwa("resume", "--plan", "mended.yaml").returncode == 2
    ended = apwa("resume", "--max-calls", "100")  # nothing that was refused is kept
    assert ended.returncode == 0, ended.stderr
    assert len(read_rows(tmp_path / "out.jsonl")) == 8 and b.bodies() == []


def test_a_manager_that_has_seen_values_is_not_taken_to_where_they_may_not_go(
    apwa: Apwa, watched: Callable[[str], Watched]
) -> None:
    a, b = watched("a"), watched("b")
    job = "Summarise each text in one sentence"
    begun = apwa(*_run(a.model, "--max-calls", "3", "--policy", f"notes.name={a.base}/*", job=job))
    assert begun.returncode == 4, begun.stderr
    for ended in (
        apwa("resume", "--manager-model", b.model, "--max-calls", "100"),
        apwa("resume", "--model", b.model, "--max-calls", "100"),
    ):
        assert ended.returncode == 2, ended.stderr
        assert "the manager has been shown values of notes.name" in ended.stderr
    assert b.bodies() == []


def test_a_name_does_not_stand_for_where_the_environment_leads_it(
    apwa: Apwa, watched: Callable[[str], Watched], tmp_path: Path
) -> None:
    there = watched("there")
    led = {"OPENAI_BASE_URL": there.served.url, "OPENAI_API_KEY": "k"}
    by_name = apwa(*_run("openai:apwa-practice", "--policy", "notes.*=openai:*"), **led)
    assert by_name.returncode == 2 and there.served.url in by_name.stderr
    assert there.bodies() == []
    rule = f"notes.*=openai:*,{there.base}/*"
    arguments = _run("openai:apwa-practice", "--policy", rule, "--max-calls", "4", "--no-pilot")
    assert apwa(*arguments, **led).returncode == 4
    elsewhere = watched("elsewhere")
    moved = led | {"OPENAI_BASE_URL": elsewhere.served.url}
    resumed = apwa("resume", "--max-calls", "100", **moved)
    assert resumed.returncode == 2 and elsewhere.served.url in resumed.stderr
    assert elsewhere.bodies() == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("notes.nme=local", "no column notes.nme"),
        ("name=local", "names no columns"),
        ("notes.name=openai", "names no endpoint"),
        ("notes.name", "is no rule"),
    ],
)
def test_a_rule_that_means_nothing_is_misuse(apwa: Apwa, rule: str, words: str) -> None:
    ended = apwa(*_run("practice", "--policy", rule))
    assert ended.returncode == 2 and words in ended.stderr, ended.stderr


def test_local_is_what_this_machine_serves(apwa: Apwa, tmp_path: Path) -> None:
    ended = apwa(*_run("practice", "--no-pilot", "--policy", "*=local", "-o", "out.jsonl"))
    assert ended.returncode == 0, ended.stderr


async def test_a_manager_cannot_release_a_column() -> None:
    class Course:
        steps: dict[str, object] = {}
        desk = None

    bench: Workbench = RunWorkbench(Course())  # pyright: ignore[reportArgumentType]
    step = {"template": "x {{name}}", "over": "notes", "contract": {"y": "str"}}
    (problem,) = await bench.put_steps({"a": {**step, "releases": ["y"]}}, "a", "")
    assert "not for a manager" in problem.what and problem.path == "steps.a.releases"
