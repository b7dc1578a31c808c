"""All verbs, and the one place where errors become words and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from apwa import __version__
from apwa.cli import looking, models, running, steering
from apwa.cli.words import say_error
from apwa.garbage import look_less_often
from apwa.vocabulary import ApwaError

HELP = """A job in plain words over data of any size: planned by one agent, worked by thousands,
nothing lost.

    apwa run "Replace every name by [NAME]" --table notes=notes.jsonl \\
        --model openai:gpt-5.4-mini -o redacted.parquet

Exit codes: 0 all rows done; 1 failed; 2 misuse; 3 finished, some rows quarantined; 4 stopped
before the end, can be resumed; 130 Ctrl-C, can be resumed."""


def make_app() -> App:
    """The command line as data, for its help and its tests."""
    app = App(
        name="apwa",
        help=HELP,
        version=__version__,
        help_format="plaintext",
        print_error=False,
        exit_on_error=False,
        help_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for verb in (
        running.run,
        running.plan,
        running.resume,
        running.retry,
        running.demo,
        looking.watch,
        steering.cancel,
        steering.change,
        steering.finish,
        looking.runs,
        looking.show,
        looking.export,
        looking.purge,
        looking.plan_schema,
        models.doctor,
        models.practice_model,
    ):
        app.command(verb)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    look_less_often()
    try:
        code = make_app()(tokens)
    except CycloptsError as error:
        say_error(str(error).strip(), "", "See: apwa --help, or apwa VERB --help")
        code = 2
    except ApwaError as error:
        if debug:
            raise
        say_error(error.what, error.where, error.todo)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if debug:
            raise
        say_error(str(error), "", "")
        code = 1
    except Exception as error:
        if debug:
            raise
        say_error(
            f"a defect of apwa: {type(error).__name__}: {error}",
            "",
            "Please report it, with what --debug prints.",
        )
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
