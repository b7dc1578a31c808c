"""HTML as Markdown: headings, lists, links and tables stay what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from html_to_markdown import ConversionOptions, convert

from apwa.documents.formats import Unreadable
from apwa.documents.messages import MOST_TEXT, Asked, Counted, Item

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.I)
_EMBEDDED = re.compile(r"\(data:[^)\s]*")  # a picture in the page: thousands of letters, no text
_OPTIONS = ConversionOptions(extract_metadata=False)


def read(asked: Asked) -> Iterator[Item]:
    path = Path(asked.path.decode("utf-8", "surrogateescape"))
    with path.open("rb") as file:
        data = file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise Unreadable(f"the page is too large: at most {MOST_TEXT:,} bytes")
    if b"\0" in data[:1024] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise Unreadable("the file is binary, no HTML")
    converted = convert(_decoded(data), _OPTIONS)
    for warning in converted.warnings:
        if "depth" in str(warning.kind):  # the rest was left out without a word
            raise Unreadable(f"the page is nested too deeply: {warning.message}")
    yield Item(asked.first, _EMBEDDED.sub("(", converted.content or "").strip())


def count(asked: Asked) -> Counted:
    return Counted(1)


def _decoded(data: bytes) -> str:
    """The page by its mark, else by what it says, else as UTF-8, else as browsers guess."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig", "replace")
    if said := _CHARSET.search(data[:2048]):
        try:
            return data.decode(said[1].decode("ascii"), "replace")
        except LookupError:
            pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
