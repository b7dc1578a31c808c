"""Looks through an .xlsx sheet for what its reader takes for empty cells: errors, and formulas
that no program has worked out."""

from __future__ import annotations

import posixpath
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.parsers import expat

_BLOCK = 1 << 18
_ENDINGS = (".xlsx", ".xlsm")


@dataclass(slots=True)
class Cells:
    """Cells of one kind: the first of them, what it shows, and how many there are."""

    cell: str = ""
    value: str = ""
    count: int = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def add(self, cell: str, value: str) -> None:
        if not self.count:
            self.cell, self.value = cell, value
        self.count += 1


@dataclass(frozen=True, slots=True)
class Faults:
    errors: Cells
    unknown: Cells


def cell_name(row: int, column: int) -> str:
    """A cell's name as spreadsheets write it; rows and columns count from 0."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return f"{letters}{row + 1}"


def cell_faults(path: Path, sheet: str) -> Faults:
    """What stands in a sheet; nothing is found in files that are no .xlsx."""
    faults = Faults(Cells(), Cells())
    if path.suffix.lower() not in _ENDINGS:
        return faults
    try:
        with zipfile.ZipFile(path) as archive:
            inside = _place_of(archive, sheet)
            if inside is not None:
                with archive.open(inside) as file:
                    _look(file, faults)
    except (zipfile.BadZipFile, KeyError, expat.ExpatError) as error:
        raise ValueError(f"broken inside: {error}") from error
    return faults


def _look(file: IO[bytes], faults: Faults) -> None:
    cell: list[str] = ["", ""]  # its name and type
    seen = {"f": False, "v": False, "": False}  # formula, value, and whether the value has text
    value: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if name == "c":
            cell[:] = [attributes.get("r", "?"), attributes.get("t", "n")]
            seen.update({"f": False, "v": False, "": False})
            value.clear()
        elif name in ("f", "v"):
            seen[name] = True

    def end(tag: str) -> None:
        if tag.rpartition(":")[2] != "c":
            return
        if cell[1] == "e":
            faults.errors.add(cell[0], "".join(value))
        elif seen["f"] and not (seen["v"] and (seen[""] or cell[1] != "n")):
            faults.unknown.add(cell[0], "")

    def text(data: str) -> None:
        if seen["v"] and data.strip():
            seen[""] = True
        if cell[1] == "e" and seen["v"] and len(value) < 8:
            value.append(data)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    while block := file.read(_BLOCK):
        parser.Parse(block, False)
    parser.Parse(b"", True)


def _place_of(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """Where in the file a sheet is kept; None where that is not said."""
    key = ""
    for tag, about in _elements(archive, "xl/workbook.xml"):
        if tag == "sheet" and about.get("name") == sheet:
            key = next((v for k, v in about.items() if k.rpartition(":")[2] == "id"), "")
    for tag, about in _elements(archive, "xl/_rels/workbook.xml.rels"):
        if tag == "Relationship" and key and about.get("Id") == key:
            return posixpath.normpath(posixpath.join("/xl", about.get("Target", ""))).lstrip("/")
    return None


def _elements(archive: zipfile.ZipFile, name: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, about: found.append((tag.rpartition(":")[2], about))
    parser.Parse(archive.read(name), True)
    return found
