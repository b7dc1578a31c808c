"""The live view of a terminal: a bar for each step, drawn by rich, with events scrolling above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from apwa.cli.display.picture import Picture, StepPicture
from apwa.cli.display.sentences import (
    details,
    event_words,
    hosts_words,
    model_words,
    one_line,
    standing,
    usage_words,
)
from apwa.cli.display.watch import Watch
from apwa.vocabulary.events import Numbered, RunStarted
from apwa.vocabulary.numbers import duration, share

_CLOSED_SHOWN = 5
_NAME_CELLS = 22


class LiveDisplay:
    """Redrawn at each tick; what was said stays above it in the terminal's own history."""

    def __init__(self, stream: TextIO, console: Console | None = None) -> None:
        self._console = console or Console(file=stream, highlight=False)
        self._watch = Watch()
        self._live: Live | None = None

    def show(self, numbered: Numbered) -> None:
        words = event_words(self._watch.picture, numbered.event)
        self._watch.take(numbered)
        if self._live is None and isinstance(numbered.event, RunStarted):
            self.unpause()
        if words:
            self._console.print(Text(words), soft_wrap=False)

    def tick(self, now: float) -> None:
        self._watch.pass_time(now)
        if self._live is not None:
            self._live.refresh()

    def pause(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def unpause(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._draw,
                auto_refresh=False,
                transient=True,
            )
            self._live.start()

    def close(self) -> None:
        self.pause()

    def _draw(self) -> RenderableType:
        return drawing(self._watch.picture, self._watch.elapsed_s)


def drawing(picture: Picture, elapsed_s: float) -> RenderableType:
    """A picture as rich draws it. Fits any width from 40 columns."""
    return Group(*_parts(picture, elapsed_s))


def _parts(picture: Picture, elapsed_s: float) -> Iterator[RenderableType]:
    head = f"{one_line(picture.run)} · {model_words(picture)} · {duration(elapsed_s)}"
    if picture.usage.calls:
        # what the manager uses is told at the end
        whose = "workers used " if picture.ended is None else ""
        head += f" · {whose}{usage_words(picture.usage)}"
    yield Text(head, style="bold")
    closed = [step for step in picture.steps if step.closed]
    if len(closed) > _CLOSED_SHOWN:
        yield Text(f"{len(closed) - _CLOSED_SHOWN} more steps are done", style="dim")
    shown = [*closed[-_CLOSED_SHOWN:], *picture.open_steps]
    for step in shown:
        yield _bar(step, shown)
        if not step.closed:
            yield Text("  " + " · ".join(details(step) or ["begins"]), style="dim")
        elif step.quarantined:
            yield Text(f"  {step.quarantined:,} quarantined", style="dim")
    if picture.ended is None and (hosts := hosts_words(picture)):
        yield Text(hosts, style="dim")
    if not picture.open_steps and picture.ended is None:
        yield Text(standing(picture)[0], style="dim")
    elif picture.said is not None and not picture.said.tool:
        yield Text(f"manager: {one_line(picture.said.words, 120)}", style="dim")


def _bar(step: StepPicture, shown: list[StepPicture]) -> RenderableType:
    """A step's line; all steps' names, bars and counts stand below each other."""
    longest = max(cell_len(one_line(other.label)) for other in shown)
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(width=min(_NAME_CELLS, longest), no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=1)
    width = max(len(_counts(other)) for other in shown)
    grid.add_column(width=width, justify="right", no_wrap=True)
    settled, wanted = step.done + step.quarantined, step.rows - step.skipped
    bar = ProgressBar(total=max(1, wanted), completed=settled if wanted else 1)
    grid.add_row(Text(one_line(step.label)), bar, Text(_counts(step)))
    return grid


def _counts(step: StepPicture) -> str:
    wanted = step.rows - step.skipped  # a pilot and --limit leave rows out
    return f"{step.done:,}/{wanted:,} {share(step.done + step.quarantined, wanted)}"
