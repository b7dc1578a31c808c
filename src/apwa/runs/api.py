"""The Python API: ``apwa.run``, ``apwa.arun``, ``apwa.rows``.

No global state; works in a running loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, cast

import msgspec

from apwa.documents import Split
from apwa.runs.aside import Aside
from apwa.runs.directory import home_of
from apwa.runs.handle import Run
from apwa.runs.settings import RunRequest, RunSettings, Settings, TableSource
from apwa.runs.starting import begin
from apwa.runs.stream import Listener
from apwa.runs.streaming import Rows
from apwa.stores import is_address
from apwa.tables import frame_words
from apwa.vocabulary import Misuse


class Arguments(Settings, total=False):
    """All that ``apwa.run`` takes by name; see ``arun``."""

    plan: str | os.PathLike[str]
    tables: Mapping[str, object]
    keys: Mapping[str, Sequence[str]]
    sensitive: Mapping[str, Sequence[str]]
    split: Split | Mapping[str, Split]
    model: str
    home: str | os.PathLike[str]
    listeners: Sequence[Listener]


async def arun(
    job: str = "",
    *,
    plan: str | os.PathLike[str] = "",
    tables: Mapping[str, object] | None = None,
    keys: Mapping[str, Sequence[str]] | None = None,
    sensitive: Mapping[str, Sequence[str]] | None = None,
    split: Split | Mapping[str, Split] = "",
    model: str = "",
    home: str | os.PathLike[str] | None = None,
    listeners: Sequence[Listener] = (),
    **settings: Unpack[Settings],
) -> Run:
    """Run a job in words, or a plan file, to its end.

    A run that stops before its end is no error: see ``Run.state``. It can be resumed from the
    command line. If the caller is cancelled, the run is paused and kept.

    Args:
        job: What is wanted, in plain words.
        plan: Path of a plan file, instead of a job.
        tables: Each input table by name: a path, an address, a pandas or Polars data frame, an
            Arrow table or reader, anything with ``__arrow_c_stream__``, or a list of dicts.
        keys: Key columns by table.
        sensitive: Columns by table that nobody but the workers may see.
        split: What makes a row of documents that have such parts, ``pages`` or ``records``; for
            all tables or by table.
        model: Such as ``openai:gpt-5.4-mini``; empty: ``APWA_MODEL``.
        home: Directory of runs; None: ``APWA_HOME``, else ``.apwa``.
        listeners: Called with each numbered event.
        settings: Fields of ``RunSettings``: ``max_cost=2.0``, ``limit=100``, ``yes=True`` …

    Raises:
        Misuse, BadInput, PlanError: Before anything is spent.
    """
    if bool(job) == bool(plan):
        raise Misuse("give either a job in words or a plan file", "run")
    splits, split = ({}, split) if isinstance(split, str) else (split, "")
    request = RunRequest(
        job,
        await asyncio.to_thread(_text_of, Path(plan)) if plan else "",
        _sources(tables or {}, keys or {}, sensitive or {}, splits),
        plan_source=os.fspath(plan),
    )
    chosen = _chosen(model or os.environ.get("APWA_MODEL", ""), split, settings)
    base = _home(home)
    frames = {name: table for name, table in (tables or {}).items() if not _is_named(table)}
    driver = await begin(request, chosen, base, listeners=listeners, frames=frames)
    ended = await driver.drive(resumed=False)
    return Run(ended.directory, ended.ending, ended.usage)


def run(job: str = "", **arguments: Unpack[Arguments]) -> Run:
    """``arun`` for code without a loop; inside one (a notebook) it works in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(arun(job, **arguments))
    aside = Aside(lambda: arun(job, **arguments), "apwa run")
    try:
        aside.wait()
    except KeyboardInterrupt:  # the notebook's stop button: the run is paused and kept
        aside.cancel()
        raise
    return aside.result()


def rows(job: str = "", **arguments: Unpack[Arguments]) -> Rows:
    """Rows of the answer as they finish: ``for row in apwa.rows(…)``.

    Takes what ``arun`` takes, and works inside a running loop too. The run begins with the loop and
    goes on beside it; its end is ``.run`` once all rows have gone by.
    """
    listeners = arguments.get("listeners", ())

    def work(listener: Listener) -> Coroutine[Any, Any, Run]:
        named: Arguments = {**arguments, "listeners": [*listeners, listener]}
        return arun(job, **named)

    return Rows(_home(arguments.get("home")), work)


def _home(home: str | os.PathLike[str] | None) -> Path:
    return home_of(os.environ if home is None else {"APWA_HOME": os.fspath(home)})


def _text_of(plan: Path) -> str:
    try:
        return plan.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Misuse("the plan is not UTF-8 text", str(plan)) from error
    except OSError as error:
        raise Misuse(f"the plan cannot be read: {error.strerror}", str(plan)) from error


def _sources(
    tables: Mapping[str, object],
    keys: Mapping[str, Sequence[str]],
    sensitive: Mapping[str, Sequence[str]],
    split: Mapping[str, Split],
) -> list[TableSource]:
    for argument, named in (("keys", keys), ("sensitive", sensitive)):
        for name, columns in named.items():
            if name not in tables:
                raise Misuse(f"there is no table {name!r}", argument)
            if isinstance(columns, str):
                raise Misuse(f"give a list of columns, not {columns!r}", argument)
    for name, parts in split.items():
        if name not in tables:
            raise Misuse(f"there is no table {name!r}", "split")
        if parts not in ("", "pages", "records"):
            raise Misuse(f"{parts!r} is no part of a document", "split", "Say pages or records.")
    return [
        TableSource(
            name, _place(table), list(keys.get(name, ())), list(sensitive.get(name, ())),
            frame=not _is_named(table), split=split.get(name, ""),
        )
        for name, table in tables.items()
    ]  # fmt: skip


def _is_named(table: object) -> bool:
    """Whether a table is given by its place, and not as what it holds."""
    return isinstance(table, (str, os.PathLike))


def _place(table: object) -> str:
    if not isinstance(table, (str, os.PathLike)):
        return frame_words(table)
    place = os.fspath(cast("str | os.PathLike[str]", table))
    # absolute: the run may be resumed from elsewhere
    return place if is_address(place) else str(Path(place).absolute())


def _chosen(model: str, split: Split, settings: Settings) -> RunSettings:
    unknown = set(settings) - set(RunSettings.__struct_fields__)
    if unknown:
        raise Misuse(f"there is no setting {min(unknown)!r}", "run")
    values: dict[str, object] = {"model": model, "split": split, **settings}
    if "output" in settings:
        values["output"] = str(Path(settings["output"]).absolute())
    try:
        return msgspec.convert(values, RunSettings)
    except msgspec.ValidationError as error:
        raise Misuse(f"a setting is wrong: {error}", "run") from error
