"""A step's template as it is or was worked, kept with its run."""

from __future__ import annotations

import hashlib

import msgspec

from apwa.journal import JournalReader
from apwa.models import ToolSpec
from apwa.plan import TemplateStep
from apwa.vocabulary import WorkSpec


class KeptSpec(msgspec.Struct, frozen=True):
    """A template as it is being worked, and what it ranges over.

    ``hidden``: it reads sensitive columns, so what its workers say is not to be shown. ``task``
    names the template without its contract. ``prefixes``: hashes of it compiled, one for each model
    that it has been worked with. ``tools``: what its grants show the model; empty where that was
    not known.
    """

    over: str
    spec: WorkSpec
    hidden: bool = False
    task: str = ""
    prefixes: list[bytes] = []
    tools: list[ToolSpec] = []


def task_of(step: TemplateStep) -> str:
    """Names what a template asks, whatever its contract, limits and model."""
    asks = step.model_dump_json(include={"template", "over", "grant", "reduce", "parameters"})
    return hashlib.blake2b(asks.encode(), digest_size=12).hexdigest()


def kept_spec(reader: JournalReader, scope: str, step: str) -> KeptSpec | None:
    """A step's template as it is or was worked."""
    data = reader.fact(f"spec:{scope}:{step}")
    return None if data is None else msgspec.json.decode(data, type=KeptSpec)


def hides(reader: JournalReader, scope: str, step: str) -> bool:
    """Whether a step reads sensitive columns: its answers and failures are not to be shown."""
    kept = kept_spec(reader, scope, step)
    return kept is not None and kept.hidden
