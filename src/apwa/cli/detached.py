"""Runs that a cluster drives: begun from here, and looked at as if they were here."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from apwa.cli.flags import Limits, Looks, Output
from apwa.cli.settings import current
from apwa.cli.words import say
from apwa.vocabulary import ApwaError, Misuse, new_run_id

if TYPE_CHECKING:
    from apwa.runs import Again, RunRequest, RunSettings
    from apwa.runs.detached import Cluster, DetachedRun

_SCHEMES = ("ray://", "http://", "https://")
_TICK_S = 0.5


def cluster_of(limits: Limits, *, detach: bool) -> tuple[str, Limits]:
    """The cluster that is to drive the run, empty for this process; and the other limits."""
    env, _ = current()
    named = limits.executor or env.get("APWA_EXECUTOR", "")
    if named.startswith(_SCHEMES):
        return named, replace(limits, executor="ray")
    there = env.get("RAY_ADDRESS", "")
    if named == "ray" and there.startswith(_SCHEMES):
        return there, limits
    if not detach:
        return "", limits
    if limits.executor == "local":
        raise Misuse("a local run cannot be detached", "--detach", "Name a cluster: --executor ray")
    return there or "auto", replace(limits, executor="ray")


def begin_detached(
    address: str, request: RunRequest, settings: RunSettings, looks: Looks, *, detach: bool
) -> int:
    """Begin a run on a cluster; with ``detach`` come back at once, else watch it to its end."""
    import msgspec

    from apwa.runs import home_of
    from apwa.runs.detached import reach

    if settings.output and detach:
        raise Misuse(
            "the answer of a detached run stays on the cluster", "--output",
            "Leave it out, and fetch the answer later with: apwa export RUN STEP --output FILE",
        )  # fmt: skip
    if request.upto != "run":
        raise Misuse("a plan is made here", "--dry-run", "Use --executor local for it.")
    env, _ = current()
    home = home_of(env)
    output = settings.output
    settings = msgspec.structs.replace(settings, output="")
    say(f"reaching {address}")
    cluster = reach(address)
    name = new_run_id()
    with _may_begin_yet(home, name):
        run = cluster.begin(name, request, settings, home, say)
    if detach:
        print(name)
        say(f"Run {name} goes on at {address}. See it with: apwa watch {name}")
        return 0
    return watch_detached(run, looks, Path(output) if output else None)


def detached_run(name: str) -> DetachedRun | None:
    """The detached run that is meant; None if it is one of this machine's own."""
    from apwa.runs import home_of, list_runs
    from apwa.runs.detached import detached_runs, find_detached

    env, _ = current()
    home = home_of(env)
    if name not in ("", "last"):
        own = any(d.name.startswith(name) or d.name.endswith(name) for d in list_runs(home))
        return None if own else find_detached(home, name)
    there, here = detached_runs(home), list_runs(home)
    if there and (not here or there[-1].name > here[-1].name):  # an id begins with its time
        return there[-1]
    return None


def forward(run: DetachedRun, arguments: Sequence[str], *, keys: bool = False) -> int:
    """Do a verb where the run is, and say what it says; its exit code.

    ``keys``: with the variables set here that its models read.
    """
    code, out, err = _begun(run).verb(arguments, run if keys else None)
    sys.stdout.write(out)
    sys.stdout.flush()
    sys.stderr.write(err)
    return code


def export_detached(run: DetachedRun, arguments: Sequence[str], output: Path) -> int:
    """Export a table there, and fetch the files."""
    code, words, files = _begun(run).export(arguments, output)
    if code:
        sys.stderr.write(words)
    for path in files:
        print(path)
    return code


def go_on_detached(
    run: DetachedRun,
    changes: Mapping[str, object],
    again: Again | None,
    plan: tuple[str, str] | None,
    out: Output,
) -> int:
    """Let the cluster go on with a run."""
    from apwa.runs.detached import Order

    if out.output is not None:
        raise Misuse("the answer stays on the cluster", "--output", "Fetch it with: apwa export")
    order = Order(run=run.name, changes=dict(changes), again=again, plan=plan)
    cluster = _begun(run)
    with _may_begin_yet(run.record.parent.parent, run.name):
        cluster.go_on(order, run, say)
    say(f"Run {run.name} goes on at {run.address}. See it with: apwa watch {run.name}")
    return 0


def cancel_detached(run: DetachedRun, flags: Sequence[str]) -> int:
    """Stop a run of a cluster, also one that has not begun yet."""
    from apwa.runs.detached import reach

    if run.job and reach(run.address).stop(run):
        rest = "nothing is left of it" if run.is_new else "it stands as it did"
        say(f"Run {run.name} was stopped before its driver had begun: {rest}")
        return 0
    return forward(run, ["cancel", run.name, *flags])


def purge_detached(run: DetachedRun) -> int:
    """Remove a run of a cluster; from this home also one that the cluster does not know of."""
    from apwa.runs.detached import Lost

    try:
        code = forward(run, ["purge", run.name])
    except Lost as error:
        code = 0
        say(f"{error.what}; run {run.name} is forgotten here")
    if code == 0:
        run.forget()
    return code


def watch_detached(run: DetachedRun, looks: Looks, output: Path | None = None) -> int:
    """Show a run of a cluster until its driver has ended; its exit code."""
    from apwa.cli.display import make_display
    from apwa.runs.detached import reach

    cluster = reach(run.address)
    with _may_begin_yet(run.record.parent.parent, run.name):
        run = cluster.wait(run, say)
    display = make_display("none" if looks.quiet else looks.display, sys.stderr)
    answer = ""
    try:
        for some in cluster.events(run.name):
            for numbered in some:
                display.show(numbered)
                answer = getattr(numbered.event, "answer", "") or answer
            display.tick(time.monotonic())
    except KeyboardInterrupt:
        say(f"\nThe run goes on at {run.address}. See it with: apwa watch {run.name}")
        return 130
    finally:
        display.close()
    _, out, err = cluster.verb(["show", run.name])
    sys.stderr.write(out + err)
    if output is not None and answer:
        export_detached(run, ["export", run.name, answer], output)
    return cluster.exit_code(run.name)


def _begun(run: DetachedRun) -> Cluster:
    """A run's cluster. Raises Misuse if a new run has not begun there yet, or why it never will."""
    from apwa.runs.detached import reach

    cluster = reach(run.address)
    run, waits = cluster.look(run)
    if waits and run.is_new:
        raise Misuse(f"the run has not begun yet: {waits}", run.name, _ways(run))
    return cluster


@contextmanager
def _may_begin_yet(home: Path, name: str) -> Generator[None]:
    """Say how to go on where the wait for a driver ends before that has begun, or has failed."""
    from apwa.runs.detached import Lost, find_detached

    try:
        yield
    except Lost:
        raise
    except BaseException as error:
        run = find_detached(home, name)
        if run is not None and run.job:
            words = f"Run {name} may still begin at {run.address}. {_ways(run)}"
            if isinstance(error, ApwaError):
                error.todo = words
            else:
                say(f"\n{words}")
        raise


def _ways(run: DetachedRun) -> str:
    return f"Wait for it with: apwa watch {run.name}; stop it with: apwa cancel {run.name}"
