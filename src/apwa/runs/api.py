"""The Python API: ``apwa.run`` and ``apwa.arun``. No global state; works in a running loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apwa.runs.directory import home_of
from apwa.runs.driver import begin
from apwa.runs.handle import Run
from apwa.runs.settings import RunRequest, RunSettings, TableSource
from apwa.runs.stream import Listener
from apwa.vocabulary import Misuse


async def arun(
    job: str = "",
    *,
    plan: str | os.PathLike[str] = "",
    tables: Mapping[str, str | os.PathLike[str]] | None = None,
    keys: Mapping[str, Sequence[str]] | None = None,
    sensitive: Mapping[str, Sequence[str]] | None = None,
    model: str = "",
    home: str | os.PathLike[str] | None = None,
    listeners: Sequence[Listener] = (),
    **settings: Any,
) -> Run:
    """Run a job in words, or a plan file, to its end.

    Args:
        job: What is wanted, in plain words.
        plan: Path of a plan file, instead of a job.
        tables: Name to path of each input table.
        keys: Key columns by table.
        sensitive: Columns by table that nobody but the workers may see.
        model: Such as ``openai:gpt-5.4-mini``; empty: ``APWA_MODEL``.
        home: Directory of runs; None: ``APWA_HOME``, else ``.apwa``.
        listeners: Called with each numbered event.
        settings: Fields of ``RunSettings``: ``max_cost=2.0``, ``limit=100``, ``yes=True`` …

    Raises:
        Misuse, BadInput, PlanError: Before anything is spent.
    """
    if bool(job) == bool(plan):
        raise Misuse("give either a job in words or a plan file", "run")
    unknown = set(settings) - set(RunSettings.__struct_fields__)
    if unknown:
        raise Misuse(f"there is no setting {sorted(unknown)[0]!r}", "run")
    sources = [
        TableSource(
            name, str(path), list((keys or {}).get(name, ())), list((sensitive or {}).get(name, ()))
        )
        for name, path in (tables or {}).items()
    ]
    text = await asyncio.to_thread(Path(plan).read_text) if plan else ""
    chosen = RunSettings(model=model or os.environ.get("APWA_MODEL", ""), **settings)
    base = home_of(os.environ if home is None else {"APWA_HOME": os.fspath(home)})
    driver = await begin(
        RunRequest(job, text, sources, plan_source=str(plan)), chosen, base, listeners=listeners
    )
    ended = await driver.drive(resumed=False)
    return Run(ended.directory, ended.ending, ended.usage)


def run(job: str = "", **arguments: Any) -> Run:
    """``arun`` for code without a loop; inside one (a notebook) it works in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(arun(job, **arguments))
    outcome: list[Run | BaseException] = []

    def work() -> None:
        try:
            outcome.append(asyncio.run(arun(job, **arguments)))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, name="apwa run")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
