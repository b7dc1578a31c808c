"""HTML as Markdown: headings, lists, links and tables stay what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path

from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

from apwa.documents.formats import Unreadable
from apwa.documents.formats.charsets import decoded
from apwa.documents.formats.markdown import unescaped
from apwa.documents.messages import MOST_TEXT, Asked, Counted, Item

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.I)
_EMBEDDED = re.compile(r"\]\(data:[^)\s]*")  # a picture in the page: thousands of letters, no text
_FIELD = re.compile(r"<input\s[^<>]{1,4000}>", re.I)
_VALUE = re.compile(r"""\svalue\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.I)
_TYPE = re.compile(r"\stype\s*=\s*[\"']?(\w+)", re.I)
_UNSEEN = ("hidden", "password", "checkbox", "radio", "file", "color", "image")
_OPTIONS = ConversionOptions(
    extract_metadata=False,
    escape_ascii=True,  # all or nothing: what is escaped by halves cannot be told from code
    compact_tables=True,
    preprocessing=PreprocessingOptions(
        enabled=False, remove_navigation=False, remove_forms=False
    ),  # it takes away what the page shows
)


def read(asked: Asked) -> Iterator[Item]:
    path = Path(asked.path.decode("utf-8", "surrogateescape"))
    with path.open("rb") as file:
        data = file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise Unreadable(f"the page is too large: at most {MOST_TEXT:,} bytes")
    if b"\0" in data[:1024] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise Unreadable("the file is binary, no HTML")
    yield Item(asked.first, as_markdown(_decoded(data)))


def count(asked: Asked) -> Counted:
    return Counted(1)


def as_markdown(page: str) -> str:
    """The text of a page, its structure as Markdown."""
    converted = convert(_FIELD.sub(_filled, page), _OPTIONS)
    for warning in converted.warnings:
        if "depth" in str(warning.kind):  # the rest was left out without a word
            raise Unreadable(f"the page is nested too deeply: {warning.message}")
    return unescaped(_EMBEDDED.sub("](", converted.content or "")).strip()


def _filled(field: re.Match[str]) -> str:
    """A field and what stands in it, which is text to those who see the page."""
    value, type_ = _VALUE.search(field[0]), _TYPE.search(field[0])
    if value is None or (type_ and type_[1].lower() in _UNSEEN):
        return field[0]
    return field[0] + escape(unescape(value[1] or value[2] or value[3] or ""))


def _decoded(data: bytes) -> str:
    """The page by its mark, else by what it says, else as UTF-8, else as browsers guess."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig", "replace")
    said = _CHARSET.search(data[:2048])
    label = said[1].decode("ascii") if said else ""
    return decoded(data, "utf-8" if label.lower().startswith("utf-16") else label)
