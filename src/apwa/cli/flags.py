"""Flags that several verbs share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from apwa.cli.settings import share
from apwa.documents import Split
from apwa.vocabulary import Misuse, above_zero

Display = Literal["auto", "rich", "plain", "json", "none"]


@Parameter(name="*")
@dataclass(frozen=True)
class Tables:
    table: Annotated[
        tuple[str, ...], Parameter(name=["--table", "-t"], negative=(), show_default=False)
    ] = ()
    """An input: NAME=PATH (CSV, TSV, JSON, JSONL, Parquet, Arrow, FILE.sqlite#TABLE,
    FILE.duckdb#TABLE, FILE.xlsx#SHEET, documents and pictures, a folder or glob of such), or the
    same at s3://, gs://, az:// or https://."""
    key: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """Columns that name a row: [TABLE=]COLUMN,COLUMN. Default: the position, counted from 1."""
    sensitive: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """Columns that only workers may see: [TABLE=]COLUMN,COLUMN."""
    split: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """What of a document makes a row: [TABLE=]pages or [TABLE=]records. Default: the file."""


@Parameter(name="*")
@dataclass(frozen=True)
class Limits:
    model: Annotated[str | None, Parameter(name=["--model", "-m"])] = None
    """The model, such as openai:gpt-5.4-mini, azure:DEPLOYMENT, ollama:NAME,
    http://HOST:PORT/v1#NAME, native:anthropic:NAME, gguf:FILE, smollm2, practice, or the name of an
    endpoint in apwa.toml."""
    manager_model: str | None = None
    """Another model for the manager."""
    max_cost: float | None = None
    """Hard cap in US dollars."""
    max_tokens: int | None = None
    """Hard cap in tokens, in and out."""
    max_calls: int | None = None
    """Hard cap in model calls."""
    price: str | None = None
    """What --model costs, in US dollars per million tokens: INPUT,OUTPUT or INPUT,OUTPUT,CACHED."""
    max_failures: str | None = None
    """Share of quarantined rows at which a step pauses, such as 5%. Default: 20%."""
    timeout: Annotated[float | None, Parameter(name="--timeout")] = None
    """Pause the run after so many seconds."""
    concurrency: int | None = None
    """At most so many calls at once to one endpoint."""
    executor: str | None = None
    """Where workers run: local, ray (RAY_ADDRESS, else this machine's own), ray://HOST:10001."""
    journal: str | None = None
    """A database for the journal, postgresql://…, instead of a file of the run."""
    yes: Annotated[bool | None, Parameter(name=["--yes", "-y"], negative=())] = None
    """Run the plan without asking."""
    policy: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """Where columns may go: COLUMNS=ENDPOINT,ENDPOINT, such as notes.name=local,ollama:*."""
    practice: str | None = None
    """Faults of the practice model; see: apwa practice-model --help."""

    def prices(self, model: str) -> dict[str, dict[str, float]]:
        """The price given for a model, by its name; none if none is given. Raises Misuse."""
        if self.price is None:
            return {}
        try:
            amounts = [float(part) for part in self.price.split(",")]
        except ValueError:
            amounts = []
        if len(amounts) not in (2, 3):
            raise Misuse(
                f"{self.price!r} is no price",
                "--price",
                "Write INPUT,OUTPUT[,CACHED].",
            )
        named: dict[str, float] = dict(zip(("input", "output", "cached"), amounts, strict=False))
        return {model.removeprefix("native:"): named}

    def changes(self) -> dict[str, object]:
        """As settings; what is not given is None."""
        failures = None
        if self.executor not in (None, "local", "ray"):
            raise Misuse(
                f"{self.executor!r} is no place to run this", "--executor", "Give local or ray."
            )
        if self.max_failures is not None:
            failures = share(self.max_failures, "--max-failures")
        above_zero(
            {
                "--max-cost": self.max_cost,
                "--max-tokens": self.max_tokens,
                "--max-calls": self.max_calls,
                "--timeout": self.timeout,
                "--concurrency": self.concurrency,
            }
        )
        return {
            "model": self.model,
            "manager_model": self.manager_model,
            "max_cost": self.max_cost,
            "max_tokens": self.max_tokens,
            "max_calls": self.max_calls,
            "max_failures": failures,
            "timeout_s": self.timeout,
            "concurrency": self.concurrency,
            "executor": self.executor,
            "journal": self.journal,
            "yes": self.yes,
            "policy": rules(self.policy) or None,
            "practice": self.practice,
        }


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None
    """Where the answer goes: a name that ends in .parquet, .jsonl or .csv."""
    force: Annotated[bool | None, Parameter(negative=())] = None
    """Overwrite existing files."""
    with_stats: Annotated[bool | None, Parameter(negative=())] = None
    """Add _attempts, _model, _tokens and _cost to the answer."""


@Parameter(name="*")
@dataclass(frozen=True)
class Looks:
    display: Display = "auto"
    """How progress shows on stderr."""
    verbose: Annotated[
        bool, Parameter(name=["--verbose", "-v"], negative=(), show_default=False)
    ] = False
    """Say each thing in a line that stays, instead of a live picture."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=(), show_default=False)] = (
        False
    )
    """Say nothing but errors."""


def splits(texts: tuple[str, ...], names: list[str]) -> dict[str, Split]:
    """``[TABLE=]pages`` texts by table. Raises Misuse for anything else."""
    found: dict[str, Split] = {}
    for text in texts:
        for name, parts in pairs((text,), names, "--split").items():
            if parts not in (["pages"], ["records"]):
                raise Misuse(f"{text!r} is no split", "--split", "Say pages or records.")
            found[name] = "pages" if parts == ["pages"] else "records"
    return found


def rules(texts: tuple[str, ...]) -> dict[str, list[str]]:
    """``COLUMNS=ENDPOINT,ENDPOINT`` texts as a policy. Raises Misuse."""
    found: dict[str, list[str]] = {}
    for text in texts:
        columns, mark, endpoints = text.partition("=")
        if not mark or not columns or columns in found:
            again = "stands here twice" if columns in found else "is no rule"
            todo = "Write TABLE.COLUMN=ENDPOINT,ENDPOINT; nothing after = forbids all."
            raise Misuse(f"{text!r} {again}", "--policy", todo)
        found[columns] = [endpoint for endpoint in endpoints.split(",") if endpoint]
    return found


def pairs(texts: tuple[str, ...], names: list[str], flag: str) -> dict[str, list[str]]:
    """``[TABLE=]A,B`` texts by table. Raises Misuse where the table is not clear."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, mark, columns = text.rpartition("=")
        if not mark and len(names) != 1:
            raise Misuse(f"{text!r} does not say of which table", flag, "Write TABLE=COLUMN.")
        name = name if mark else names[0]
        if name not in names:
            raise Misuse(f"there is no table {name!r}", flag, f"Tables: {', '.join(names)}.")
        found.setdefault(name, []).extend(column for column in columns.split(",") if column)
    return found
