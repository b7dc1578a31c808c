"""Reference data for workers: a table that the template names, asked by one key at a time.

The rows stand in the grant, or in a CSV or JSON file under the folder that the run was started
in. A plan may be written by a model, so a path out of that folder, or to a hidden file, is
refused: a grant must not become a way to read the user's other files.
"""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path
from typing import Any, cast

import msgspec

from apwa.capabilities.seam import CapabilityCard, ToolResult
from apwa.models.seam import Text, ToolSpec
from apwa.vocabulary import BadInput, Misuse

_MOST_BYTES = 10_000_000
_MOST_ROWS_BACK = 20
_LONGEST_ANSWER = 20_000  # characters

Index = dict[str, list[dict[str, Any]]]


class Lookup:
    """The capability ``lookup``: one tool, ``look_up``."""

    card = CapabilityCard(
        "lookup",
        "Looks a key up in a small table of reference data (a price list, a code book) that stands"
        " in the grant or in a CSV or JSON file. For data that is an input table, join it in a"
        " query instead.",
        {
            "type": "object",
            "properties": {
                "rows": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "the rows themselves; or give path",
                },
                "path": {
                    "type": "string",
                    "description": "a .csv or .json file (a list of objects) of up to 10 MB, in or"
                    " under the folder that the run is started in; or give rows",
                },
                "key": {"type": "string", "description": "the column that is asked for"},
            },
            "required": ["key"],
            "oneOf": [{"required": ["rows"]}, {"required": ["path"]}],
            "additionalProperties": False,
        },
        version="1",
    )

    def __init__(self) -> None:
        self._loaded: dict[bytes, Index] = {}
        self._lock = asyncio.Lock()

    def portable(self, arguments: dict[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in arguments.items() if name != "path"}
        return rest | {"rows": _rows(arguments)}

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self._loaded.clear()

    async def open(self, arguments: dict[str, Any]) -> LookupSession:
        """Raises BadInput or Misuse if there is no such table or key."""
        name = msgspec.json.encode(arguments, order="sorted")
        async with self._lock:
            if name not in self._loaded:
                self._loaded[name] = await asyncio.to_thread(_load, arguments)
        return LookupSession(self._loaded[name], cast("str", arguments["key"]))


class LookupSession:
    def __init__(self, index: Index, key: str) -> None:
        self._index = index
        self._key = key

    @property
    def tools(self) -> list[ToolSpec]:
        return [
            ToolSpec(
                "look_up",
                f"Look up reference data by its {self._key}. Gives the row as JSON, or says that"
                " there is none.",
                {
                    "type": "object",
                    "properties": {"key": {"type": "string"}},
                    "required": ["key"],
                    "additionalProperties": False,
                },
            )
        ]

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolResult:
        key = arguments.get("key")
        if not isinstance(key, str | int | float):
            return ToolResult([Text("give the argument key, a text")], failed=True)
        rows = self._index.get(_folded(key), [])
        if not rows:
            return ToolResult([Text("nothing under this key")])
        lines = [msgspec.json.encode(row).decode() for row in rows[:_MOST_ROWS_BACK]]
        if len(rows) > _MOST_ROWS_BACK:
            lines.append(f"and {len(rows) - _MOST_ROWS_BACK} more rows")
        return ToolResult([Text("\n".join(lines)[:_LONGEST_ANSWER])])

    async def close(self) -> None:
        pass


def _folded(key: Any) -> str:
    return " ".join(str(key).split()).casefold()


def _load(arguments: dict[str, Any]) -> Index:
    key: str = arguments["key"]
    index: Index = {}
    for number, row in enumerate(_rows(arguments), start=1):
        if key not in row:
            raise BadInput(
                f"row {number} has no column {key!r}; it has {', '.join(list(row)[:20])}",
                arguments.get("path") or "lookup",
            )
        index.setdefault(_folded(row[key]), []).append(row)
    return index


def _rows(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    path: str | None = arguments.get("path")
    rows = arguments["rows"] if path is None else _read(_inside(path))
    return cast("list[dict[str, Any]]", rows)


def _inside(path: str) -> Path:
    home = Path.cwd().resolve()
    full = (home / path).resolve()
    parts = full.relative_to(home).parts if full.is_relative_to(home) else (".",)
    if any(part.startswith(".") for part in parts):
        raise Misuse(
            "a lookup reads only files under the folder that the run is started in, and none that"
            " are hidden",
            path,
            "Move or copy the file there.",
        )
    if full.suffix.lower() not in (".csv", ".json"):
        raise Misuse("a lookup reads .csv and .json files", path)
    return full


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise BadInput(
                "the file is larger than 10 MB", str(path), "Join it in a query instead."
            )
        if path.suffix.lower() == ".json":
            return msgspec.json.decode(data, type=list[dict[str, Any]])
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        return [{name or "": value for name, value in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, msgspec.DecodeError, csv.Error) as error:
        raise BadInput(f"the file cannot be read as a table: {error}", str(path)) from None
