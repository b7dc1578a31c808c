"""uv, the built wheel, and fresh environments. Where there is no uv or no index, these tests are
skipped with a word; in CI they fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
FOR_USERS = sorted(set(EXTRAS) - {"dev"})
HEAVY = {"ray", "ray-jobs"}  # resolved for each Python; installed once, beside openai and pydantic


def cannot(why: str) -> NoReturn:
    """Skip with a word, or in CI fail."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def run(words: Sequence[str | Path], **more: str) -> subprocess.CompletedProcess[str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("APWA_", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False,
        env=kept | more, timeout=550, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """A fresh virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def apwa(self, *arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("APWA_", "OPENAI_"))}
        return subprocess.run(
            [self.folder / "bin" / "apwa", *arguments], capture_output=True, text=True, cwd=cwd,
            env=kept | env, timeout=300, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def version(self, distribution: str) -> str:
        code = f"from importlib.metadata import version; print(version({distribution!r}))"
        return run([self.python, "-c", code]).stdout.strip()


Make = Callable[..., Environment]


@pytest.fixture(scope="session")
def uv() -> Path:
    """uv, with an index that answers."""
    own = ROOT / ".uv" / "bin" / "uv"
    found = own if own.exists() else shutil.which("uv")
    if not found:
        cannot("uv is not here: pip install --target .uv uv")
    asked = subprocess.run(
        [found, "pip", "compile", "--quiet", "-"], input="msgspec", capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    if asked.returncode:
        cannot(f"no package index answers: {asked.stderr.strip()[-200:]}")
    return Path(found)


@pytest.fixture(scope="session")
def wheel(uv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as users get it."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run([uv, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT])
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def make(uv: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """``make("providers", "openai")``: apwa with that extra and, beside it, other packages."""

    def made(extra: str = "", *beside: str) -> Environment:
        folder = tmp_path_factory.mktemp("env") / "venv"
        begun = run([uv, "venv", "--quiet", "--python", sys.executable, folder])
        assert begun.returncode == 0, begun.stderr
        wanted = f"apwa[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
        added = run(
            [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python",
             wanted, *beside]
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        return Environment(folder)

    return made


def name_of(requirement: str) -> str:
    """``psycopg[binary]>=3.2`` is ``psycopg``."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found[0]
