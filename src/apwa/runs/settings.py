"""What a person can set for a run. Kept with the run, so that resume knows; holds no secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import msgspec

from apwa.documents import Split
from apwa.models import EndpointSettings, check_address, check_endpoints
from apwa.plan import SET_OTHERWISE
from apwa.vocabulary import NUSD_PER_USD, Caps, ChangeLimits, Misuse, above_zero, names_secret

_ABOVE_ZERO = (
    "max_cost", "max_tokens", "max_calls", "concurrency", "limit", "timeout_s", "output_tokens",
    "context",
)  # fmt: skip


class RunSettings(msgspec.Struct, frozen=True):
    """Settings of one run.

    Attributes:
        model: The workers' model, such as ``openai:gpt-5.4-mini``; a template may name another.
        manager_model: The manager's model; empty: the workers'.
        grants: Names of the capabilities that templates of this run may grant.
        modules: Paths of the user's modules, whose functions may be granted too.
        max_cost: Hard cap in US dollars; ``max_tokens`` and ``max_calls`` likewise. None: no cap.
        max_failures: Share of quarantined rows (after 50 results) at which a step pauses the run.
        concurrency: Ceiling of calls at once to one endpoint, under which the gate still learns.
        limit: Only the first so many rows of each input table.
        rows: Only these row keys of the input tables.
        pilot: Whether a sample flows through the plan before it runs in full.
        reuse: Whether answers of earlier runs to the same requests are taken.
        yes: Approve the plan whatever the forecast says.
        timeout_s: Pause the run after so many seconds.
        prices: User's prices by model: ``{"openai:x": {"input": 0.25, "output": 2.0}}``, US
            dollars per million tokens.
        parameters: Parameters of each worker's model call, where its template says nothing else.
        output_tokens: Output limit of a worker's call, likewise.
        endpoints: The user's endpoints, and changes to those known by name; holds no key.
        practice: Faults of the practice model, as its ``--faults`` takes them.
        context: The model's context size in tokens, where it cannot be found out.
        executor: Where workers run: ``local``, in this process; ``ray``, on a Ray cluster.
        journal: The database of the journal, ``postgresql://…``; empty: a file of the run.
        split: What makes a row of tables of documents that have such parts, where nothing else is
            said of them: ``pages``, ``records``.
        policy: Columns of the inputs to the endpoints to which they may go; see ``docs/policy.md``.
        output: Where the answer goes: a name that ends in .parquet, .jsonl or .csv.
        force: Overwrite existing files.
        with_stats: Add _attempts, _model, _tokens and _cost to the answer.
        seed: Of all that is left to chance.
    """

    model: str = ""
    manager_model: str = ""
    grants: list[str] = []
    modules: list[str] = []
    max_cost: float | None = None
    max_tokens: int | None = None
    max_calls: int | None = None
    max_failures: float = 0.2
    concurrency: int | None = None
    limit: int | None = None
    rows: list[str] = []
    pilot: bool = True
    reuse: bool = True
    yes: bool = False
    timeout_s: float | None = None
    prices: dict[str, dict[str, float]] = {}
    parameters: dict[str, Any] = {}
    output_tokens: int | None = None
    endpoints: dict[str, EndpointSettings] = {}
    practice: str = ""
    context: int | None = None
    executor: Literal["local", "ray"] = "local"
    journal: str = ""
    split: Split = ""
    policy: dict[str, list[str]] = {}
    output: str = ""
    force: bool = False
    with_stats: bool = False
    seed: int = 0

    @property
    def caps(self) -> Caps | None:
        """The hard caps, or None if there is none."""
        if self.max_cost is None and self.max_tokens is None and self.max_calls is None:
            return None
        cost = None if self.max_cost is None else round(self.max_cost * NUSD_PER_USD)
        return Caps(cost, self.max_tokens, self.max_calls)

    def changed(self, changes: Mapping[str, object]) -> RunSettings:
        """These settings with ``changes`` laid over; what is None there stays."""
        return msgspec.structs.replace(
            self, **{name: value for name, value in changes.items() if value is not None}
        )

    def under(self, limits: ChangeLimits) -> RunSettings:
        """These settings with the limits of a command."""
        changes: dict[str, object] = {
            "concurrency": limits.concurrency,
            "max_failures": limits.max_failures,
            "timeout_s": limits.timeout_s,
        }
        if limits.caps is not None:
            cost = limits.caps.cost_nusd
            changes["max_cost"] = None if cost is None else cost / NUSD_PER_USD
            changes["max_tokens"], changes["max_calls"] = limits.caps.tokens, limits.caps.calls
        return self.changed(changes)


def check_settings(settings: RunSettings, place: str) -> None:
    """Raises Misuse, with the setting's name, for what could not be used or would keep a secret."""
    above_zero({f"{place} {name}": getattr(settings, name) for name in _ABOVE_ZERO})
    if not 0 <= settings.max_failures <= 1:
        raise Misuse("the share must be between 0 and 1", f"{place} max_failures")
    check_endpoints(settings.endpoints, place)
    for model in (settings.model, settings.manager_model):
        check_address(model, f"{place} model")
    for name in settings.parameters:
        if names_secret(name):
            raise Misuse(
                f"the parameter {name} would carry a key", f"{place} parameters",
                "For a key, set key_env or key_command of its endpoint in apwa.toml.",
            )  # fmt: skip
        if name in SET_OTHERWISE:
            raise Misuse(f"{name} is no parameter: {SET_OTHERWISE[name]}", f"{place} parameters")


class Settings(TypedDict, total=False):
    """Fields of ``RunSettings`` but the model, as keyword arguments; see there."""

    manager_model: str
    grants: list[str]
    modules: list[str]
    max_cost: float | None
    max_tokens: int | None
    max_calls: int | None
    max_failures: float
    concurrency: int | None
    limit: int | None
    rows: list[str]
    pilot: bool
    reuse: bool
    yes: bool
    timeout_s: float | None
    prices: dict[str, dict[str, float]]
    parameters: dict[str, Any]
    output_tokens: int | None
    endpoints: dict[str, EndpointSettings]
    practice: str
    context: int | None
    executor: Literal["local", "ray"]
    journal: str
    policy: dict[str, list[str]]
    output: str | os.PathLike[str]
    force: bool
    with_stats: bool
    seed: int


class TableSource(msgspec.Struct, frozen=True):
    """An input table as the user named it.

    ``frame``: it comes from the caller's memory, and ``source`` only says what it was. ``split``:
    what of a document makes a row.
    """

    name: str
    source: str
    key: list[str] = []
    sensitive: list[str] = []
    frame: bool = False
    split: Split = ""


class RunRequest(msgspec.Struct, frozen=True):
    """What a run was asked for: a job in words, or a plan file's text."""

    job: str
    plan: str
    tables: list[TableSource]
    upto: str = "run"  # plan, pilot, run
    plan_source: str = ""  # where the plan's text came from, for messages
    version: int = 1
