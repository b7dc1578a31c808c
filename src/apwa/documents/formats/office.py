"""Office documents, e-mails and mailboxes, by kreuzberg, as Markdown."""

from __future__ import annotations

import re
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

import kreuzberg as kz

from apwa.documents.formats import Unreadable
from apwa.documents.formats.texts import row_text
from apwa.documents.messages import BLOCK, MOST_TEXT, Asked, Counted, Item

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
    "eml": "message/rfc822",
    "msg": _VENDOR + "ms-outlook",
}
_ONE = kz.ConcurrencyConfig(max_threads=1)
_MAIL = ("eml", "msg")
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_LINES = [f"{{urn:oasis:names:tc:opendocument:xmlns:text:1.0}}{name}" for name in "hp"]
_FROM = b"From "


def read(asked: Asked) -> Iterator[Item]:
    path = Path(asked.path.decode("utf-8", "surrogateescape"))
    if asked.reader == "mbox":
        yield from _mbox(path, asked)
    elif asked.parts and asked.reader == "slides":
        slides = _slides(path, asked.type)
        for number in range(asked.first, asked.first + asked.parts):
            yield Item(number, slides[number - 1])
    elif asked.parts and asked.split == "records":
        rows = islice(_rows(path, asked), asked.first - 1, asked.first - 1 + asked.parts)
        for number, text in enumerate(rows, asked.first):
            yield Item(number, text)
    elif asked.type == "odp":
        yield Item(asked.first, "\n\n".join(_drawn(path)))
    else:
        yield Item(asked.first, _text(_extracted(path, asked.type)))


def count(asked: Asked) -> Counted:
    path = Path(asked.path.decode("utf-8", "surrogateescape"))
    if asked.reader == "slides":
        return Counted(len(_slides(path, asked.type)))
    if asked.reader != "mbox":
        return Counted(sum(1 for _ in _rows(path, asked)))
    with path.open("rb") as file:
        offsets = [offset for offset, _ in _messages(file, 0)]
    return Counted(len(offsets), offsets[::BLOCK])


def _extracted(
    source: Path | bytes, type_: str, pages: kz.PageConfig | None = None
) -> kz.ExtractionResult:
    form = "plain" if type_ in _MAIL or pages is not None else "markdown"
    config = kz.ExtractionConfig(use_cache=False, concurrency=_ONE, output_format=form, pages=pages)
    try:
        if isinstance(source, bytes):
            return kz.extract_bytes_sync(source, _TYPES[type_], config)
        return kz.extract_file_sync(str(source), _TYPES[type_], config)
    except kz.KreuzbergError as error:
        words = re.sub(r"^(?:\w+Error: )+", "", str(error)).replace(str(source), "the file")
        if "Security limit" in words:
            words = f"it unpacks to more than is taken: {words}"
        raise Unreadable(f"the file cannot be read as {type_}: {words[:300]}") from error


def _text(result: kz.ExtractionResult) -> str:
    text = result.content.strip()
    if len(text) > MOST_TEXT:
        raise Unreadable(f"the document has more than {MOST_TEXT:,} characters")
    attached = result.metadata.get("attachments")
    if isinstance(attached, list) and attached:
        text += "\n\nAttachments: " + ", ".join(str(name) for name in attached)
    return text


def _slides(path: Path, type_: str) -> list[str]:
    """The text of each slide: kreuzberg marks where one begins, with a mark nobody can forge."""
    if type_ == "odp":
        return _drawn(path)
    mark = secrets.token_hex(8)
    pages = kz.PageConfig(insert_page_markers=True, marker_format=f"\n\n{mark} {{page_num}}\n\n")
    result = _extracted(path, "pptx", pages)
    return [text.strip() for text in re.split(rf"{mark} \d+", result.content)[1:]]


def _drawn(path: Path) -> list[str]:
    """The text of each slide of an OpenDocument presentation, which kreuzberg does not read.

    Source: OpenDocument 1.3, part 3: draw:page (10.2.4), text:h and text:p (5.1).
    """
    try:
        with zipfile.ZipFile(path) as package, package.open("content.xml") as content:
            data = content.read(MOST_TEXT + 1)
        if len(data) > MOST_TEXT:
            raise Unreadable("the file cannot be read as odp: it unpacks to more than is taken")
        slides = ElementTree.fromstring(data).iter(f"{_DRAW}page")
        return ["\n".join(filter(None, map(_line, slide.iter()))) for slide in slides]
    except (OSError, KeyError, RuntimeError, zlib.error, zipfile.BadZipFile, SyntaxError) as error:
        raise Unreadable(f"the file cannot be read as odp: {str(error)[:300]}") from error


def _line(element: ElementTree.Element) -> str:
    return "".join(element.itertext()).strip() if element.tag in _LINES else ""


def _rows(path: Path, asked: Asked) -> Iterator[str]:
    """The rows of all sheets, each as a JSON object under its sheet's first row."""
    for table in _extracted(path, asked.type).tables:
        header, *rows = table.cells or [[]]
        for row in rows:
            if any(row):
                yield row_text(header, row)


def _mbox(path: Path, asked: Asked) -> Iterator[Item]:
    with path.open("rb") as file:
        file.seek(asked.offset)
        messages = _messages(file, asked.offset)
        if not asked.parts:
            texts = [_text(_extracted(message, "eml")) for _, message in messages]
            yield Item(1, "\n\n---\n\n".join(texts))
            return
        for number, (_, message) in enumerate(islice(messages, asked.parts), asked.first):
            try:
                yield Item(number, _text(_extracted(message, "eml")))
            except Unreadable as trouble:
                yield Item(number, reason=str(trouble))


def _messages(file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes]]:
    """(where it begins, message) of a mailbox; each follows a blank line and begins with From."""
    begun, lines, size, blank = offset, list[bytes](), 0, True
    seen = False
    while line := file.readline(MOST_TEXT):
        if blank and line.startswith(_FROM):
            if seen:
                yield begun, b"".join(lines)
            begun, lines, size, seen = offset, [], 0, True
        elif seen:
            size += len(line)
            if size > MOST_TEXT:
                raise Unreadable(f"a message is larger than {MOST_TEXT:,} bytes")
            lines.append(line[1:] if re.match(rb">+From ", line) else line)
        elif line.strip():
            raise Unreadable("the file is no mailbox: it does not begin with a From line")
        blank = not line.strip()
        offset += len(line)
    if seen:
        yield begun, b"".join(lines)
