"""Fresh environments: the core alone, each extra, beside the newest of others, every Python."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from apwa.models import local_file
from apwa.vocabulary import Misuse
from tests.documents.made import SAMPLES, xlsx
from tests.environments.conftest import (
    EXTRAS,
    FOR_USERS,
    HEAVY,
    PYTHONS,
    ROOT,
    Environment,
    Make,
    cannot,
    name_of,
    run,
)
from tests.models.vendors import Vendors, vendors
from tests.postgres import Server

pytestmark = [pytest.mark.environments, pytest.mark.timeout(900)]

PLAN = """\
apwa: 1
steps:
  tone: {template: 'Tone of {{text}}?', over: lines, contract: {tone: str}}
answer: tone
"""


LABELS = PLAN.replace("Tone of {{text}}?", "Label {{text}}.").replace("tone: str", "label: str")


@pytest.fixture(scope="module")
def core(make: Make) -> Environment:
    return make()


def test_the_core_alone_runs_the_demo_to_its_end(core: Environment, tmp_path: Path) -> None:
    for extra in FOR_USERS:
        for requirement in EXTRAS[extra]:
            assert not core.version(name_of(requirement)), f"{requirement} is in the core"
    ended = core.apwa("demo", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.rstrip().endswith("120 rows = 120 done + 0 quarantined + 0 skipped")


def test_the_core_alone_says_what_each_verb_does(core: Environment, tmp_path: Path) -> None:
    whole = core.apwa("--help", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    verbs = re.findall(r"^│ ([a-z][a-z-]+)\s{2,}\S", whole.stdout, re.MULTILINE)
    assert {"run", "resume", "finish", "change", "doctor"} <= set(verbs)
    for verb in verbs:
        told = core.apwa(verb, "--help", cwd=tmp_path)
        assert told.returncode == 0 and "Traceback" not in told.stderr, (verb, told.stderr)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("ray", ["--model", "practice", "--executor", "ray"]),
        ("ray-jobs", ["--model", "practice", "--executor", "ray://127.0.0.1:1", "--detach"]),
        ("postgres", ["--model", "practice", "--journal", "postgresql://127.0.0.1:1/none"]),
        ("providers", ["--model", "native:anthropic:some-model"]),
        ("local", ["--model", "gguf:some.gguf"]),
    ],
)
def test_what_needs_an_extra_names_it_and_nothing_is_begun(
    core: Environment, tmp_path: Path, extra: str, words: list[str]
) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "lines.jsonl").write_text('{"text": "fine"}\n')
    (tmp_path / "some.gguf").write_bytes(b"GGUF" + bytes(60))
    ended = core.apwa(
        "run", "plan.yaml", "--table", "lines=lines.jsonl", "--yes", *words, cwd=tmp_path,
        ANTHROPIC_API_KEY="none", APWA_HOME=str(tmp_path / "home"),
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert f"apwa[{extra}]" in ended.stderr and "Traceback" not in ended.stderr
    runs = tmp_path / "home" / "runs"
    assert not runs.exists() or not list(runs.iterdir())


@pytest.mark.parametrize(
    ("extra", "name"), [("docs", "letter.pdf"), ("docs", "page.html"), ("excel", "book.xlsx")]
)
def test_a_table_that_needs_an_extra_names_it(
    core: Environment, tmp_path: Path, extra: str, name: str
) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / name).write_bytes(b"%PDF-1.4 or whatever else")
    ended = core.apwa(
        "run", "plan.yaml", "--table", f"lines={name}", "--yes", "--model", "practice",
        cwd=tmp_path, APWA_HOME=str(tmp_path / "home"),
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert f"apwa[{extra}]" in ended.stderr and "Traceback" not in ended.stderr
    assert not list((tmp_path / "home" / "runs").glob("*"))


def _documents(folder: Path, request: pytest.FixtureRequest) -> tuple[list[str], dict[str, str]]:
    (folder / "papers").mkdir()
    for name in ("invoice.pdf", "page.html", "letter.doc", "letter.msg"):
        (folder / "papers" / name).write_bytes((SAMPLES / name).read_bytes())
    return ["-t", "lines=papers", "-m", "practice"], {}


def _sheet(folder: Path, request: pytest.FixtureRequest) -> tuple[list[str], dict[str, str]]:
    (folder / "book.xlsx").write_bytes(xlsx([["text"], ["a fine film"], ["a dull one"]]))
    return ["-t", "lines=book.xlsx", "-m", "practice"], {}


def _database(folder: Path, request: pytest.FixtureRequest) -> tuple[list[str], dict[str, str]]:
    server: Server = request.getfixturevalue("postgres")
    return ["-t", "lines=lines.jsonl", "-m", "practice", "--journal", server.url], {}


def _provider(folder: Path, request: pytest.FixtureRequest) -> tuple[list[str], dict[str, str]]:
    served: Vendors = request.getfixturevalue("vendors_apart")
    served.counting = True
    env = {"ANTHROPIC_API_KEY": "sk-none", "ANTHROPIC_BASE_URL": served.url}
    return ["-t", "lines=lines.jsonl", "-m", "native:anthropic:claude-haiku-4-5"], env


def _real_model(folder: Path, request: pytest.FixtureRequest) -> tuple[list[str], dict[str, str]]:
    try:
        file = local_file("smollm2")
    except Misuse as missing:
        cannot(str(missing))
    return ["-t", "lines=lines.jsonl", "-m", f"gguf:{file}", "--context", "4096"], {}


USES = {
    "docs": _documents, "excel": _sheet, "postgres": _database, "providers": _provider,
    "local": _real_model,
}  # fmt: skip


@pytest.fixture
def vendors_apart() -> Iterator[Vendors]:
    """Vendors' servers, in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    around = vendors()
    yield asyncio.run_coroutine_threadsafe(around.__aenter__(), loop).result(30)
    asyncio.run_coroutine_threadsafe(around.__aexit__(None, None, None), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize("extra", [extra for extra in FOR_USERS if extra not in HEAVY])
def test_an_extra_installs_and_does_what_it_is_for(
    make: Make, tmp_path: Path, extra: str, request: pytest.FixtureRequest
) -> None:
    environment = make(extra)
    names = [name_of(requirement) for requirement in EXTRAS[extra]]
    code = (
        "import importlib, importlib.metadata as m\n"
        f"for name in {names!r}:\n"
        "    tops = [t for t, ds in m.packages_distributions().items() if name in ds]\n"
        "    print(name, [importlib.import_module(t).__name__ for t in tops])\n"
        "    assert tops, name\n"
    )
    imported = run([environment.python, "-c", code])
    assert imported.returncode == 0, imported.stderr
    (tmp_path / "plan.yaml").write_text(LABELS)
    (tmp_path / "lines.jsonl").write_text('{"text": "a fine film"}\n{"text": "a dull one"}\n')
    words, env = USES[extra](tmp_path, request)
    ended = environment.apwa(
        "run", "plan.yaml", *words, "--yes", "--no-pilot", "-o", "out.jsonl", cwd=tmp_path,
        APWA_HOME=str(tmp_path / "home"), **env,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) >= 2 and all(row["label"] and row["_status"] == "done" for row in rows)


def test_it_stands_beside_the_newest_openai_pydantic_and_ray(
    make: Make, uv: Path, tmp_path: Path
) -> None:
    newest: dict[str, str] = {}
    for name in ("openai", "pydantic", "ray"):
        (tmp_path / "wanted.txt").write_text(name)
        alone = run([uv, "pip", "compile", "--quiet", "--no-deps", tmp_path / "wanted.txt"])
        found = re.search(rf"^{name}==(\S+)", alone.stdout, re.MULTILINE)
        assert found is not None, alone.stderr
        newest[name] = found[1]
    environment = make("", "openai", "pydantic", "ray")
    assert {name: environment.version(name) for name in newest} == newest, "none is held back"
    together = run([environment.python, "-c", "import openai, pydantic, ray, apwa; apwa.run"])
    assert together.returncode == 0, together.stderr
    ended = environment.apwa("demo", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", ["", *FOR_USERS])
def test_every_set_of_dependencies_resolves_from_wheels(
    uv: Path, tmp_path: Path, extra: str, python: str
) -> None:
    wanted = ["--extra", extra] if extra else []
    resolved = run(
        [uv, "pip", "compile", "--quiet", "--python-version", python, "--only-binary", ":all:",
         ROOT / "pyproject.toml", *wanted, "-o", tmp_path / "resolved.txt"]
    )  # fmt: skip
    assert resolved.returncode == 0, resolved.stderr
    names = {
        name_of(line).lower() for line in (tmp_path / "resolved.txt").read_text().splitlines()
        if line and not line.startswith((" ", "#"))
    }  # fmt: skip
    assert {name_of(requirement).lower() for requirement in EXTRAS.get(extra, [])} <= names


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"apwa", next(top for top in tops if top.endswith(".dist-info"))}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "apwa/py.typed" in names and "apwa/practice/data/notes.jsonl" in names
