"""The verbs that work: run, plan, resume, retry, demo."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from apwa.cli.flags import Limits, Looks, Output, Tables, pairs, splits
from apwa.cli.settings import current, merge
from apwa.cli.words import say
from apwa.vocabulary import Misuse, above_zero

if TYPE_CHECKING:
    from apwa.runs import Again, RunDirectory, RunRequest, RunSettings

_NO_LIMITS, _NO_TABLES, _NO_OUTPUT, _LOOKS = Limits(), Tables(), Output(), Looks()
_PLAN_ENDINGS = (".yaml", ".yml")


def run(
    job: str,
    /,
    *,
    tables: Tables = _NO_TABLES,
    out: Output = _NO_OUTPUT,
    limits: Limits = _NO_LIMITS,
    looks: Looks = _LOOKS,
    grant: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = (),
    module: Annotated[tuple[Path, ...], Parameter(negative=(), show_default=False)] = (),
    limit: int | None = None,
    rows: str | None = None,
    pilot: bool | None = None,
    reuse: bool | None = None,
    dry_run: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    detach: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    context: int | None = None,
) -> int:
    """Run a job in plain words, or a plan file (ends in .yaml), to its end.

    Parameters
    ----------
    job
        What is wanted, in plain words; or the path of a plan.
    grant
        A capability that the plan's templates may grant their workers.
    module
        A Python file or package: its functions marked @apwa.capability may be granted too.
    limit
        Only the first so many rows of each table.
    rows
        Only these rows, by key, such as 3,17: positions count from 1.
    pilot
        Try the plan on a small sample first (default), or not.
    reuse
        Take answers of earlier runs to the very same requests (default), or ask again.
    dry_run
        Plan, show the prompts of two rows and a forecast; work no row.
    detach
        Let the cluster of --executor (or RAY_ADDRESS) drive the run, and come back at once.
    context
        The model's context size in tokens, where it cannot be found out.
    """
    from apwa.cli.detached import begin_detached, cluster_of

    address, limits = cluster_of(limits, detach=detach)
    settings = _settings(limits, grant, module, limit, rows, pilot, context, out, reuse=reuse)
    request = _request(job, tables, "plan" if dry_run else "run")
    if address:
        return begin_detached(address, request, settings, looks, detach=detach)
    from apwa.cli.drive import drive_new

    return asyncio.run(drive_new(request, settings, looks, dry=dry_run))


def plan(
    job: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    tables: Tables = _NO_TABLES,
    limits: Limits = _NO_LIMITS,
    looks: Looks = _LOOKS,
    grant: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = (),
    module: Annotated[tuple[Path, ...], Parameter(negative=(), show_default=False)] = (),
    pilot: bool | None = None,
    reuse: bool | None = None,
    context: int | None = None,
) -> int:
    """Make a plan for a job and try it on a pilot; write it for people to read and keep.

    Parameters
    ----------
    job
        What is wanted, in plain words; or the path of a plan to pilot.
    output
        Where the plan goes; default: stdout.
    force
        Overwrite an existing file.
    grant
        A capability that the plan's templates may grant their workers.
    module
        A Python file or package: its functions marked @apwa.capability may be granted too.
    pilot
        Try the plan on a small sample (default), or not.
    reuse
        Take answers of earlier runs to the very same requests (default), or ask again.
    context
        The model's context size in tokens, where it cannot be found out.
    """
    if output is not None:
        from apwa.runs import check_place

        check_place(output, force=force)
    settings = _settings(limits, grant, module, None, None, pilot, context, _NO_OUTPUT, reuse=reuse)
    request = _request(job, tables, "pilot" if settings.pilot else "plan")
    from apwa.cli.drive import drive_new

    return asyncio.run(drive_new(request, settings, looks, plan_to=output, show_plan=True))


def resume(
    run: str = "last",
    /,
    *,
    out: Output = _NO_OUTPUT,
    limits: Limits = _NO_LIMITS,
    looks: Looks = _LOOKS,
    limit: int | None = None,
    plan: Path | None = None,
    context: int | None = None,
) -> int:
    """Go on with a run that stopped, was killed, or only planned. Nothing done is done again.

    Parameters
    ----------
    run
        The run's id, a part of it that is its own, or last.
    limit
        Only the first so many rows of each table, from now on.
    plan
        A mended plan to go on with: what it does not change is kept.
    context
        The model's context size in tokens, where it cannot be found out.
    """
    above_zero({"--limit": limit, "--context": context})
    mended = None if plan is None else (_plan_text(plan), str(plan))
    further: dict[str, object] = {"limit": limit, "context": context}
    return _take_up(run, out, limits, looks, further, plan=mended)


def retry(
    run: str = "last",
    /,
    *,
    step: str = "",
    rows: str | None = None,
    out: Output = _NO_OUTPUT,
    limits: Limits = _NO_LIMITS,
    looks: Looks = _LOOKS,
) -> int:
    """Work quarantined rows again, and what depends on them.

    Parameters
    ----------
    run
        The run's id, a part of it that is its own, or last.
    step
        Only rows of this step.
    rows
        These rows by key, quarantined or not.
    """
    from apwa.runs import Again

    return _take_up(run, out, limits, looks, {}, Again(step, _keys(rows)))


def demo(*, looks: Looks = _LOOKS) -> int:
    """Run a real job on bundled notes with the practice model: no key, no network."""
    from apwa.practice import sample

    notes = sample("notes.jsonl")
    job = (
        "Replace every piece of personal information in the text with a tag such as [NAME] or"
        " [EMAIL], and list what was replaced"
    )
    output = Path("apwa-demo.jsonl")
    say(f"The job:   {job}")
    say(f"The table: {notes} (synthetic notes, MIT, microsoft/presidio-research)")
    say("The model: practice, rules that only play a model; see docs/practice-model.md")
    say()
    settings = _settings(
        Limits(model="practice", yes=True), (), (), None, None, None, None,
        Output(output=output, force=True), reuse=False,
    )  # fmt: skip
    request = _request(job, Tables(table=(f"notes={notes}",)), "run")
    from apwa.cli.drive import drive_new

    return asyncio.run(drive_new(request, settings, looks, show_rows=3))


# ---- from flags to a request


def _settings(
    limits: Limits,
    grant: tuple[str, ...],
    module: tuple[Path, ...],
    limit: int | None,
    rows: str | None,
    pilot: bool | None,
    context: int | None,
    out: Output,
    *,
    reuse: bool | None,
) -> RunSettings:
    above_zero({"--limit": limit, "--context": context})
    if limit is not None and rows is not None:
        raise Misuse("--limit and --rows exclude each other", "--rows")
    env, here = current()
    flags = {
        **limits.changes(),
        "grants": list(grant) or None,
        "modules": [str(path.absolute()) for path in module] or None,
        "limit": limit,
        "rows": list(_keys(rows)) or None,
        "pilot": pilot,
        "reuse": reuse,
        "context": context,
        **_output(out),
    }
    settings = merge(flags, env, here)
    if not settings.model:
        from apwa.runs import NO_MODEL

        raise NO_MODEL
    prices = {**settings.prices, **limits.prices(settings.model)}
    return settings.changed({"prices": prices})


def _output(out: Output) -> dict[str, object]:
    output = None if out.output is None else str(out.output.absolute())
    return {"output": output, "force": out.force, "with_stats": out.with_stats}


def _keys(rows: str | None) -> tuple[str, ...]:
    return tuple(key.strip() for key in (rows or "").split(",") if key.strip())


def _request(job: str, tables: Tables, upto: str) -> RunRequest:
    from apwa.runs import RunRequest, TableSource
    from apwa.stores import is_address

    text = ""
    if job.endswith(_PLAN_ENDINGS) and "\n" not in job:
        text = _plan_text(Path(job))
    elif not job.strip():
        raise Misuse("the job is empty", "run", "Say in plain words what is wanted.")
    named: dict[str, str] = {}
    for given in tables.table:
        name, mark, path = given.partition("=")
        if not mark or is_address(given):  # a query has such marks too
            name, path = _name_of(given), given
        if not name.isidentifier():
            raise Misuse(f"{name!r} is no name of a table", "--table", "Write NAME=PATH.")
        if not path:
            raise Misuse(f"there is no path for the table {name}", "--table", "Write NAME=PATH.")
        if name in named:
            raise Misuse(f"two tables are called {name!r}", "--table", "Write NAME=PATH.")
        named[name] = path if is_address(path) else str(Path(path).absolute())
    names = list(named)
    keys = pairs(tables.key, names, "--key")
    hidden = pairs(tables.sensitive, names, "--sensitive")
    parts = splits(tables.split, names)
    sources = [
        TableSource(n, p, keys.get(n, []), hidden.get(n, []), split=parts.get(n, ""))
        for n, p in named.items()
    ]
    return RunRequest("" if text else job, text, sources, upto, job if text else "")


def _plan_text(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Misuse("the plan is not UTF-8 text", str(path)) from error
    except OSError as error:
        raise Misuse(f"the plan cannot be read: {error.strerror}", str(path)) from error
    if not text.strip():
        raise Misuse("the plan is empty", str(path))
    return text


def _name_of(path: str) -> str:
    from apwa.tables import split_part

    file, part = split_part(path)
    stem = part or Path(file.partition("?")[0]).name.partition(".")[0]
    name = "".join(c if c.isalnum() else "_" for c in stem).strip("_").lower()
    return name if name.isidentifier() else f"t_{name}"


def _take_up(
    run: str,
    out: Output,
    limits: Limits,
    looks: Looks,
    further: dict[str, object],
    again: Again | None = None,
    plan: tuple[str, str] | None = None,
) -> int:
    from apwa.cli.detached import detached_run, go_on_detached
    from apwa.runs import find_run, home_of

    env, _ = current()
    if (there := detached_run(run)) is not None:
        changes = {**limits.changes(), **further}
        return go_on_detached(there, changes, again, plan, out)
    directory = find_run(home_of(env), run)
    changes = {**limits.changes(), **_present(directory, limits), **further}
    return _go_on(directory, changes, out, looks, again=again, plan=plan)


def finish_stopped(directory: RunDirectory, out: Output, looks: Looks) -> int:
    """Close what a stopped run has, without another call; the exit code."""
    return _go_on(directory, {}, out, looks, finish=True)


def _go_on(
    directory: RunDirectory,
    changes: dict[str, object],
    out: Output,
    looks: Looks,
    *,
    again: Again | None = None,
    plan: tuple[str, str] | None = None,
    finish: bool = False,
) -> int:
    from apwa.cli.drive import drive_again
    from apwa.runs import check_target

    if out.output is not None:
        check_target(out.output, bool(out.force))
    changes |= _output(out)
    return asyncio.run(drive_again(directory, changes, looks, again, plan, finish=finish))


def _present(directory: RunDirectory, limits: Limits) -> dict[str, object]:
    """Prices and endpoints as apwa.toml and --price have them now: a resumed run goes by these."""
    from apwa.runs import RunReader, RunSettings

    now = merge({}, *current())
    with RunReader(directory) as reader:
        before = reader.settings or RunSettings()
    prices = {**before.prices, **now.prices, **limits.prices(limits.model or before.model)}
    return {"prices": prices, "endpoints": now.endpoints or None}
