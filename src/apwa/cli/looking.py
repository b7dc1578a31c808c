"""The verbs that look at runs from outside: runs, show, watch, export, purge."""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from apwa.cli.flags import Looks
from apwa.cli.settings import current
from apwa.cli.words import safe, say
from apwa.vocabulary import ApwaError, Misuse
from apwa.vocabulary.numbers import money

if TYPE_CHECKING:
    from apwa.journal import StoredResult
    from apwa.runs import RunDirectory, RunReader
    from apwa.vocabulary import Attempt


_LOOKS = Looks()
_LOOK_S = 0.5


def runs() -> int:
    """List all runs, the newest first."""
    from apwa.runs import RunReader, home_of, list_runs
    from apwa.runs.detached import detached_runs

    env, _ = current()
    found = list_runs(home_of(env))
    for there in reversed(detached_runs(home_of(env))):
        begun = ", not begun when last seen" if there.is_new else ""
        print(f"{there.name}  detached  at {there.address}{begun}")
    for directory in reversed(found):
        try:
            with RunReader(directory) as reader:
                print(_line(reader))
        except ApwaError as error:
            print(f"{directory.name}  unreadable: {safe(error.what)}")
    if not found and not detached_runs(home_of(env)):
        say("There are no runs yet. Start one with: apwa run …")
    return 0


