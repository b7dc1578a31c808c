"""Presentations: their slides in the order they are shown in, with their notes.

PPTX goes to xberg, which takes slides by the numbers of their files and leaves notes out: so it
is given a package in which those numbers are the order, and notes stand on the slide.
Source: ECMA-376 part 1, 13.3 (slides, notes) and 19.2.1.34 (sldIdLst).
"""

from __future__ import annotations

import re
import zipfile
from posixpath import dirname, join, normpath
from xml.etree import ElementTree

from apwa.documents.formats.package import opened, parsed, part, rewritten

_SLIDE = re.compile(r"ppt/slides/(_rels/)?[^/]+\.xml(?(1)\.rels)")
_SPACES = {
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "p": "http://schemas.openxmlformats.org/presentationml/2006/main",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
}
_ID = f"{{{_SPACES['r']}}}id"
_P = f"{{{_SPACES['p']}}}"
_A = f"{{{_SPACES['a']}}}"


def in_order(data: bytes) -> bytes:
    """A PPTX whose slide files are numbered as they are shown, with their notes on them."""
    with opened(data, "pptx") as package:
        slides = _shown(package)
        notes = {name: text for name in slides if (text := _notes(package, name))}
        if not slides or (
            not notes and slides == [f"ppt/slides/slide{n}.xml" for n in range(1, len(slides) + 1)]
        ):
            return data
        names: dict[str, str] = {}
        for number, name in enumerate(slides, 1):
            names[name] = f"ppt/slides/slide{number}.xml"
            names[_relations_of(name)] = f"ppt/slides/_rels/slide{number}.xml.rels"

        def change(name: str, data: bytes) -> tuple[str, bytes] | None:
            if name in notes:
                data = _with_notes(data, notes[name])
            if name in names:
                return names[name], data
            return None if _SLIDE.fullmatch(name) else (name, data)  # what is never shown

        return rewritten(package, change)


def _shown(package: zipfile.ZipFile) -> list[str]:
    """The slides' parts in their order, each once."""
    targets = _targets(package, "ppt/presentation.xml")
    book = part(package, "ppt/presentation.xml")
    ids = [slide.get(_ID, "") for slide in book.iterfind("p:sldIdLst/p:sldId", _SPACES)]
    found = dict.fromkeys(targets[id_][1] for id_ in ids if id_ in targets)
    return [name for name in found if name in package.NameToInfo]


def _notes(package: zipfile.ZipFile, slide: str) -> list[str]:
    """The lines of a slide's notes."""
    for kind, name in _targets(package, slide).values():
        if kind == "notesSlide" and name in package.NameToInfo:
            for shape in part(package, name).iter(f"{_P}sp"):
                place = shape.find("p:nvSpPr/p:nvPr/p:ph", _SPACES)
                if place is not None and place.get("type") == "body":
                    lines = [_line(each) for each in shape.iter(f"{_A}p")]
                    return lines if any(line.strip() for line in lines) else []
    return []


def _line(paragraph: ElementTree.Element) -> str:
    return "".join(" " if run.tag == f"{_A}br" else run.text or "" for run in paragraph.iter())


def _with_notes(slide: bytes, notes: list[str]) -> bytes:
    root = parsed(slide)
    tree = root.find("p:cSld/p:spTree", _SPACES)
    if tree is not None:
        body = ElementTree.SubElement(ElementTree.SubElement(tree, f"{_P}sp"), f"{_P}txBody")
        for line in ("Notes:", *notes):
            run = ElementTree.SubElement(ElementTree.SubElement(body, f"{_A}p"), f"{_A}r")
            ElementTree.SubElement(run, f"{_A}t").text = line
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)


def _targets(package: zipfile.ZipFile, name: str) -> dict[str, tuple[str, str]]:
    """What a part is related to: id -> (kind, name of the other part)."""
    relations = _relations_of(name)
    if relations not in package.NameToInfo:
        return {}
    return {
        relation.get("Id", ""): (
            relation.get("Type", "").rpartition("/")[2],
            normpath(join("/", dirname(name), relation.get("Target", ""))).lstrip("/"),
        )
        for relation in part(package, relations)
        if relation.get("TargetMode") != "External"
    }


def _relations_of(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/_rels/{file}.rels"
