"""What a person sees at the end: where the results are, what they look like, how to go on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from apwa.cli.words import safe, say
from apwa.runs import DryStep, Ended, RunReader, skipped_rows, usage_words
from apwa.tables import Table, is_content, plain_rows
from apwa.vocabulary import RUN
from apwa.vocabulary.numbers import counted, money

_CLIP = 160
_MISSING = 12


def print_summary(ended: Ended, *, quiet: bool) -> None:
    """Say how a run ended on stderr, and print the final paths to stdout."""
    ending, directory = ended.ending, ended.directory
    paths = list(ending.outputs)
    if ending.state == "done" and not paths:
        with RunReader(directory) as reader:
            paths = [str(path) for path in reader.table(ending.answer).files[:1]]
    for path in paths[:1]:
        print(path, flush=True)
    if quiet and ending.exit_code == 0:
        return
    say()
    say(f"Run {directory.name}: {ending.state}" + (f": {ending.reason}" if ending.reason else ""))
    if ending.remedy:
        say(f"  {ending.remedy}")
    if ending.words:
        say(f"\n{ending.words}\n")
    if ending.quarantined_before:
        parts = "quarantined in earlier steps, or as parts of a reduce"
        say(f"  earlier     {ending.quarantined_before:,} {parts}")
    _failures(ended)
    if ending.state == "done" and ending.reason:
        _missing(ended)
    say(f"  spent       {usage_words(ended.usage)}")
    for path in paths:
        say(f"  {'quarantined' if '.quarantined' in path else 'answer':<11} {path}")
    if directory.report_path.exists():
        say(f"  report      {_short(directory.report_path)}")
    if ending.exit_code in (1, 4, 130) and ending.state != "refused":
        say(f"\nGo on with: apwa resume {directory.name}")
    elif ending.exit_code == 3 and ending.reason:  # finished on request
        say(f"\nWork the rows that are missing with: apwa resume {directory.name}")
    elif ending.exit_code == 3:
        say(f"\nWork the quarantined rows again with: apwa retry {directory.name}")
    elif ending.state == "planned":
        say(f"\nRun it with: apwa resume {directory.name}, or apwa run PLAN --table …")
    step = f"of step {ending.step} " if ending.step and ending.state != "done" else ""
    say(
        f"\n{counted(ending.rows, 'row')} {step}= {ending.done:,} done"
        f" + {ending.quarantined:,} quarantined + {ending.skipped:,} skipped"
    )


def _failures(ended: Ended) -> None:
    with RunReader(ended.directory) as reader:
        for step in reader.steps():
            for kind, count in reader.journal.failure_counts(RUN, step.name).items():
                say(
                    f"  {kind.value:<11} {counted(count, 'row')} of step {step.name}. {kind.remedy}"
                )


def _missing(ended: Ended) -> None:
    """The rows that a run which was finished early leaves out: the first, and how many."""
    with RunReader(ended.directory) as reader:
        keys = skipped_rows(reader.table(ended.ending.answer), _MISSING)
    more = " …" if ended.ending.skipped > len(keys) else ""
    say(f"  missing     {counted(ended.ending.skipped, 'row')}: {', '.join(map(safe, keys))}{more}")


def print_rows(table: Table, count: int) -> None:
    """Print the first rows as people read them, to stderr."""
    hidden = {f.name for f in table.schema if is_content(f)}
    names = [n for n in table.schema.names if n not in hidden and n not in table.sensitive]
    say(f"\nThe first {min(count, table.rows)} of {counted(table.rows, 'row')}:")
    rows = (row for _, batch in table.batches(names) for row in plain_rows(batch, names))
    for row in itertools.islice(rows, count):
        say()
        for name, value in zip(names, row, strict=True):
            if value is not None:
                say(f"  {name:<12} {_cell(value)}")


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = " ".join(text.split())
    return text if len(text) <= _CLIP else text[:_CLIP] + "…"


def print_dry_run(steps: Sequence[DryStep]) -> None:
    """Print prompts and forecast to stdout."""
    for step in steps:
        print(f"\n# Step {step.name}: system message\n\n{safe(step.system)}")
        for number, prompt in enumerate(step.prompts, 1):
            print(f"\n# Step {step.name}: user message of row {number}\n\n{safe(prompt)}")
        if step.subtasks is None:
            print(f"\n# Step {step.name}: its rows are made by an earlier step")
            continue
        cost = "cost unknown (no price)"
        if step.cost_nusd is not None:
            cost = f"{money(step.cost_nusd[0])} to {money(step.cost_nusd[1])}"
        print(
            f"\n# Step {step.name}: {step.subtasks:,} subtasks, about {step.input_tokens:,} tokens"
            f" in, at most {step.most_output_tokens:,} out, {cost} with one call each"
        )
        if step.long is not None:
            print(f"# {step.long.words()}")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