def show(
    run: str = "last",
    /,
    *,
    step: str = "",
    row: str = "",
    events: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> int:
    """Show how a run stands, one of its steps, or everything about one row.

    Parameters
    ----------
    run
        The run's id, a part of it that is its own, or last.
    step
        This step: its counts, its failures with examples.
    row
        This row of the step, by key.
    events
        The run's events as JSON lines.
    """
    from apwa.cli.detached import detached_run, forward
    from apwa.runs import RunReader

    if (there := detached_run(run)) is not None:
        more = ["--step", step] * bool(step) + ["--row", row] * bool(row) + ["--events"] * events
        return forward(there, ["show", there.name, *more])
    with RunReader(named_run(run)) as reader:
        if events:
            return _events(reader)
        if row:
            return _row(reader, step, row)
        if step:
            return _step(reader, step)
        return _whole(reader)


def export(
    run: str,
    table: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    force: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    with_stats: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> int:
    """Write a table of a run to a file, also while the run goes on.

    Parameters
    ----------
    run
        The run's id, a part of it that is its own, or last.
    table
        An input table or a step.
    output
        A name that ends in .parquet, .jsonl or .csv.
    force
        Overwrite an existing file.
    with_stats
        Add _attempts, _model, _tokens and _cost.
    """
    from apwa.cli.detached import detached_run, export_detached
    from apwa.runs import RunReader, check_target

    if (there := detached_run(run)) is not None:
        check_target(output, force)
        stats = ["--with-stats"] * with_stats
        return export_detached(there, ["export", there.name, table, *stats], output)
    with RunReader(named_run(run)) as reader:
        for path in reader.export(table, output, force=force, stats=with_stats):
            print(path)
    return 0


def watch(run: str = "last", /, *, looks: Looks = _LOOKS) -> int:
    """Show a run that another process drives, as that process shows it, until it ends.

    Parameters
    ----------
    run
        The run's id, a part of it that is its own, or last.
    """
    from apwa.cli.detached import detached_run, watch_detached
    from apwa.cli.display import make_display
    from apwa.journal import is_driven
    from apwa.runs import RunReader

    if (there := detached_run(run)) is not None:
        return watch_detached(there, looks)
    directory = named_run(run)
    display = make_display("none" if looks.quiet else looks.display, sys.stderr)
    since, driven = 0, True
    try:
        with RunReader(directory) as reader:
            while driven:
                driven = is_driven(directory.journal)  # first: what it said last comes after
                for numbered in reader.events(since):
                    since = numbered.number
                    display.show(numbered)
                display.tick(time.monotonic())
                if driven:
                    time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        return 130
    finally:
        display.close()
    with RunReader(directory) as reader:
        _whole(reader)
        return 1 if reader.ending is None else reader.ending.exit_code


def purge(run: str, /) -> int:
    """Remove every trace of a run.

    Parameters
    ----------
    run
        The run's id, or a part of it that is its own.
    """
    from apwa.cli.detached import detached_run, purge_detached
    from apwa.journal import is_driven

    if (there := detached_run(run)) is not None:
        return purge_detached(there)
    directory = named_run(run)
    if is_driven(directory.journal):
        raise Misuse("the run is being driven", directory.name, "Cancel it first.")
    directory.remove()
    say(f"Removed {directory.path}")
    return 0


def plan_schema() -> int:
    """Print the JSON Schema of plan files, for editors and checks."""
    from apwa.plan import plan_json_schema

    print(json.dumps(plan_json_schema(), indent=2))
    return 0


# ---- parts of show


def named_run(run: str) -> RunDirectory:
    """The run that a person means. Raises Misuse."""
    from apwa.runs import find_run, home_of

    env, _ = current()
    return find_run(home_of(env), run)


def _line(reader: RunReader) -> str:
    ending, request = reader.ending, reader.request
    job = " ".join((request.job if request else "").split()) or "a plan"
    counts = f"{ending.done:,}/{ending.rows:,} done" if ending and ending.rows else ""
    spent = money(reader.journal.spent().cost_nusd)
    name, state = reader.directory.name, _state(reader)
    return f"{name}  {state:<9} {counts:<20} {spent:>10}  {safe(job)[:70]}"


def _state(reader: RunReader) -> str:
    from apwa.journal import is_driven

    if is_driven(reader.directory.journal):
        return "running"
    return reader.ending.state if reader.ending is not None else "stopped"


def _whole(reader: RunReader) -> int:
    from apwa.runs import usage_words

    directory, request, ending = reader.directory, reader.request, reader.ending
    print(f"Run {directory.name}: {_state(reader)}")
    if request is not None and request.job:
        print(f"  job      {safe(request.job)}")
    if reader.settings is not None:
        print(f"  model    {reader.settings.model}")
    if ending is not None and ending.reason:
        print(f"  stopped  {safe(ending.reason)}")
    print(f"  spent    {usage_words(reader.journal.spent())}")
    if directory.plan_path.exists():
        print(f"  plan     {directory.plan_path}")
    for step in reader.steps():
        rows = "?" if step.rows is None else f"{step.rows:,}"
        mark = "closed" if step.closed else "open"
        counts = f"{step.done:,} done, {step.quarantined:,} quarantined"
        print(f"  {step.kind:<8} {step.name}: {rows} rows, {counts}, {mark}")
    if ending is not None and ending.answer:
        print(f"  answer   {ending.answer}")
        for path in ending.outputs:
            print(f"           {path}")
    return 0


def _step(reader: RunReader, name: str) -> int:
    from apwa.runs import usage_words

    found = next((step for step in reader.steps() if step.name == name), None)
    if found is None:
        known = ", ".join(step.name for step in reader.steps()) or "none"
        raise Misuse(f"there is no step {name!r}", "--step", f"Steps: {known}.")
    print(f"Step {name} ({found.kind}): {found.done:,} done, {found.quarantined:,} quarantined")
    print(f"  spent {usage_words(found.usage)}")
    for result in reader.failures(name):
        kind = "" if result.kind is None else result.kind.value
        print(f"  row {result.ordinal + 1}: {kind}: {safe(result.message)}")
    return 0


def _row(reader: RunReader, step: str, key: str) -> int:
    steps = [s.name for s in reader.steps() if s.kind in ("template", "reduce")]
    if not step and len(steps) == 1:
        step = steps[0]
    if not step:
        raise Misuse("--row needs --step here", "--row", f"Steps: {', '.join(steps) or 'none'}.")
    view = reader.row(step, key)
    print(f"Row {key} of step {step} (ordinal {view.ordinal})")
    for name, value in view.values.items():
        print(f"  {safe(name)}: {safe(json.dumps(value, ensure_ascii=False)[:2000])}")
    if not view.story:
        print("  not worked yet")
    for result in view.story:
        _result(result, hidden=view.hidden)
    if view.curl:
        tools = f", with the tools of {', '.join(view.grants)} besides" if view.grants else ""
        print(f"\n  The first request{tools}:\n{safe(view.curl)}")
    return 0


def _result(result: StoredResult, *, hidden: bool) -> None:
    from apwa.runs import HIDDEN

    state = "done" if result.kind is None else f"quarantined ({result.kind.value})"
    print(
        f"\n  {result.scope}, generation {result.generation}: {state}, from {result.source}, on"
        f" {result.host}, {result.duration_s:.2f} s"
    )
    if result.kind is not None:
        print(f"    {HIDDEN if hidden else safe(result.message)}\n    {result.kind.remedy}")
    else:
        print(f"    answer {HIDDEN if hidden else safe(result.answer.decode())}")
    if result.raw and not hidden:
        print(f"    the model's own text: {safe(result.raw[:2000])}")
    for attempt in result.attempts:
        how = "went well" if attempt.kind is None else attempt.kind.value
        print(f"    call {attempt.call_id} to {attempt.model}: {how}, {_took(attempt)}")
    if result.transcript and not hidden:
        _conversation(result.transcript)


def _took(attempt: Attempt) -> str:
    """What a call took; where its outcome is unknown, the most that it may have been."""
    usage = attempt.usage
    tokens = "tokens unknown"
    if attempt.counted:
        tokens = (
            f"{usage.input_tokens:,} tokens in{_of_them(usage.cached_tokens, 'cached')},"
            f" {usage.output_tokens:,} out{_of_them(usage.reasoning_tokens, 'reasoning')}"
        )
    most = "at most " if attempt.bound else ""
    return f"{most}{tokens}, {money(usage.cost_nusd)}, {attempt.duration_s:.2f} s"


def _of_them(tokens: int, what: str) -> str:
    return f" ({tokens:,} {what})" if tokens else ""


def _conversation(transcript: bytes) -> None:
    from apwa.worker import read_transcript

    print("    the conversation:")
    for message in read_transcript(transcript):
        calls = "".join(f"\n        calls {c.name} {c.arguments}" for c in message.calls)
        print(f"      {message.role}: {safe((message.text + calls)[:2000])}")


def _events(reader: RunReader) -> int:
    import msgspec

    for numbered in itertools.chain(reader.events()):
        print(msgspec.json.encode(numbered).decode())
    return 0
