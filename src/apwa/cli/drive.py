"""Drives a run in the foreground: display, Ctrl-C, the question for approval, the summary."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import TextIO

from apwa.cli.display import Display, make_display
from apwa.cli.flags import Looks
from apwa.cli.summary import print_dry_run, print_rows, print_summary
from apwa.cli.words import say
from apwa.runs import (
    Again,
    Ask,
    Course,
    Driver,
    DryStep,
    Forecast,
    RunDirectory,
    RunReader,
    RunRequest,
    RunSettings,
    begin,
    dry_run,
    forecast_words,
    home_of,
    take_up,
    write_text,
)
from apwa.vocabulary import Paused
from apwa.vocabulary.events import Numbered

_TICK_S = 0.5


async def drive_new(
    request: RunRequest,
    settings: RunSettings,
    looks: Looks,
    *,
    dry: bool = False,
    plan_to: Path | None = None,
    show_plan: bool = False,
    show_rows: int = 0,
) -> int:
    """Make a run and drive it; the exit code."""
    screen = _Screen(looks)
    steps: list[DryStep] = []

    async def look(course: Course) -> None:
        if dry:
            steps.extend(await dry_run(course))

    async with screen.live():
        driver = await begin(
            request, settings, home_of(os.environ), ask=screen.ask, listeners=[screen.show]
        )
        async with _ctrl_c(driver):
            ended = await driver.drive(resumed=False, at_plan=look)
    if ended.ending.state == "planned" and dry:
        print(ended.directory.plan_path.read_text(), end="")
        print_dry_run(steps)
    if ended.ending.state == "planned" and show_plan:
        _give_plan(ended.directory, plan_to)
    if show_rows and ended.ending.state == "done":
        with RunReader(ended.directory) as reader:
            print_rows(reader.table(ended.ending.answer), show_rows)
    print_summary(ended, quiet=looks.quiet or looks.display == "json")
    return ended.ending.exit_code


async def drive_again(
    directory: RunDirectory,
    changes: Mapping[str, object],
    looks: Looks,
    again: Again | None,
    plan: tuple[str, str] | None,
    *,
    finish: bool,
) -> int:
    """Take a run up and drive it, or only ``finish`` it with what it has; the exit code."""
    screen = _Screen(looks)
    async with screen.live():
        driver = await take_up(
            directory, changes, again=again, plan=plan, ask=screen.ask, listeners=[screen.show]
        )
        if finish:
            driver.finish()
        async with _ctrl_c(driver):
            ended = await driver.drive(resumed=True)
    print_summary(ended, quiet=looks.quiet or looks.display == "json")
    return ended.ending.exit_code


def _give_plan(directory: RunDirectory, plan_to: Path | None) -> None:
    text = directory.plan_path.read_text()
    if plan_to is None:
        print(text, end="")
    else:
        try:
            write_text(plan_to, text)
        except Paused as stop:
            todo = f"The plan stands in {directory.plan_path}."
            raise Paused(stop.what, stop.where, todo) from stop
        print(plan_to)


class _Screen:
    """The display, and the one question that may interrupt it."""

    def __init__(self, looks: Looks) -> None:
        kind = "none" if looks.quiet else looks.display
        if looks.verbose and kind == "auto":
            kind = "plain"  # every event as a line that stays
        self._display: Display = make_display(kind, sys.stderr)
        self._held: list[Numbered] | None = None  # what happens while a person is asked

    def show(self, numbered: Numbered) -> None:
        if self._held is None:
            self._display.show(numbered)
        else:
            self._held.append(numbered)

    @property
    def ask(self) -> Ask | None:
        return self._ask if sys.stdin.isatty() and sys.stderr.isatty() else None

    async def _ask(self, course: Course, forecast: Forecast | None) -> bool:
        self._display.pause()
        self._held = []
        say()
        if forecast is None:
            say("No pilot was run, so there is no forecast.")
        else:
            say(f"Forecast of the full run: {forecast_words(forecast)}")
            for look in forecast.long:
                if look.too_long:
                    say(look.words())
        say(f"The plan: {course.desk.directory.plan_path}")
        print("Run it in full? [y/N] ", end="", file=sys.stderr, flush=True)
        try:
            answer = await _line_of(sys.stdin)
        finally:
            self._display.unpause()
            held, self._held = self._held, None
            for numbered in held:
                self._display.show(numbered)
        return answer.strip().lower() in ("y", "yes")

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncGenerator[None]:
        """Keep the display moving until the block ends."""
        ticking = asyncio.create_task(self._tick(), name="display")
        try:
            yield
        finally:
            ticking.cancel()
            self._display.close()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._display.tick(loop.time())
            await asyncio.sleep(_TICK_S)


async def _line_of(terminal: TextIO) -> str:
    """The next line typed; not in a thread, which Ctrl-C would leave waiting for Enter."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(terminal.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(terminal.fileno())
    return terminal.readline()


@contextlib.asynccontextmanager
async def _ctrl_c(driver: Driver) -> AsyncGenerator[None]:
    """Once: finish what is in flight, commit, say how to go on. Twice: now."""
    loop = asyncio.get_running_loop()
    pressed = 0

    def stop(why: str) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            say("\nstopping: what is in flight is finished and kept (Ctrl-C again: now)")
        driver.stop(why, now=pressed > 1)

    for number, why in (
        (signal.SIGINT, "stopped by Ctrl-C"),
        (signal.SIGTERM, "stopped by a signal to end (SIGTERM)"),
    ):
        loop.add_signal_handler(number, stop, why)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
