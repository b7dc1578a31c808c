"""The open resources of a run: journal, tables, models, processes, executor. No decisions."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from pyroaring import BitMap

from apwa.capabilities import Registry
from apwa.executor import Executor, LocalHost
from apwa.executor.cluster import Baggage
from apwa.journal import Journal, JournalReader, open_journal
from apwa.models import ChatModel, ToolSpec
from apwa.plan import CheckedPlan, GrantCard, Step, TableShape, TemplateStep, build_spec, load_plan
from apwa.runs.directory import RunDirectory, home_secret
from apwa.runs.earlier import Earlier, EarlierRuns
from apwa.runs.endpoints import Endpoint, Endpoints
from apwa.runs.hands import ClusterHands, Hands, LocalHands
from apwa.runs.settings import RunSettings
from apwa.runs.specs import KeptSpec, task_of
from apwa.runs.stream import Listener, Stream
from apwa.tables import CONTENT_FILE, CheckProcess, Documents, SqlProcess, Table
from apwa.vocabulary import RUN, Misuse, WorkSpec
from apwa.vocabulary.events import AnswersReused, Event, FilesRead
from apwa.worker import Toolbox

T = TypeVar("T", bound=msgspec.Struct)


class Desk:
    """Everything a run has open. Made by ``open_desk``, closed once."""

    def __init__(
        self, directory: RunDirectory, journal: Journal, settings: RunSettings, stream: Stream
    ) -> None:
        self.directory = directory
        self.journal = journal
        self.settings = settings
        self.settings_before = settings  # those that were kept with the run when it was opened
        self.stream = stream
        self.earlier = EarlierRuns(directory)
        self.finishing = False  # no more calls: steps close with what they have
        self.tables: dict[str, Table] = {}
        modules = directory.user_modules()
        self.registry = Registry.builtin(modules)
        self.endpoints = Endpoints(settings, journal, stream.emit)
        self.sql = SqlProcess()
        self.checks = CheckProcess()
        self.documents = Documents(directory.inputs / CONTENT_FILE, self._say_reading)
        self._loop = asyncio.get_running_loop()
        self._models: dict[str, ChatModel] = {}
        self._hands: Hands
        if settings.executor == "ray":
            read = self.registry.secrets
            here = {name: os.environ[name] for name in read if name in os.environ}
            baggage = Baggage(modules, here, self.registry)
            self._hands = ClusterHands(self.endpoints, baggage, read, stream.emit, directory.name)
        else:
            host = LocalHost("local", self._models, self.registry, self.checks)
            self._hands = LocalHands(host)
        self.executor = Executor(
            self._hands.hosts,
            journal,
            caps=settings.caps,
            ceilings=settings.concurrency,
            max_failures=settings.max_failures,
            emit=stream.emit,
            seed=settings.seed,
        )

    @property
    def reader(self) -> JournalReader:
        return self.journal.reader

    @property
    def emit(self) -> Callable[[Event], None]:
        return self.stream.emit

    async def start(self) -> None:
        """Start the executor and its hosts. Raises Misuse or RunFailed if there can be none."""
        await self._hands.connect()
        await self.executor.start()
        await self._hands.start(self.executor)

    async def close(self) -> None:
        """Close all, the journal last, whatever fails on the way. Safe to call twice.

        Raises the first failure, once all is closed.
        """
        failures: list[Exception] = []
        for close in (
            self._close_documents,
            self._hands.stop,
            self.executor.close,
            self._hands.close,
            self.endpoints.close,
            self.earlier.close,
            self.sql.close,
            self.checks.close,
            self.stream.close,
            self.journal.close,
        ):
            try:
                await close()
            except Exception as failure:
                failures.append(failure)
        shutil.rmtree(self.directory.scratch, ignore_errors=True)
        if failures:
            raise failures[0]

    async def _close_documents(self) -> None:
        await asyncio.to_thread(self.documents.close)

    def _say_reading(self, table: str, read: int, rows: int) -> None:
        """Called in whatever thread reads."""
        self._loop.call_soon_threadsafe(self.emit, FilesRead(table, read, rows))

    async def close_anyway(self) -> None:
        """Close, where the trouble is said already, or is that the journal cannot be written."""
        with contextlib.suppress(Exception):
            await self.close()

    # ---- what executions ask for

    async def open_models(self, plan: str) -> None:
        """Make clients of all models that the run names, and ``plan``, a plan's text, if any.

        Raises Misuse for a name that is not known, or a missing key.
        """
        named = load_plan(plan, "plan")[0].models if plan else []
        for spec in dict.fromkeys([self.settings.manager_model, *named]):
            await self.endpoints.opened(self.endpoints.model_named(spec))

    async def reopen(
        self,
        settings: RunSettings,
        variables: Mapping[str, str],
        allow: Callable[[], Awaitable[None]],
    ) -> None:
        """Reach all models by other keys and addresses; see ``Endpoints.reopen``."""
        opened = await self.endpoints.reopen(settings, variables, allow)
        self.settings = settings
        self._hands.equip_again(opened)

    async def endpoint(self, spec: str) -> Endpoint:
        endpoint = await self.endpoints.get(spec)
        self._models[endpoint.spec] = endpoint.opened.model
        return endpoint

    async def spec(self, name: str, step: TemplateStep, checked: CheckedPlan) -> WorkSpec:
        """The step's template, compiled for its endpoint."""
        endpoint = await self.endpoint(step.model)
        return build_spec(
            name,
            step,
            self.shape_of(step.over, checked),
            nonce=await self.nonce(name, step),
            endpoint=endpoint.spec,
            model=endpoint.opened.model_name,
            grants=self.grant_cards(),
            price=endpoint.price,
            parameters=self.settings.parameters,
            output_tokens=self.settings.output_tokens,
        )

    async def context_of(self, step: TemplateStep) -> int | None:
        return (await self.endpoint(step.model)).context

    def shape_of(self, name: str, checked: CheckedPlan) -> TableShape:
        table = self.tables.get(name)
        return checked.shapes[name] if table is None else input_shape(table)

    async def nonce(self, step: str, template: TemplateStep) -> str:
        """A tag's secret part, kept with the run: nobody who writes a row can know it.

        It is made from the home's secret and the template, so that the same plan sends the same
        prefix in every run.
        """
        name = f"nonce:{step}"
        kept = self.reader.fact(name)
        if kept is None:
            content = f"{step}\0{template.template}".encode()
            secret = await asyncio.to_thread(home_secret, self.directory.home)
            kept = hashlib.blake2b(content, key=secret, digest_size=3).hexdigest().encode()
            await self.journal.put_fact(name, kept)
        return kept.decode()

    def grant_cards(self) -> dict[str, GrantCard]:
        """The capabilities that the user lets this run grant: those named, and their own."""
        return {
            card.name: GrantCard(
                card.name, card.arguments, card.shareable and not card.effects,
                card.version, card.description,
            )
            for card in (self.registry.get(name).card for name in self._grantable())
        }  # fmt: skip

    def _grantable(self) -> list[str]:
        return list(dict.fromkeys([*self.settings.grants, *self.registry.own]))

    def check_secrets(self) -> None:
        """Raises Misuse for a secret of the user's functions that is not set where they run."""
        if self.settings.executor == "ray":
            return  # a node may have it, and is asked when the cluster is reached
        for name in sorted(self.registry.secrets - os.environ.keys()):
            raise Misuse(
                f"{name} is not set", "environment", "A function of the run's modules reads it."
            )

    async def keep_spec(
        self,
        scope: str,
        spec: WorkSpec,
        step: TemplateStep,
        source: Table,
        prefixes: Sequence[bytes],
    ) -> None:
        """Keep a step's compiled template, so that a reader can make its table meanwhile."""
        hidden = bool(source.sensitive & set(spec.columns))
        tools = await self._tools_of(spec)
        kept = KeptSpec(step.over, spec, hidden, task_of(step), list(prefixes), tools)
        await self.keep(f"spec:{scope}:{spec.step}", kept)

    async def _tools_of(self, spec: WorkSpec) -> list[ToolSpec]:
        """What the grants show a model; none where they open only on a host elsewhere."""
        try:
            opened = await Toolbox(self.registry).open(spec.grants)
        except Exception:  # a host that needs them will say so
            return []
        await opened.close()
        return opened.specs

    def shareable(self, spec: WorkSpec) -> bool:
        """Whether equal requests may share one call: not where a capability sees the world."""
        cards = (self.registry.get(grant.name).card for grant in spec.grants)
        return all(card.shareable and not card.effects for card in cards)

    async def earlier_answers(self, spec: WorkSpec, table: Table, rows: BitMap) -> Earlier | None:
        """What earlier runs have answered of a step's rows, said once; None for nothing."""
        if not self.settings.reuse or not self.shareable(spec):
            return None
        found, first = await asyncio.to_thread(
            self.earlier.find, spec, table, rows, self.documents.ensure
        )
        if found is not None and first:
            for run, count in found.runs.items():
                self.emit(AnswersReused(spec.step, count, len(rows), run))
        return found

    def identity_of(self, step: Step, *sources: str) -> str:
        """Names what a rows or query step is made from."""
        content = step.model_dump_json() + "".join(sources)
        return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()

    def table_folder(self, scope: str, name: str, number: int) -> Path:
        tables = self.directory.tables
        base = tables / name if scope == RUN else tables / f".{scope}" / name
        folder = base / f"v{number}"
        # a version that was begun and not closed is nobody's: begin it anew
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def scratch(self, name: str) -> Path:
        folder = self.directory.scratch / f"{name}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True, mode=0o700)
        return folder

    # ---- facts

    async def keep_tables(self) -> None:
        """Keep the input tables, as they are known now, with the run."""
        kept = {name: table.to_json().decode() for name, table in self.tables.items()}
        await self.journal.put_fact("tables", msgspec.json.encode(kept))

    async def keep(self, name: str, value: msgspec.Struct) -> None:
        await self.journal.put_fact(name, msgspec.json.encode(value))

    def kept(self, name: str, kind: type[T]) -> T | None:
        data = self.reader.fact(name)
        return None if data is None else msgspec.json.decode(data, type=kind)


