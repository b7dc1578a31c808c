"""Headers and footers of text documents, which xberg leaves out: each once, around the text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from apwa.documents.formats import opendocument
from apwa.documents.formats.package import opened, part

_PART = re.compile(r"word/(header|footer)\d*\.xml")
_W = (
    "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}",
    "{http://purl.oclc.org/ooxml/wordprocessingml/main}",
)
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def within_margins(text: str, data: bytes, type_: str) -> str:
    """A document's text between its headers and its footers."""
    found = dict.fromkeys(opendocument.margins(data) if type_ == "odt" else _margins(data))
    headers = [words for kind, words in found if kind == "header" and words]
    footers = [words for kind, words in found if kind == "footer" and words]
    return "\n\n".join([*headers, *([text] if text else []), *footers])


def _margins(data: bytes) -> list[tuple[str, str]]:
    with opened(data, "docx") as package:
        named = [found for name in package.namelist() if (found := _PART.fullmatch(name))]
        return [(found[1], _words(part(package, found[0]))) for found in named]


def _words(root: ElementTree.Element) -> str:
    """The paragraphs' text. Source: ECMA-376 part 1, 17.3.3."""
    for parent in root.iter():
        for again in parent.findall(_FALLBACK):  # a text box for programs that know no shapes
            parent.remove(again)
    words: list[str] = []
    for element in root.iter():
        space, _, name = element.tag.rpartition("}")
        if f"{space}}}" not in _W:
            continue
        if name == "p":
            words.append("\n")
        elif name == "t":
            words.append(element.text or "")
        elif name in ("br", "cr"):
            words.append("\n")
        elif name == "tab" and not element.attrib:  # one with attributes says where it stops
            words.append("\t")
    lines = "".join(words).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())
