"""OpenDocument files, where xberg does not see what is in them.

Source: OpenDocument 1.3, part 3: draw:page (10.2.4), text:h and text:p (5.1), white space (6.1),
headers and footers (16.10).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from apwa.documents.formats.package import opened, part

_SPACE = "{urn:oasis:names:tc:opendocument:xmlns:"
_TEXT, _STYLE = f"{_SPACE}text:1.0}}", f"{_SPACE}style:1.0}}"
_PAGE = f"{_SPACE}drawing:1.0}}page"
_LINES = (f"{_TEXT}h", f"{_TEXT}p")
_MARGIN = re.compile(rf"{re.escape(_STYLE)}(header|footer)(-left|-first)?")
_MOST_SPACES = 1000  # a number in the file says how many


def drawn(data: bytes) -> list[str]:
    """The text of each slide of a presentation, which xberg does not tell apart."""
    with opened(data, "odp") as package:
        slides = part(package, "content.xml").iter(_PAGE)
        return ["\n".join(_lines(slide)) for slide in slides]


def margins(data: bytes) -> list[tuple[str, str]]:
    """(header or footer, text) of a text document's pages."""
    with opened(data, "odt") as package:
        if "styles.xml" not in package.NameToInfo:
            return []
        return [
            (found[1], "\n".join(_lines(element)))
            for element in part(package, "styles.xml").iter()
            if (found := _MARGIN.fullmatch(element.tag))
        ]


def _lines(element: ElementTree.Element) -> Iterator[str]:
    for space in element.iter():
        if space.tag == f"{_TEXT}tab":
            space.text = "\t"
        elif space.tag == f"{_TEXT}line-break":
            space.text = "\n"
        elif space.tag == f"{_TEXT}s":
            count = space.get(f"{_TEXT}c", "1")
            space.text = " " * min(int(count) if count.isdecimal() else 1, _MOST_SPACES)
    for line in element.iter():
        if line.tag in _LINES and (text := "".join(line.itertext()).strip()):
            yield text
