"""Makes drivers: of a new run, from a request and settings; of one that is there, to go on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from apwa.capabilities import UserModule, pack_module
from apwa.executor.cluster import need_ray
from apwa.journal import VARIABLE, check_url
from apwa.plan import TableDecl, load_plan
from apwa.runs.again import Again, want_again
from apwa.runs.control_files import take_commands
from apwa.runs.course import Ask
from apwa.runs.desk import Desk, open_desk
from apwa.runs.directory import RunDirectory, create_run
from apwa.runs.driver import Driver
from apwa.runs.ending import Ending
from apwa.runs.export import check_target
from apwa.runs.inputs import as_kept, look_for_changes, read_inputs
from apwa.runs.policy import kept_rules, take_rules, veil
from apwa.runs.settings import RunRequest, RunSettings, TableSource, check_settings
from apwa.runs.stream import Listener
from apwa.tables import has_parts
from apwa.vocabulary import Misuse, Paused, PlanError, RunFailed, named


async def begin(
    request: RunRequest,
    settings: RunSettings,
    home: Path,
    *,
    name: str = "",
    modules: Sequence[UserModule] = (),
    ask: Ask | None = None,
    listeners: Sequence[Listener] = (),
    frames: Mapping[str, object] | None = None,
) -> Driver:
    """Make a new run: its directory, its snapshots, its journal.

    ``name``: its id, where it has one already.
    ``modules``: further modules of the user's, beside those that the settings name.
    ``frames`` are the data frames behind those tables of the request that say so.

    Raises Misuse, BadInput or PlanError before anything is spent, and leaves nothing behind; also
    RunFailed where the disk is full: there is nothing to resume.
    """
    if settings.output:
        check_target(Path(settings.output), settings.force)
    check_settings(settings, "the run's")
    if settings.executor == "ray":
        need_ray()
    request = await asyncio.to_thread(_with_declared, request, settings)
    sources = request.tables
    request = msgspec.structs.replace(request, tables=[as_kept(source) for source in sources])
    if settings.journal:
        check_url(settings.journal)
    modules = [*modules, *(pack_module(Path(path)) for path in settings.modules)]
    directory = create_run(home, name)
    desk: Desk | None = None
    try:
        if settings.journal:
            directory.journal.keep_url(settings.journal)
            os.environ[VARIABLE] = settings.journal  # with its password, which is kept nowhere
            settings = settings.changed({"journal": directory.journal.shown})
        directory.keep_modules(modules)
        desk = await open_desk(directory, settings, list(listeners))
        await desk.keep("request", request)
        driver = Driver(desk, request, ask)
        desk.check_secrets()
        desk.grant_cards()  # an unknown capability is found here, an unknown model next
        await desk.open_models(request.plan)
        await read_inputs(desk, sources, frames)
        await take_rules(desk, _named_plan(request))
        if not request.plan:
            await veil(desk)
        driver.course.selection()  # unknown row keys are found here
        if request.plan:
            plan, places = load_plan(request.plan, request.plan_source or "plan")
            await driver.course.check(plan, places, offline=True)
    except BaseException as error:
        try:
            if desk is not None:
                await desk.close_anyway()
        finally:
            directory.discard()
        if isinstance(error, (Paused, OSError)):
            stop = named(error) if isinstance(error, OSError) else error
            raise RunFailed(stop.what, stop.where, stop.todo) from error
        raise
    return driver


async def take_up(
    directory: RunDirectory,
    changes: Mapping[str, object],
    *,
    again: Again | None = None,
    plan: tuple[str, str] | None = None,
    ask: Ask | None = None,
    listeners: Sequence[Listener] = (),
) -> Driver:
    """Open a run again, with settings changed as named.

    Args:
        directory: The run's.
        changes: Settings that differ from now on; None leaves one as it is.
        again: Rows to work anew.
        plan: A mended plan to go on with, and where it was read. What it does not change is kept.

    Raises Locked if another driver holds the run, Misuse for rows that are not there.
    """
    if journal := str(changes.get("journal") or ""):
        os.environ[VARIABLE] = journal  # only its password is new: the run knows its place
        changes = {name: value for name, value in changes.items() if name != "journal"}
    check_settings(RunSettings().changed(changes), "the run's")
    desk = await open_desk(directory, None, list(listeners), changes)
    try:
        request = desk.kept("request", RunRequest)
        if request is None:
            raise Misuse(
                "the run was stopped before it had begun",
                directory.name,
                f"Start it anew; remove this one with: apwa purge {directory.name}",
            )
        for path, _ in take_commands(directory):
            path.unlink(missing_ok=True)  # meant for a driver that has ended
        if not desk.tables and request.tables:
            await read_inputs(desk, request.tables)  # killed while reading
        else:
            await look_for_changes(desk, request.tables)
        ending = desk.kept("ending", Ending)
        mended = request
        if ending is not None and ending.state == "planned":
            # the plan was what was asked for; going on means to run it
            mended = msgspec.structs.replace(mended, plan=desk.reader.plans()[-1].text, upto="run")
        if plan is not None:
            mended = msgspec.structs.replace(mended, plan=plan[0], plan_source=plan[1], upto="run")
        driver = Driver(desk, mended, ask)
        await _hold_to_policy(driver, plan)
        await desk.keep("request", mended)
        driver.course.selection()  # unknown row keys are found here
        if again is not None:
            await want_again(desk, again)
    except BaseException:
        await desk.close_anyway()
        raise
    return driver


async def _hold_to_policy(driver: Driver, plan: tuple[str, str] | None) -> None:
    """Hold a mended plan against all there is; and the plan in force against the policy, since
    the models may be others than before.

    What is refused here is forgotten: new settings and rules are put back as they were.
    """
    desk, course = driver.desk, driver.course
    rules = kept_rules(desk)
    try:
        await take_rules(desk, plan)
        if plan is not None:
            await course.check(*load_plan(*plan), offline=True)
        else:
            await course.hold_to_policy()
    except (Misuse, PlanError):
        await desk.keep("policy", rules)
        await desk.keep("settings", desk.settings_before)
        raise


def _named_plan(request: RunRequest) -> tuple[str, str] | None:
    return (request.plan, request.plan_source or "the plan") if request.plan else None


def _with_declared(request: RunRequest, settings: RunSettings) -> RunRequest:
    """Keys, sensitive columns and splits as the plan declares them, where the user names none."""
    declarations: dict[str, TableDecl] = {}
    if request.plan:
        declarations = load_plan(request.plan, request.plan_source or "plan")[0].tables
    tables: list[TableSource] = []
    for source in request.tables:
        declared = declarations.get(source.name, TableDecl())
        split = source.split or declared.split
        if not split and settings.split and has_parts(source.source, settings.split):
            split = settings.split
        source = msgspec.structs.replace(
            source,
            key=source.key or list(declared.key),
            sensitive=sorted({*source.sensitive, *declared.sensitive}),
            split=split,
        )
        tables.append(source)
    return msgspec.structs.replace(request, tables=tables)
