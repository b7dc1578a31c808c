"""The command line in this process, and servers for it to talk to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from apwa.cli import main
from tests.canary import CANARY
from tests.cli.conftest import practice as practice  # the fixture
from tests.wishes.endpoint import Answer, Scripted, serving

PLAN = """\
apwa: 1
steps:
  tone:
    template: Is the review in {{text}} positive or negative?
    over: lines
    contract: {tone: str}
answer: tone
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line that the person sees."""
        return self.err.rstrip().splitlines()[-1]


Cli = Callable[..., Done]
Serve = Callable[[Answer], Scripted]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """``cli("run", …)`` as a person types it, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APWA_HOME", str(tmp_path / "home"))
    for name in ("APWA_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "plan.yaml").write_text(PLAN)

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(answer)``: an endpoint that answers so, until the test ends."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(serving(answer))


def write_lines(path: Path, texts: list[str]) -> None:
    """A table with the columns ``id`` and ``text``."""
    rows = ({"id": n, "text": text} for n, text in enumerate(texts, 1))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_words(model: str, *more: str, plan: str = "plan.yaml") -> list[str]:
    return ["run", plan, "--table", "lines=lines.jsonl", "--model", model, "--yes", *more]


def report(tmp_path: Path) -> str:
    """The report of the last run."""
    runs = sorted((tmp_path / "home" / "runs").iterdir())
    return (runs[-1] / "report.md").read_text()
