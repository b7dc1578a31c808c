"""The verbs that steer a run that another process drives: cancel, change, finish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from apwa.cli.flags import Looks, Output
from apwa.cli.looking import named_run
from apwa.cli.settings import current, merge, share
from apwa.cli.words import say
from apwa.vocabulary import Cancel, ChangeLimits, Finish, Misuse, Pause, ReopenEndpoints, above_zero

if TYPE_CHECKING:
    from apwa.runs import RunDirectory

_LOOKS, _NO_OUTPUT = Looks(), Output()


def cancel(
    run: str = "last",
    /,
    *,
    now: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    pause: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> int:
    """Stop a run that another process drives.

    Parameters
    ----------
    run
        The run's id, a part of it that is its own, or last.
    now
        Do not wait for what is in flight.
    pause
        Only pause it: it can be resumed either way.
    """
    from apwa.cli.detached import cancel_detached, detached_run
    from apwa.journal import is_driven
    from apwa.runs import send_command

    if (there := detached_run(run)) is not None:
        return cancel_detached(there, ["--now"] * now + ["--pause"] * pause)
    directory = named_run(run)
    if not is_driven(directory.journal):
        raise Misuse("nobody drives this run now", directory.name, "There is nothing to stop.")
    send_command(directory, Pause() if pause else Cancel(now))
    say(f"Asked run {directory.name} to stop; see: apwa show {directory.name}")
    return 0


def change(
    run: str = "last",
    /,
    *,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    max_calls: int | None = None,
    max_failures: str | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
    endpoints: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> int:
    """Change the limits of a run, or its keys and addresses, while another process drives it.

    Parameters
    ----------
    run
        The run's id, a part of it that is its own, or last.
    max_cost
        Hard cap in US dollars.
    max_tokens
        Hard cap in tokens, in and out.
    max_calls
        Hard cap in model calls.
    max_failures
        Share of quarantined rows at which a step pauses, such as 5%.
    timeout
        Pause the run so many seconds after it was begun or resumed.
    concurrency
        At most so many calls at once to one endpoint.
    endpoints
        Take the keys and addresses of its models anew: from the variables that are set here, and
        from apwa.toml. They stand in no file.
    """
    from apwa.cli.detached import detached_run, forward
    from apwa.journal import is_driven
    from apwa.runs import RunReader, RunSettings, send_command

    numbers = {
        "--max-cost": max_cost,
        "--max-tokens": max_tokens,
        "--max-calls": max_calls,
        "--timeout": timeout,
        "--concurrency": concurrency,
    }
    given = {flag: str(value) for flag, value in numbers.items() if value is not None}
    above_zero(numbers)
    failures = None if max_failures is None else share(max_failures, "--max-failures")
    if max_failures is not None:
        given["--max-failures"] = max_failures
    if not given and not endpoints:
        raise Misuse("no limit is named", "change", "See: apwa change --help")
    if (there := detached_run(run)) is not None:
        flags = [*(w for pair in given.items() for w in pair), *["--endpoints"] * endpoints]
        return forward(there, ["change", there.name, *flags], keys=endpoints)
    directory = named_run(run)
    if not is_driven(directory.journal):
        raise Misuse(
            "nobody drives this run now", directory.name, "Give the limits to: apwa resume"
        )
    if endpoints:
        _reopen(directory)
    if not given:
        return 0
    with RunReader(directory) as reader:
        settings = reader.settings or RunSettings()
    caps = {"max_cost": max_cost, "max_tokens": max_tokens, "max_calls": max_calls}
    changed = settings.changed(caps).caps if any(c is not None for c in caps.values()) else None
    send_command(directory, ChangeLimits(changed, concurrency, failures, timeout))
    say(f"Asked run {directory.name} to keep to the new limits from now on")
    return 0


def _reopen(directory: RunDirectory) -> None:
    """Let the run's driver reach its models by the keys and addresses of now."""
    from apwa.runs import (
        RunReader,
        RunSettings,
        models_of,
        send_command,
        send_variables,
        variables_of,
    )

    env, here = current()
    now = merge({}, env, here).endpoints or None
    with RunReader(directory) as reader:
        settings, plans = reader.settings or RunSettings(), reader.journal.plans()
    models = models_of(settings, plans[-1].text if plans else "")
    variables, _ = variables_of(models, now or settings.endpoints, env)
    send_variables(directory, variables)
    described = None if now is None else {n: msgspec.to_builtins(e) for n, e in now.items()}
    send_command(directory, ReopenEndpoints(described))
    say(
        f"Asked run {directory.name} to reach its models by the keys and addresses of now;"
        f" whether it does: apwa watch {directory.name}"
    )


def finish(run: str = "last", /, *, out: Output = _NO_OUTPUT, looks: Looks = _LOOKS) -> int:
    """End a run well with what it has: no more calls, the answer written, missing rows named.

    What is in flight is finished first. Resume works the missing rows after all.

    Parameters
    ----------
    run
        The run's id, a part of it that is its own, or last.
    """
    from apwa.cli.detached import detached_run, forward
    from apwa.cli.running import finish_stopped
    from apwa.journal import is_driven
    from apwa.runs import send_command

    if (there := detached_run(run)) is not None:
        return forward(there, ["finish", there.name])
    directory = named_run(run)
    if not is_driven(directory.journal):
        return finish_stopped(directory, out, looks)
    if out != _NO_OUTPUT:
        raise Misuse(
            "another process drives the run, and writes its answer where it was told",
            "--output",
            "Leave it out, and write the answer later with: apwa export",
        )
    send_command(directory, Finish())
    say(f"Asked run {directory.name} to finish; see: apwa show {directory.name}")
    return 0
