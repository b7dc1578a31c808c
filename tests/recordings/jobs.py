"""Three jobs that a person planned and worked in the model's chair.

``python -m tests.recordings.jobs NAME`` records one anew: it gives the answers that are kept by
number, and waits for new ones in the folder it names where the requests have become more. See
docs/by-hand.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """A folder with job.txt, its table, the answers by number, and the exchanges."""

    name: str
    table: str
    key: str

    @property
    def folder(self) -> Path:
        return HERE / self.name

    def arguments(self, url: str, output: Path) -> list[str]:
        job = (self.folder / "job.txt").read_text().strip()
        path = self.folder / f"{self.table}.jsonl"
        return [
            sys.executable, "-m", "apwa", "run", job, "--table", f"{self.table}={path}",
            "--key", self.key, "--model", f"{url}#by-hand", "--yes", "-o", str(output),
            "--concurrency", "1",  # one after the other, so that the requests have an order
        ]  # fmt: skip


JOBS = (
    Job("redaction", "notes", "id"),
    Job("extraction", "receipts", "id"),
    Job("summary", "speeches", "speech,part"),
)


@contextmanager
def chair(*arguments: str) -> Iterator[str]:
    """The practice model's server with somebody else in its chair; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "apwa.practice", "--until-eof", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def run(job: Job, url: str, output: Path, home: Path) -> subprocess.CompletedProcess[bytes]:
    """The job in a home of its own, with a secret that is no secret: the marks of tags stand in
    the prompts, and how many tokens these have stands in the reports that the manager reads."""
    home.mkdir(mode=0o700)
    (home / "secret").write_bytes(b"recorded")
    env = {name: value for name, value in os.environ.items() if not name.startswith("APWA_")}
    return subprocess.run(job.arguments(url, output), env={**env, "APWA_HOME": str(home)})


def record(job: Job) -> int:
    """Run the job with the kept answers, and keep what was exchanged."""
    work = Path(tempfile.mkdtemp(prefix=f"apwa-{job.name}-"))
    answers, exchanges = work / "answers", work / "exchanges"
    shutil.copytree(job.folder / "answers", answers)
    print(f"Requests and answers: {answers}")
    with chair("--by-hand", str(answers), "--record", str(exchanges)) as url:
        code = run(job, url, work / "answer.jsonl", work / "home").returncode
    if code != 0:
        print("Nothing was kept.", file=sys.stderr)
        return code
    shutil.rmtree(job.folder / "exchanges", ignore_errors=True)
    shutil.copytree(exchanges, job.folder / "exchanges")
    shutil.copytree(
        answers, job.folder / "answers", ignore=shutil.ignore_patterns("*.md", "*.request.json"),
        dirs_exist_ok=True,
    )  # fmt: skip
    shutil.copy(work / "answer.jsonl", job.folder / "answer.jsonl")
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(max(record(job) for job in JOBS if job.name in sys.argv[1:]))
