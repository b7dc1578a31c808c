"""The way to the keeper from outside: orders and tables in, events and exports out."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import msgspec

from apwa.capabilities import Registry, UserModule, load_module, pack_module
from apwa.executor.cluster import mark_of, need_ray
from apwa.plan import TemplateStep, dump_plan, load_plan
from apwa.runs.detached.jobs import HEAD
from apwa.runs.detached.keeper import NAME, NAMESPACE, Keeper
from apwa.runs.detached.orders import Order, Standing
from apwa.runs.detached.records import DetachedRun, record_of
from apwa.runs.detached.sending import PIECE, Sender
from apwa.runs.settings import RunRequest, RunSettings
from apwa.runs.variables import models_of, variables_of
from apwa.vocabulary import ApwaError, Misuse, RunFailed
from apwa.vocabulary.events import Numbered

_CLIENT_PORT = 10001  # of Ray Client, where an address of the dashboard is given
_TRIES = 6
_LOOK_S, _SAY_S = 0.5, 30.0
_PATIENCE_S = 60.0  # for a keeper that was killed; Ray starts it again
Say = Callable[[str], None]
_TOLD = Misuse(
    "the cluster cannot be reached so", "--executor", "Name it ray://HOST:10001 or http://HOST:8265"
)


class Unreachable(RunFailed):
    """The keeper is not there now, or the way to it is broken."""


class Lost(RunFailed):
    """The cluster does not know of a run that is not known to have begun."""


class Cluster:
    """A cluster's keeper, found or begun. Made by ``reach``."""

    def __init__(self, address: str, keeper: Any) -> None:
        self.address = address
        self._keeper = keeper

    def ask(self, method: str, *arguments: object) -> Any:
        """Call the keeper. Raises Unreachable where it is not there."""
        ray = need_ray()
        try:
            return ray.get(getattr(self._keeper, method).remote(*arguments))
        except (ray.exceptions.RayActorError, ConnectionError) as error:
            words = str(error).strip().splitlines()[0]
            raise Unreachable(f"the keeper is gone: {words}", self.address, "Try again.") from error

    # ---- begin

    def begin(
        self, name: str, request: RunRequest, settings: RunSettings, home: Path, say: Say
    ) -> DetachedRun:
        """Begin a run that is to have this id, and wait until it has begun.

        Raises what is wrong with it before anything is spent. ``home`` knows the run from before it
        is ordered, and until it is known to have come to nothing.
        """
        sender = Sender(self.ask)
        tables = [sender.table(source) for source in request.tables]
        request = msgspec.structs.replace(request, tables=tables, plan=_portable(request))
        modules = [pack_module(Path(path)) for path in settings.modules]
        secrets = _secrets(modules)
        models = models_of(settings, request.plan, request.plan_source or "plan")
        endpoints = settings.endpoints
        variables, described = variables_of(models, endpoints, os.environ)
        settings = msgspec.structs.replace(
            settings, executor="ray", modules=[], endpoints=described
        )
        run = DetachedRun(name, self.address, models, endpoints, secrets, record_of(home, name))
        order = Order(name, request, settings, modules)
        return self._order(run.remember(name), order, variables | _set_here(secrets), say)

    def go_on(self, order: Order, run: DetachedRun, say: Say) -> DetachedRun:
        """Go on with a run, and wait until it goes on."""
        changed = [str(order.changes.get(name) or "") for name in ("model", "manager_model")]
        variables, _ = variables_of([*run.models, *changed], run.endpoints, os.environ)
        run = run.remember(f"{run.name}-{token_hex(4)}")
        return self._order(run, order, variables | _set_here(run.secrets), say)

    def _order(
        self, run: DetachedRun, order: Order, variables: dict[str, str], say: Say
    ) -> DetachedRun:
        try:
            self.ask("order", run.job, msgspec.msgpack.encode(order), variables)
        except need_ray().exceptions.RayTaskError as error:
            _came_to_nothing(run)
            words = str(error).strip().splitlines()[-1]
            raise RunFailed(f"Ray takes no jobs there: {words}", self.address) from error
        return self.wait(run, say)

    def wait(self, run: DetachedRun, say: Say) -> DetachedRun:
        """Wait until the run's driver drives, however long it reads, and say at times for what.

        Raises why it came to nothing.
        """
        began = seen = said = time.monotonic()
        while run.job:
            try:
                run, waits = self.look(run)
                seen = time.monotonic()
            except Unreachable as error:  # the keeper may just begin anew
                waits = error.what
                if time.monotonic() - seen > _PATIENCE_S:
                    raise
            if waits and time.monotonic() - said >= _SAY_S:
                said = time.monotonic()
                say(f"waiting for run {run.name} since {said - began:.0f} s: {waits}")
            if run.job:
                time.sleep(_LOOK_S)
        return run

    def look(self, run: DetachedRun) -> tuple[DetachedRun, str]:
        """The run as it is now remembered, and what it waits for; empty once it has begun.

        Raises why it came to nothing, and forgets it then; Lost if the cluster does not know of it.
        """
        if not run.job:
            return run, ""
        standing = msgspec.json.decode(self.ask("look", run.name, run.job), type=Standing)
        if standing.begun:
            return run.remember(""), ""
        if (why := standing.refused) is None:
            return run, standing.waits
        if standing.lost and run.is_new:
            raise Lost(why.what, why.where, f"{why.todo} To forget it here: apwa purge {run.name}")
        _came_to_nothing(run)
        kind = Misuse if why.exit_code == Misuse.exit_code else RunFailed
        raise kind(why.what, why.where, why.todo)

    def stop(self, run: DetachedRun) -> bool:
        """Stop a driver that has not begun; False if it has, and is to be told as others are.

        Raises why it came to nothing by itself.
        """
        asked = False
        while True:
            try:
                run, waits = self.look(run)
            except Unreachable:
                raise
            except ApwaError as error:
                if not asked:
                    raise
                if isinstance(error, Lost):  # Ray had not taken it yet, and the order is gone
                    _came_to_nothing(run)
                return True
            if not waits:
                return False
            self.ask("stop", run.job)
            asked = True
            time.sleep(_LOOK_S)

    # ---- events and exports out

    def events(self, run: str, since: int = 0) -> Iterator[list[Numbered]]:
        """The run's events as they come, in batches, until its driver has ended."""
        while True:
            some, ended = self.ask("events", run, since, 5.0)
            found = [msgspec.json.decode(data, type=Numbered) for data in some]
            if found:
                since = found[-1].number
            yield found
            if ended:
                return

    def exit_code(self, run: str) -> int:
        """The exit code of how the run last ended."""
        return self.ask("exit_code", run)

    def verb(
        self, arguments: Sequence[str], keys_of: DetachedRun | None = None
    ) -> tuple[int, str, str]:
        """Run a verb of the command line where the runs are: exit code and both outputs.

        ``keys_of``: with the variables set here that the models of this run read.
        """
        variables: dict[str, str] = {}
        if keys_of is not None:
            variables, _ = variables_of(keys_of.models, keys_of.endpoints, os.environ)
        return self.ask("verb", list(arguments), variables)

    def export(self, arguments: Sequence[str], output: Path) -> tuple[int, str, list[Path]]:
        """Export a table to files here: exit code, words, files."""
        code, _, words, files = self.ask("export", list(arguments), output.name)
        written: list[Path] = []
        for there in files:
            path = output.with_name(Path(there).name)
            begun = path.with_name(f".{path.name}.part")
            with begun.open("wb") as file:
                while piece := self.ask("read", there, file.tell(), PIECE):
                    file.write(piece)
            begun.replace(path)
            self.ask("drop", there)
            written.append(path)
        return code, words, written


