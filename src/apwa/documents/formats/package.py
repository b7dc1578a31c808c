"""The zip files of XML that office documents are: their parts, within bounds, none with a DTD."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from xml.etree import ElementTree

from apwa.documents.formats import Unreadable
from apwa.documents.messages import MOST_TEXT

_MOST_BYTES = 4 * MOST_TEXT  # of all parts that are written anew

Change = Callable[[str, bytes], tuple[str, bytes] | None]
"""A part's new name and content, or None where it is left out."""


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise SyntaxError("it declares entities")  # they can grow without end


@contextmanager
def opened(data: bytes, type_: str) -> Generator[zipfile.ZipFile]:
    """The package; what is wrong with it is Unreadable."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            yield package
    except (KeyError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile, SyntaxError) as error:
        raise Unreadable(f"the file cannot be read as {type_}: {str(error)[:300]}") from error


def part(package: zipfile.ZipFile, name: str) -> ElementTree.Element:
    """A part as XML. Raises KeyError where there is none."""
    return parsed(_bytes(package, name, MOST_TEXT))


def parsed(data: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))


def rewritten(package: zipfile.ZipFile, change: Change) -> bytes:
    """The package with its XML parts renamed and changed; it loses all others, as pictures."""
    out = io.BytesIO()
    left = _MOST_BYTES
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
        for name in dict.fromkeys(package.namelist()):
            if name == "mimetype" or name.endswith((".xml", ".rels")):
                data = _bytes(package, name, left)
                left -= len(data)
                if (changed := change(name, data)) is not None:
                    written.writestr(*changed)
    return out.getvalue()


def _bytes(package: zipfile.ZipFile, name: str, most: int) -> bytes:
    with package.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise RuntimeError("it unpacks to more than is taken")
    return data
