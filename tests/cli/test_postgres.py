"""Whole runs whose journal is in a PostgreSQL database."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.canary import find_in_database
from tests.cli.conftest import PLAN, Apwa, Practice, read_rows, write_notes
from tests.postgres import Server

ROWS = 240


def _schemas(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'apwa\\_%%'"
        ).fetchall()
    return [row[0] for row in rows]


def test_a_run_in_a_database_is_killed_resumed_looked_at_and_purged(
    apwa: Apwa,
    practice: Callable[..., Practice],
    postgres: Server,
    tmp_path: Path,
    env: dict[str, str],
) -> None:
    before = set(_schemas(postgres.url))
    write_notes(tmp_path / "notes.jsonl", ROWS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    served = practice("latency=1500")
    arguments = [
        "run", "plan.yaml", "-t", "notes=notes.jsonl", "-m", served.model, "--yes", "--no-pilot",
        "--journal", postgres.url.replace("apwa@", "apwa:s3cret@"), "--concurrency", "8",
    ]  # fmt: skip
    run = subprocess.Popen(
        [sys.executable, "-m", "apwa", *arguments], cwd=tmp_path, env=env,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 150
    while served.answered() < 12:
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    run.kill()  # at once: a look at it may take as long as the run
    run.wait()
    asked = served.answered()
    served.process.kill()
    served.process.wait()
    served = practice(port=int(served.url.rsplit(":", 1)[1].split("/")[0]))  # the rest at once
    assert len(set(_schemas(postgres.url)) - before) == 1
    (directory,) = (tmp_path / "home" / "runs").iterdir()
    assert not (directory / "run.db").exists()
    assert not [p for p in directory.rglob("*") if p.is_file() and b"s3cret" in p.read_bytes()]

    stopped = apwa("show")
    assert stopped.returncode == 0 and ": stopped" in stopped.stdout
    resumed = apwa("resume", "-o", "out.jsonl")
    assert resumed.returncode == 0, resumed.stderr
    answers = read_rows(tmp_path / "out.jsonl")
    assert [row["id"] for row in answers] == list(range(1, ROWS + 1))
    assert all(row["_status"] == "done" for row in answers)
    assert asked + served.answered() <= ROWS + 3 * 8  # those in flight at the kill, and probes

    file = apwa(*arguments[:8], "-o", "file.jsonl")
    assert file.returncode == 0, file.stderr
    assert (tmp_path / "file.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()

    assert apwa("export", directory.name, "redact", "-o", "again.csv").returncode == 0
    assert directory.name in apwa("runs").stdout
    assert find_in_database(postgres.url) == [], "no key is in it, though each call carried one"
    assert apwa("purge", directory.name).returncode == 0
    assert set(_schemas(postgres.url)) == before


def test_a_database_that_is_none_is_named_and_nothing_is_left(apwa: Apwa, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.jsonl", 2)
    (tmp_path / "plan.yaml").write_text(PLAN)
    begin = ("run", "plan.yaml", "-t", "notes=notes.jsonl", "-m", "practice", "--yes")
    wrong = apwa(*begin, "--journal", "mysql://somewhere/else")
    assert wrong.returncode == 2 and "postgresql://USER@HOST:PORT/DATABASE" in wrong.stderr
    away = apwa(*begin, "--journal", "postgresql://a:s3cret@127.0.0.1:9/runs")
    assert away.returncode == 2 and "cannot be reached" in away.stderr
    assert "s3cret" not in away.stderr and not list((tmp_path / "home" / "runs").iterdir())