def reach(address: str) -> Cluster:
    """Find a cluster's keeper, or begin it.

    Args:
        address: ``ray://HOST:PORT``, ``http://HOST:PORT`` of its dashboard, or ``auto`` for the
            cluster that this machine is a node of.

    Raises RunFailed if the cluster cannot be reached, Misuse if Ray is missing.
    """
    ray = need_ray("ray-jobs")
    if find_spec("grpc") is None:
        raise Misuse(
            "Ray is installed without its client", "--detach",
            "Install it with: pip install 'apwa[ray-jobs]'",
        )  # fmt: skip
    where = client_address(address)
    if not ray.is_initialized():
        _connect(ray, where, address)
    options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "max_restarts": -1,
               "num_cpus": 0, "resources": {HEAD: 0.001}, "max_concurrency": 16}  # fmt: skip
    try:
        keeper = ray.remote(Keeper).options(get_if_exists=True, **options).remote()
        cluster = Cluster(address, keeper)
        cluster.ask("has", "/", mark_of("/"))
    except ApwaError:
        raise
    except Exception as error:
        words = str(error).strip().splitlines()[-1]
        todo = "Have the same Python, Ray and apwa on the cluster's nodes as here."
        raise RunFailed(f"no keeper can be had there: {words}", address, todo) from error
    return cluster


def client_address(address: str) -> str:
    """The address for Ray Client; ``auto`` stays."""
    if address in ("", "auto"):
        return "auto"
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.hostname:
        return f"ray://{parts.hostname}:{_CLIENT_PORT}"
    if parts.scheme == "ray" or (":" in address and "//" not in address):
        return address
    raise _TOLD


def _connect(ray: Any, where: str, address: str) -> None:
    words = ""
    for tried in range(_TRIES):  # a first client may find the server still starting
        try:
            ray.init(where, namespace=NAMESPACE, log_to_driver=False, logging_level="error")
            return
        except (ConnectionError, RuntimeError, TimeoutError) as error:
            words = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            with contextlib.suppress(Exception):
                ray.shutdown()
            time.sleep(1.0 + tried)
    raise RunFailed(
        f"the cluster cannot be reached: {words}", address,
        f"Check that it runs and that {where} can be reached from here.",
    )  # fmt: skip


def _came_to_nothing(run: DetachedRun) -> None:
    if run.is_new:
        run.forget()
    else:
        run.remember("")


def _portable(request: RunRequest) -> str:
    """The plan's text with what its grants name of this machine in it; as it is if that is none.

    Raises BadInput or Misuse for a file that is not here.
    """
    if not request.plan:
        return ""
    plan, _ = load_plan(request.plan, request.plan_source or "plan")
    registry = Registry.builtin()
    changed = False
    for step in plan.steps.values():
        if not isinstance(step, TemplateStep):
            continue
        for name, arguments in step.grant.items():
            if name in registry.names and (given := arguments or {}) != (
                packed := registry.get(name).portable(given)
            ):
                step.grant[name], changed = packed, True
    return dump_plan(plan) if changed else request.plan


def _secrets(modules: Sequence[UserModule]) -> list[str]:
    """The variables that functions of modules read, as far as they load here."""
    found: set[str] = set()
    for module in modules:
        with contextlib.suppress(Misuse):  # what it imports may be there
            found |= {name for function in load_module(module) for name in function.secrets}
    return sorted(found)


def _set_here(names: Sequence[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
