"""Settings: flags over ``APWA_*`` variables over ``apwa.toml`` or ``[tool.apwa]``."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from apwa.vocabulary import Misuse

if TYPE_CHECKING:
    from apwa.runs import RunSettings

_SETTABLE = {
    "model", "manager_model", "grants", "modules", "max_cost", "max_tokens", "max_calls",
    "max_failures", "concurrency", "pilot", "yes", "timeout_s", "prices", "context", "practice",
    "parameters", "output_tokens", "endpoints", "executor", "journal",
    "reuse", "split", "policy",
}  # fmt: skip
_LISTS = ("grant", "grants", "module", "modules")
_ALIASES = {"timeout": "timeout_s", "grant": "grants", "module": "modules"}


def merge(flags: Mapping[str, object], env: Mapping[str, str], here: Path) -> RunSettings:
    """Lay the three layers over each other. Raises Misuse naming the layer and the setting."""
    place, values = from_file(here)
    merged = _checked(values, place)
    merged |= _checked(_from_env(env), "environment")
    given = {name: value for name, value in flags.items() if value is not None}
    if "policy" in merged and "policy" in given:  # a flag takes back no rule
        given["policy"] = _both(merged["policy"], given["policy"])
    merged |= given
    return _converted(merged, "settings")


def _both(one: dict[str, list[str]], other: Any) -> dict[str, list[str]]:
    """Rules of two policies; of two on the same columns, what both allow."""
    both = {c: [e for e in one[c] if e in other[c]] for c in one.keys() & other.keys()}
    return {**one, **other, **both}


def from_file(here: Path) -> tuple[str, dict[str, Any]]:
    """The nearest ``apwa.toml``, or ``[tool.apwa]``, in this directory or above it."""
    for folder in (here, *here.parents):
        for name in ("apwa.toml", "pyproject.toml"):
            path = folder / name
            if not path.is_file():
                continue
            try:
                content = tomllib.loads(path.read_text())
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                if name == "pyproject.toml":
                    continue  # not ours to complain about
                raise Misuse(f"this is no TOML: {error}", str(path)) from error
            if name == "apwa.toml":
                return str(path), _placed(content, folder)
            if "apwa" in content.get("tool", {}):
                return f"{path} [tool.apwa]", _placed(content["tool"]["apwa"], folder)
    return "", {}


def _placed(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths in a file are meant from where it stands."""
    paths = content.get("modules")
    if not isinstance(paths, list):
        return content
    return content | {"modules": [str(folder / str(path)) for path in cast("list[Any]", paths)]}


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in env.items():
        if name.startswith("APWA_"):
            setting = name[5:].lower()
            if _ALIASES.get(setting, setting) in _SETTABLE:
                values[setting] = text.split(",") if setting in _LISTS else text
    return values


def _checked(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        setting = _ALIASES.get(name.replace("-", "_"), name.replace("-", "_"))
        if setting not in _SETTABLE:
            known = ", ".join(sorted(_SETTABLE))
            raise Misuse(f"there is no setting {name!r}", place, f"Settings: {known}.")
        if setting == "max_failures":
            value = share(str(value), place)
        found[setting] = value
    _converted(found, place)
    return found


def _converted(values: Mapping[str, object], place: str) -> RunSettings:
    from apwa.runs import RunSettings, check_settings

    try:
        settings = msgspec.convert(dict(values), RunSettings, strict=False)
    except msgspec.ValidationError as error:
        raise Misuse(f"a setting is wrong: {error}", place) from error
    check_settings(settings, place)
    return settings


def share(text: str, place: str) -> float:
    """``5%`` or ``0.05``. Raises Misuse for anything else."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise Misuse(f"{text!r} is no share", place, "Write 5% or 0.05.")
    return value


def current() -> tuple[Mapping[str, str], Path]:
    """The process's environment and directory."""
    return os.environ, Path.cwd()
