"""The way to the keeper from outside: orders and tables in, events and exports out."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from apwa.capabilities import Registry, UserModule, load_module, pack_module
from apwa.executor.cluster import mark_of, need_ray
from apwa.models import EndpointSettings
from apwa.plan import TemplateStep, dump_plan, load_plan
from apwa.runs.detached.keeper import HEAD, NAME, NAMESPACE, Keeper
from apwa.runs.detached.orders import Begun, Order
from apwa.runs.detached.sending import PIECE, Sender
from apwa.runs.settings import RunRequest, RunSettings
from apwa.runs.variables import models_of, variables_of
from apwa.vocabulary import ApwaError, Misuse, RunFailed
from apwa.vocabulary.events import Numbered

_CLIENT_PORT = 10001  # of Ray Client, where an address of the dashboard is given
_TRIES = 6
_BEGIN_S = 180.0
_TOLD = Misuse(
    "the cluster cannot be reached so", "--executor", "Name it ray://HOST:10001 or http://HOST:8265"
)


@dataclass(frozen=True, slots=True)
class DetachedRun:
    """A run that a cluster keeps, as this home remembers it."""

    name: str
    address: str
    models: list[str]
    endpoints: dict[str, EndpointSettings]
    secrets: list[str]
    record: Path

    def forget(self) -> None:
        self.record.unlink(missing_ok=True)


class _Record(msgspec.Struct, frozen=True):
    address: str
    models: list[str]  # whose keys it needs again to go on
    endpoints: dict[str, EndpointSettings] = {}
    secrets: list[str] = []  # variables that the functions of its modules read


def detached_runs(home: Path) -> list[DetachedRun]:
    """The detached runs that were begun from this home, the oldest first."""
    found: list[DetachedRun] = []
    for path in sorted((home / "detached").glob("*.json")):
        record = msgspec.json.decode(path.read_bytes(), type=_Record)
        about = (record.models, record.endpoints, record.secrets)
        found.append(DetachedRun(path.stem, record.address, *about, path))
    return found


def find_detached(home: Path, name: str) -> DetachedRun | None:
    """A detached run by its id, or by the beginning or end of it if only one has it."""
    found = [
        run for run in detached_runs(home) if run.name.startswith(name) or run.name.endswith(name)
    ]
    return found[0] if name and len(found) == 1 else None


class Cluster:
    """A cluster's keeper, found or begun. Made by ``reach``."""

    def __init__(self, address: str, keeper: Any) -> None:
        self.address = address
        self._keeper = keeper

    def ask(self, method: str, *arguments: object) -> Any:
        """Call the keeper. Raises RunFailed where it cannot be reached."""
        ray = need_ray()
        try:
            return ray.get(getattr(self._keeper, method).remote(*arguments))
        except (ray.exceptions.RayActorError, ConnectionError) as error:
            words = str(error).strip().splitlines()[0]
            raise RunFailed(f"the keeper is gone: {words}", self.address, "Try again.") from error

    # ---- begin

    def begin(self, request: RunRequest, settings: RunSettings, home: Path) -> str:
        """Begin a run; its id. Raises what is wrong with it before anything is spent."""
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
        name = self._order(Order(request, settings, modules), variables | _set_here(secrets))
        record = home / "detached" / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        record.write_bytes(msgspec.json.encode(_Record(self.address, models, endpoints, secrets)))
        return name

    def go_on(self, order: Order, run: DetachedRun) -> str:
        """Go on with a run; its id."""
        changed = [str(order.changes.get(name) or "") for name in ("model", "manager_model")]
        variables, _ = variables_of([*run.models, *changed], run.endpoints, os.environ)
        return self._order(order, variables | _set_here(run.secrets))

    def _order(self, order: Order, variables: dict[str, str]) -> str:
        try:
            token = self.ask("order", msgspec.msgpack.encode(order), variables)
        except need_ray().exceptions.RayTaskError as error:
            words = str(error).strip().splitlines()[-1]
            raise RunFailed(f"Ray takes no jobs there: {words}", self.address) from error
        end = time.monotonic() + _BEGIN_S
        while time.monotonic() < end:
            content, words = self.ask("look", token)
            if words:
                raise RunFailed(f"the driver's job has ended: {words[-1500:]}", self.address)
            if content:
                begun = msgspec.json.decode(content, type=Begun)
                if begun.run:
                    return begun.run
                kind = {2: Misuse, 1: RunFailed}.get(begun.exit_code, RunFailed)
                raise kind(begun.what, begun.where, begun.todo)
            time.sleep(0.3)
        raise RunFailed(
            f"no driver has begun within {_BEGIN_S:.0f} s", self.address,
            "See the cluster's jobs: ray job list",
        )  # fmt: skip

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
