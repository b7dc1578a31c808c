"""Film-review sentences through a real language model on this machine: pace, and what is right.

    python bench/gguf.py FOLDER [--rows 1000] [--model smollm2]

The folder holds ``rt-polarity.pos`` and ``rt-polarity.neg``, a sentence a line (Pang and Lee's
sentence polarity data, as NLTK has it). Each row is one call to llama.cpp's own server, which the
run starts and ends. Prints rows and tokens a second, the share told right of two choices, how many
rows were set aside, and the run's report. A model this small is near a coin: the figure is for the
path, not for the model.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

import apwa

PLAN = """\
apwa: 1
steps:
  tone:
    template: Is the film review in {{text}} positive or negative?
    over: reviews
    contract: {tone: "positive|negative"}
    limits: {output_tokens: 32}
    parameters: {temperature: 0}
answer: tone
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--model", default="smollm2")
    arguments = parser.parse_args()
    rows = _rows(arguments.folder, arguments.rows)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "plan.yaml").write_text(PLAN)
        (base / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        began = time.monotonic()
        run = apwa.run(
            plan=base / "plan.yaml", tables={"reviews": base / "reviews.jsonl"},
            model=arguments.model, home=base / "home", yes=True, max_failures=1.0,
        )  # fmt: skip
        seconds = time.monotonic() - began
        _tell(run, seconds, arguments.model)
        print((run.directory.path / "report.md").read_text())


def _rows(folder: Path, count: int) -> list[dict[str, str]]:
    """As many of either kind, in a mixed order that is the same each time."""
    rows: list[dict[str, str]] = []
    for name, truth in (("rt-polarity.pos", "positive"), ("rt-polarity.neg", "negative")):
        lines = (folder / name).read_text(encoding="latin-1").splitlines()
        chosen = random.Random(7).sample(lines, count // 2)
        rows += [{"text": line.strip(), "truth": truth} for line in chosen]
    random.Random(7).shuffle(rows)
    return rows


def _tell(run: apwa.Run, seconds: float, model: str) -> None:
    answers = run.answer.to_arrow().to_pylist()
    done = [row for row in answers if row["_status"] == "done"]
    right = sum(row["tone"] == row["truth"] for row in done)
    ending, usage = run.ending, run.usage
    print(f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"{ending.rows:,} rows = {ending.done:,} done + {ending.quarantined:,} quarantined +"
        f" {ending.skipped:,} skipped in {seconds:,.0f} s, the server's start and the pilot"
        " included"
    )
    print(
        f"{ending.rows / seconds:.2f} rows/s; {usage.input_tokens / seconds:,.0f} tokens/s in,"
        f" {usage.output_tokens / seconds:,.1f} tokens/s out"
    )
    print(f"told right: {right:,} of {len(done):,} ({right / max(1, len(done)):.1%})\n")


if __name__ == "__main__":
    main()
