"""Office documents, by xberg: as Markdown where they have a structure."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from unicodedata import normalize
from xml.sax.saxutils import unescape

import xberg as xb

from apwa.documents.formats import Unreadable, onward
from apwa.documents.formats.margins import within_margins
from apwa.documents.formats.markdown import SAVE_BRACKETS, unescaped
from apwa.documents.formats.opendocument import drawn
from apwa.documents.formats.package import opened, rewritten
from apwa.documents.formats.slides import in_order
from apwa.documents.formats.texts import row_text
from apwa.documents.messages import MOST_TEXT, Asked, Counted, Item

_VENDOR = "application/vnd."
_XML = _VENDOR + "openxmlformats-officedocument."
_OPEN = _VENDOR + "oasis.opendocument."
_TYPES = {
    "docx": _XML + "wordprocessingml.document",
    "pptx": _XML + "presentationml.presentation",
    "xlsx": _XML + "spreadsheetml.sheet",
    "odt": _OPEN + "text",
    "ods": _OPEN + "spreadsheet",
    "doc": "application/msword",
    "ppt": _VENDOR + "ms-powerpoint",
    "xls": _VENDOR + "ms-excel",
    "rtf": "application/rtf",
    "epub": "application/epub+zip",
    "msg": _VENDOR + "ms-outlook",
}
_PLAIN = ("msg", "doc", "ppt")  # the last two have no structure that it could see
_OLE = b"\xd0\xcf\x11\xe0"  # a container of former years, also of what is encrypted
_ZIPPED = ("docx", "xlsx", "pptx")
_PACKAGES = ("docx", "odt", "xlsx", "ods", "pptx")
_TARGET = re.compile(r"(?<!\\)\]\([^()\s]+\)")  # of a link: xberg leaves it as in the XML
_QUOTES = {"&quot;": '"', "&apos;": "'"}
_SINGLE = re.compile(r"[^<>=]+")  # signs of XML that an accent would change
_LIMITS = xb.SecurityLimits(max_table_cells=10_000_000)  # memory and time bound them already
_MOST_TITLES = 20  # rows above the header


def read(asked: Asked) -> Iterator[Item]:
    path = Path(asked.path.decode("utf-8", "surrogateescape"))
    if asked.parts and asked.reader == "slides":
        slides = _slides(path, asked.type)
        for number in range(asked.first, asked.first + asked.parts):
            yield Item(number, slides[number - 1])
    elif asked.parts and asked.split == "records":
        yield from onward.block(asked, lambda: _rows(path, asked))
    elif asked.type == "odp":
        yield Item(asked.first, _bounded("\n\n".join(drawn(path.read_bytes()))))
    else:
        yield Item(asked.first, _text(_data(path, asked.type), asked.type))


def count(asked: Asked) -> Counted:
    path = Path(asked.path.decode("utf-8", "surrogateescape"))
    if asked.reader == "slides":
        return Counted(len(_slides(path, asked.type)))
    return Counted(sum(1 for _ in _rows(path, asked)))


def _extracted(
    data: bytes, type_: str, *, plain: bool = False, pages: xb.PageConfig | None = None
) -> xb.ExtractedDocument:
    config = xb.ExtractionConfig(
        output_format="plain" if plain else "markdown",
        pages=pages,
        security_limits=_LIMITS,
        disable_ocr=True,
        max_archive_depth=0,  # what is attached is named, not read
        enable_quality_processing=False,
        use_cache=False,
        concurrency=xb.ConcurrencyConfig(max_threads=1),
    )
    given = xb.ExtractInput(kind=xb.ExtractInputKind.BYTES, bytes=data, mime_type=_TYPES[type_])
    try:
        (document,) = asyncio.run(xb.extract(given, config)).results
    except (RuntimeError, ValueError, xb.exceptions.XbergError) as error:
        words = re.sub(r"^(?:\w+Error: )+", "", str(error))
        if "ecurity" in words or "limit exceeded" in words:
            words = f"it unpacks to more than is taken: {words}"
        raise Unreadable(f"the file cannot be read as {type_}: {words[:300]}") from error
    return document


def _data(path: Path, type_: str) -> bytes:
    data = path.read_bytes()
    if data.startswith(_OLE) and type_ in _ZIPPED:
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise Unreadable("the file is encrypted: it opens with a password only")
        raise Unreadable(f"the file is no {type_} but of an older format, as .{type_[:-1]}")
    if type_ == "rtf" and not data.lstrip().startswith(b"{\\rtf"):
        raise Unreadable("the file is no RTF")
    return data


def _text(data: bytes, type_: str) -> str:
    """The whole text; a character of the document stands in it as it is, not escaped."""
    if type_ in _PLAIN:
        return _bounded(_extracted(data, type_, plain=True).content.strip())
    if type_ == "pptx":
        data = in_order(data)
    document = _extracted(data, type_)
    if _is_bare(document) and type_ in _PACKAGES:
        with opened(data, type_) as package:
            document = _extracted(rewritten(package, _composed), type_)
    text = document.content.strip()
    if not _is_bare(document):
        if type_ == "docx":
            text = _TARGET.sub(lambda found: unescape(found[0], _QUOTES), text)
        text = unescaped(text, SAVE_BRACKETS)
    if type_ in ("docx", "odt"):
        text = within_margins(text, data, type_)
    return _bounded(text)


def _is_bare(document: xb.ExtractedDocument) -> bool:
    """Whether it has fallen back to text without structure, in which nothing is escaped.

    It does so where a letter and its accent are two characters, which it makes one.
    """
    warnings = document.processing_warnings or ()
    return any(warning.source == "output_format" for warning in warnings)


def _composed(name: str, data: bytes) -> tuple[str, bytes]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return name, data
    return name, _SINGLE.sub(lambda found: normalize("NFC", found[0]), text).encode()


def _bounded(text: str) -> str:
    if len(text) > MOST_TEXT:
        raise Unreadable(f"the document has more than {MOST_TEXT:,} characters")
    return text


def _slides(path: Path, type_: str) -> list[str]:
    if type_ == "odp":
        return drawn(path.read_bytes())
    data = in_order(_data(path, type_))
    slides = _extracted(data, "pptx", plain=True, pages=xb.PageConfig(extract_pages=True)).pages
    return [slide.content.strip() for slide in slides or ()]


def _rows(path: Path, asked: Asked) -> Iterator[str]:
    """The rows of all sheets, each as a JSON object under its sheet's header."""
    for table in _extracted(_data(path, asked.type), asked.type).tables:
        rows = table.cells or [[]]
        at = _header(rows)
        for row in rows[at + 1 :]:
            if any(row):
                yield row_text(rows[at], row)


def _header(rows: Sequence[Sequence[str]]) -> int:
    """Where the header stands: in the first row, or below a title, a row of one cell.

    One wide row among narrow ones is no header.
    """
    wide = [sum(map(bool, row)) > 1 for row in rows]
    at = wide.index(True) if True in wide[:_MOST_TITLES] else 0
    below = [wide[n] for n in range(at + 1, len(rows)) if any(rows[n])]
    return at if sum(below) * 2 > len(below) else 0
