"""PDF: the text of its pages; pages without any become pictures for models that see."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from apwa.documents.formats import Unreadable
from apwa.documents.formats.pictures import LONGEST_SIDE, MOST_PICTURES, as_jpeg
from apwa.documents.messages import MOST_TEXT, Asked, Counted, Item, Picture

_HYPHEN = re.compile("\x02\r?\n?")  # so PDFium marks one at the end of a line
_MOST_SCALE = 4.0  # 288 dots an inch: more shows nothing new
_ENCRYPTED = raw.FPDF_ERR_PASSWORD
_NO_SECURITY = raw.FPDF_ERR_SECURITY
_HOLD_TEXT = (
    raw.FPDF_FORMFIELD_TEXTFIELD,
    raw.FPDF_FORMFIELD_CHECKBOX,
    raw.FPDF_FORMFIELD_RADIOBUTTON,
    raw.FPDF_FORMFIELD_COMBOBOX,
    raw.FPDF_FORMFIELD_LISTBOX,
)


def read(asked: Asked) -> Iterator[Item]:
    document = _open(asked)
    if asked.parts:
        for number in range(asked.first, asked.first + asked.parts):
            text, picture = _page(document, number - 1)
            yield Item(number, None if picture and not text else text, [picture] if picture else [])
        return
    texts: list[str] = []
    pictures: list[Picture] = []
    size = 0
    for index in range(len(document)):
        text, picture = _page(document, index)
        if picture is not None:
            pictures.append(picture)
        if text:
            texts.append(text)
            size += len(text)
        if size > MOST_TEXT:
            raise Unreadable(f"the document has more than {MOST_TEXT:,} characters")
        if len(pictures) > MOST_PICTURES:
            raise Unreadable(
                f"more than {MOST_PICTURES} of its {len(document):,} pages have no text: read it"
                " with --split pages"
            )
    whole = "\n\n".join(texts)
    yield Item(1, None if pictures and not whole else whole, pictures)


def count(asked: Asked) -> Counted:
    return Counted(len(_open(asked)))


def _open(asked: Asked) -> pdfium.PdfDocument:
    try:
        document = pdfium.PdfDocument(asked.path.decode("utf-8", "surrogateescape"))
    except pdfium.PdfiumError as error:
        code = getattr(error, "err_code", None)
        if code == _ENCRYPTED:
            raise Unreadable("the PDF is encrypted: it opens with a password only") from error
        if code == _NO_SECURITY:
            raise Unreadable("the PDF is encrypted in a way that is not known") from error
        raise Unreadable("the file is no PDF, or a broken one") from error
    if len(document) == 0:
        raise Unreadable("the PDF has no pages")
    document.init_forms()
    return document


def _page(document: pdfium.PdfDocument, index: int) -> tuple[str, Picture | None]:
    """A page's text, or its picture if there is none and something else on it."""
    try:
        page = document[index]
    except pdfium.PdfiumError as error:
        raise Unreadable(f"page {index + 1:,} cannot be opened") from error
    try:
        found = _HYPHEN.sub("-\n", page.get_textpage().get_text_bounded())
        text = "\n".join(line.rstrip() for line in found.splitlines()).strip()
        fields = _fields(document, page)
        if any(letter.isalnum() for letter in text) or not _shows_something(page):
            return "\n\n".join(filter(None, (text, fields))), None
        return fields, _rendered(page)
    finally:
        page.close()


def _fields(document: pdfium.PdfDocument, page: Any) -> str:
    """The fields of a form and what stands in them, a line each."""
    form = document.formenv
    lines: dict[str, None] = {}  # the buttons of one choice are a field
    for index in range(raw.FPDFPage_GetAnnotCount(page) if form else 0):
        note = raw.FPDFPage_GetAnnot(page, index)
        if raw.FPDFAnnot_GetFormFieldType(form, note) in _HOLD_TEXT:
            name = _words(raw.FPDFAnnot_GetFormFieldName, form, note)
            value = _words(raw.FPDFAnnot_GetFormFieldValue, form, note)
            lines[f"{name}: {value}".strip()] = None
        raw.FPDFPage_CloseAnnot(note)
    return "\n".join(lines)


def _words(ask: Callable[..., int], form: Any, note: Any) -> str:
    size = ask(form, note, None, 0)
    words = ctypes.create_string_buffer(size)
    ask(form, note, ctypes.cast(words, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    lines = words.raw.decode("utf-16-le", "replace").rstrip("\0").splitlines()
    return "\n".join(lines)


def _shows_something(page: Any) -> bool:
    return next(iter(page.get_objects(max_depth=2)), None) is not None


def _rendered(page: Any) -> Picture:
    longest = max(page.get_size())
    scale = min(_MOST_SCALE, LONGEST_SIDE / max(longest, 1.0))
    return as_jpeg(page.render(scale=scale).to_pil())
