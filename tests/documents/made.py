"""Documents made for tests: as small as their formats allow."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"

_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_SCHEMAS = "http://schemas.openxmlformats.org"
_KIND = "application/vnd.openxmlformats-officedocument"


def docx(paragraphs: Sequence[str], **margins: str) -> bytes:
    """``margins``: name of a header's or footer's part, its text."""
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    main = f'xmlns:w="{_SCHEMAS}/wordprocessingml/2006/main"'
    files = {"word/document.xml": f"<w:document {main}><w:body>{body}</w:body></w:document>"}
    for name, text in margins.items():
        files[f"word/{name}.xml"] = f"<w:hdr {main}><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:hdr>"
    return _office("word/document.xml", "wordprocessingml.document.main", files)


def odf(kind: str, body: str, margins: str = "", *, whole: str = "") -> bytes:
    """An OpenDocument file: ``kind`` text, spreadsheet or presentation.

    ``margins``: headers and footers; ``whole``: all of the part that they stand in.
    """
    type_ = f"application/vnd.oasis.opendocument.{kind}"
    space = "urn:oasis:names:tc:opendocument:xmlns"
    names = ("office", "text", "table", "drawing", "style")
    spaces = " ".join(
        f'xmlns:{"draw" if name == "drawing" else name}="{space}:{name}:1.0"' for name in names
    )
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("mimetype", type_, zipfile.ZIP_STORED)
        file.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="{space}:manifest:1.0"><manifest:file-entry'
            f' manifest:full-path="/" manifest:media-type="{type_}"/></manifest:manifest>',
        )
        file.writestr(
            "content.xml",
            f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {spaces}>'
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body>"
            "</office:document-content>",
        )
        if margins or whole:
            page = f"<style:master-page>{margins}</style:master-page>"
            styles = f"<office:document-styles {spaces}>{page}</office:document-styles>"
            file.writestr("styles.xml", whole or styles)
    return data.getvalue()


def pptx(
    slides: Sequence[str], *, order: Sequence[int] = (), notes: Mapping[int, str] | None = None
) -> bytes:
    """``order``: which slides are shown, in this order; ``notes``: of slides by their numbers."""
    spaces = (
        f'xmlns:p="{_SCHEMAS}/presentationml/2006/main" xmlns:a="{_SCHEMAS}/drawingml/2006/main"'
        f' xmlns:r="{_SCHEMAS}/officeDocument/2006/relationships"'
    )
    numbers = range(1, len(slides) + 1)
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in order or numbers)
    files = {
        "ppt/presentation.xml": f"<p:presentation {spaces}><p:sldIdLst>{ids}</p:sldIdLst>"
        "</p:presentation>",
        "ppt/_rels/presentation.xml.rels": _relations(
            [("slide", f"slides/slide{n}.xml") for n in numbers]
        ),
    }
    for number, text in zip(numbers, slides, strict=True):
        files[f"ppt/slides/slide{number}.xml"] = (
            f"<p:sld {spaces}><p:cSld><p:spTree><p:sp><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r>"
            "</a:p></p:txBody></p:sp></p:spTree></p:cSld></p:sld>"
        )
    for number, text in (notes or {}).items():
        place = '<p:nvSpPr><p:nvPr><p:ph type="body"/></p:nvPr></p:nvSpPr>'
        files[f"ppt/notesSlides/notesSlide{number}.xml"] = (
            f"<p:notes {spaces}><p:cSld><p:spTree><p:sp>{place}<p:txBody><a:p><a:r>"
            f"<a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:notes>"
        )
        files[f"ppt/slides/_rels/slide{number}.xml.rels"] = _relations(
            [("notesSlide", f"../notesSlides/notesSlide{number}.xml")]
        )
    return _office("ppt/presentation.xml", "presentationml.presentation.main", files)


def xlsx(rows: Sequence[Sequence[str]]) -> bytes:
    spaces = (
        f'xmlns="{_SCHEMAS}/spreadsheetml/2006/main"'
        f' xmlns:r="{_SCHEMAS}/officeDocument/2006/relationships"'
    )
    data = "".join(
        f'<row r="{n}">'
        + "".join(
            f'<c r="{chr(65 + at)}{n}" t="inlineStr"><is><t>{cell}</t></is></c>'
            for at, cell in enumerate(row)
        )
        + "</row>"
        for n, row in enumerate(rows, 1)
    )
    sheet = f"<worksheet {spaces}><sheetData>{data}</sheetData></worksheet>"
    one = '<sheets><sheet name="One" sheetId="1" r:id="rId1"/></sheets>'
    book = f"<workbook {spaces}>{one}</workbook>"
    return _office(
        "xl/workbook.xml",
        "spreadsheetml.sheet.main",
        {
            "xl/workbook.xml": book,
            "xl/worksheets/sheet1.xml": sheet,
            "xl/_rels/workbook.xml.rels": _relations([("worksheet", "worksheets/sheet1.xml")]),
        },
    )


def mail(subject: str, body: str) -> bytes:
    return (
        f"From: Ann <ann@example.com>\nTo: bob@example.com\nSubject: {subject}\n"
        f"Content-Type: text/html; charset=utf-8\n\n<p>{body}</p>\n"
    ).encode()


def mbox(mails: Sequence[bytes]) -> bytes:
    return b"\n".join(b"From ann@example.com Mon Jan  1 10:00:00 2024\n" + one for one in mails)


def pdf(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """Objects numbered from 1, the first of them the catalogue."""
    data, places = b"%PDF-1.4\n", list[int]()
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    size = len(objects) + 1
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return data + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n"
        b"%d\n%%%%EOF\n" % (size, table, size, trailer, len(data))
    )


def scan(path: Path, pages: int = 1) -> None:
    """A PDF without a letter in it: pictures of pages."""
    from PIL import Image

    receipt = Image.open(SAMPLES / "receipt.jpg").convert("L")
    receipt.save(path, "PDF", save_all=True, append_images=[receipt] * (pages - 1))


def _office(main: str, kind: str, files: Mapping[str, str]) -> bytes:
    types = (
        f'{_XML}<Types xmlns="{_SCHEMAS}/package/2006/content-types">'
        '<Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{main}" ContentType="{_KIND}.{kind}+xml"/></Types>'
    )
    whole = {
        "[Content_Types].xml": types,
        "_rels/.rels": _relations([("officeDocument", main)]),
        **{name: text if text.startswith("<?xml") else _XML + text for name, text in files.items()},
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in whole.items():
            packed.writestr(name, text)
    return out.getvalue()


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    lines = "".join(
        f'<Relationship Id="rId{n}" Type="{_SCHEMAS}/officeDocument/2006/relationships/{kind}"'
        f' Target="{target}"/>'
        for n, (kind, target) in enumerate(targets, 1)
    )
    return (
        f'{_XML}<Relationships xmlns="{_SCHEMAS}/package/2006/relationships">{lines}'
        "</Relationships>"
    )