def input_shape(table: Table) -> TableShape:
    """An input table as plan checks see it."""
    return TableShape(table.name, table.schema, table.key, table.rows)


async def open_desk(
    directory: RunDirectory,
    settings: RunSettings | None,
    listeners: list[Listener],
    changes: Mapping[str, object] | None = None,
) -> Desk:
    """Take a run's lock and open what it needs. ``settings`` None: those kept with the run,
    with ``changes`` laid over.

    Raises Locked if another driver holds the run.
    """
    journal = open_journal(directory.journal)
    directory.sweep()
    desk: Desk | None = None
    try:
        if settings is None:
            kept = journal.reader.fact("settings")
            settings = (
                RunSettings() if kept is None else msgspec.json.decode(kept, type=RunSettings)
            )
        desk = Desk(directory, journal, settings.changed(changes or {}), Stream(journal, listeners))
        desk.settings_before = settings
        desk.tables.update(read_tables(journal.reader))
        desk.stream.start()
        await desk.keep("settings", desk.settings)
        return desk
    except BaseException:
        await (journal if desk is None else desk).close()
        raise


def read_tables(reader: JournalReader) -> Mapping[str, Table]:
    """The input tables that the run has snapshotted."""
    kept = reader.fact("tables")
    if kept is None:
        return {}
    return {
        name: Table.from_json(data.encode())
        for name, data in msgspec.json.decode(kept, type=dict[str, str]).items()
    }
