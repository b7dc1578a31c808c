"""Files of strangers in locked children: what breaks, hangs or blows up is one file's trouble."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from email.message import EmailMessage
from html import escape
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apwa.documents import Asked, Counted, Item, Limits, Readers, child, kind_of
from apwa.documents.formats import read
from apwa.documents.messages import Ended
from apwa.documents.readers import Closed
from tests.documents.made import SAMPLES, docx, mail, mbox, odf, pdf, pptx, scan, xlsx


def asked(path: Path, **more: object) -> Asked:
    kind = kind_of(path.name, data=True)
    assert kind is not None
    about = path.stat()
    fields: dict[str, object] = {"size": about.st_size, "changed": about.st_mtime_ns, **more}
    return Asked(os.fsencode(path), kind.type, kind.reader, **fields)  # pyright: ignore


def parts(readers: Readers, path: Path, **more: object) -> tuple[list[Item], str]:
    found: dict[int, Item] = {}

    def take(said: object) -> None:
        assert isinstance(said, Item)
        found[said.number] = said

    reason = readers.read(asked(path, **more), take)
    return list(found.values()), reason


TWO = (
    '<draw:page draw:name="1"><draw:frame><text:h>First</text:h><text:p>of <text:span>all'
    "</text:span></text:p></draw:frame></draw:page><draw:page><text:p>Second</text:p></draw:page>"
)
CELLS = '<table:table table:name="s">' + "".join(
    "<table:table-row>" + "".join(
        f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>'
        for cell in row
    ) + "</table:table-row>"
    for row in (("item", "price"), ("tea", "3"))
) + "</table:table>"  # fmt: skip


def text(readers: Readers, path: Path) -> str:
    items, reason = parts(readers, path)
    assert not reason and len(items) == 1 and items[0].text is not None, (items, reason)
    return items[0].text


def why(readers: Readers, path: Path, data: bytes) -> str:
    path.write_bytes(data)
    items, reason = parts(readers, path)
    assert not items
    return reason


def counted(readers: Readers, path: Path, split: str) -> int:
    found: list[Counted] = []
    assert readers.read(asked(path, split=split, count=True), found.append) == ""  # pyright: ignore
    return found[0].parts


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    pool = Readers(count=1)
    yield pool
    pool.close()


def test_documents_of_all_kinds_become_text(readers: Readers, tmp_path: Path) -> None:
    assert "Rechnung" in text(readers, SAMPLES / "invoice.pdf")
    assert "TOTAL:" in text(readers, SAMPLES / "receipt.txt")
    page = text(readers, SAMPLES / "page.html")
    assert page.startswith("# Copyright Release for") and "<p>" not in page
    for name, data, words in (
        ("a.docx", docx(["Dear Ann", "the total is 12"]), "Dear Ann\n\nthe total is 12"),
        ("a.pptx", pptx(["First", "Second"]), "## First\n\n## Second"),
        ("a.xlsx", xlsx([["item", "price"], ["tea", "3"]]), "| tea | 3 |"),
        ("a.odt", odf("text", "<text:p>Dear Ann</text:p>"), "Dear Ann"),
        ("a.ods", odf("spreadsheet", CELLS), "| tea | 3 |"),
        ("a.odp", odf("presentation", TWO), "First\nof all\n\nSecond"),
        ("a.xhtml", b"<html><body><h1>Dear</h1></body></html>", "# Dear"),
        ("a.rtf", rb"{\rtf1\ansi Hello {\b bold} caf\'e9}", "Hello **bold** café"),
        ("a.eml", mail("Your order", "It has left"), "Subject: Your order"),
        ("a.mbox", mbox([mail("One", "a"), mail("Two", "b")]), "Subject: Two"),
        ("LOUD.HTM", "<p>caf\xe9".encode("latin-1"), "café"),
    ):
        (tmp_path / name).write_bytes(data)
        assert words in text(readers, tmp_path / name), name


def test_formats_of_former_years_and_of_others_become_text(readers: Readers) -> None:
    sent = "Dear Ms Müller,the 3 boxes of tea left Zürich on 4 March 2026"
    for name in ("letter.doc", "letter.epub", "letter.msg"):
        read = text(readers, SAMPLES / name)
        assert sent in re.sub(r"\n+|(?<=,) ", "", read), (name, read)
    letter = text(readers, SAMPLES / "letter.doc")
    assert letter.startswith("Order 4711\n") and "green tea\t12.50 €" in letter
    assert "| green tea | 12.50 € |" in text(readers, SAMPLES / "letter.epub")
    message = text(readers, SAMPLES / "letter.msg")
    for line in (
        "Subject: Order 4711 & tea", "From: Jan Novák <jan@example.com>", "2026-03-04", "<today>"
    ):  # fmt: skip
        assert line in message
    slides = text(readers, SAMPLES / "slides.ppt")
    assert slides == "Order 4711 for Ms Müller\n\n3 boxes of tea left Zürich"
    assert "| Zürich box | 7 |" in text(readers, SAMPLES / "prices.xls")


MATHS = "http://schemas.openxmlformats.org/officeDocument/2006/math"
EQUATION = f'</w:t></w:r><m:oMath xmlns:m="{MATHS}"><m:r><m:t>x</m:t></m:r></m:oMath><w:r><w:t>'
TABLE = (
    "</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc></w:tr>"
    "</w:tbl><w:p><w:r><w:t>"
)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
HTML = (
    "<p>{}</p>", "<h2>{}</h2>", "<ul><li>{}</li></ul>", "<p>a <b>{}</b></p>", "<pre>{}</pre>",
    "<p>a <code>{}</code></p>", '<a href="http://example.com/{}">b</a>', '<a href="/a">{}</a>',
    '<img alt="{}" src="a.png">', "<table><tr><th>a</th></tr><tr><td>{}</td></tr></table>",
    '<form><input name="a" value="{}"></form>',
)  # fmt: skip


@settings(max_examples=60)
@given(st.text(st.sampled_from("ab 7é漢😀&<>\"'`*_~|\\#[](){}!+-.=^$%@/:;,?\t"), max_size=20))
def test_no_character_of_a_document_is_lost_or_escaped(
    readers: Readers, tmp_path_factory: pytest.TempPathFactory, words: str
) -> None:
    """Signs that XML or Markdown give a meaning to, too: quotes are held to what is read here."""
    words = f"x{words}y"
    folder = tmp_path_factory.getbasetemp()
    xml = escape(words)
    odd = set(
        "`é漢😀"
    )  # an address has none of them, and an accent grave in an alt looks like code
    pages = [
        (f"signs{at}.html", form.format(xml).encode())
        for at, form in enumerate(HTML)
        if not (odd & set(words) and form.startswith(('<a href="http', "<img")))
    ]
    for name, data in (
        ("signs.docx", docx([xml])),
        ("accent.docx", docx([xml, "e\u0301"])),
        ("split.docx", docx([xml, "e</w:t></w:r><w:r><w:t>\u0301"])),
        ("equation.docx", docx([xml, EQUATION])),
        ("table.docx", docx(["a", TABLE.format(xml)])),
        ("signs.pptx", pptx([xml])),
        ("signs.odt", odf("text", f"<text:p>{xml}</text:p>")),
        ("signs.xlsx", xlsx([["said"], [xml]])),
        *pages,
    ):
        (folder / name).write_bytes(data)
        read = text(readers, folder / name)
        assert " ".join(words.split()) in " ".join(read.split()), (name, read)


def test_a_letter_and_its_accent_as_two_characters_cost_no_structure(
    readers: Readers, tmp_path: Path
) -> None:
    (tmp_path / "a.docx").write_bytes(docx(["cafe\u0301 a\\*b", TABLE.format("tea")]))
    read = text(readers, tmp_path / "a.docx")
    assert "café a\\*b" in read and "| tea |" in read


def test_slides_stand_in_their_order_with_their_notes(readers: Readers, tmp_path: Path) -> None:
    (tmp_path / "a.pptx").write_bytes(
        pptx(["First", "Second", "Third"], order=(3, 1), notes={1: "Say a\\*b"})
    )
    assert text(readers, tmp_path / "a.pptx") == "## Third\n\n## First\n\nNotes:\n\nSay a\\*b"
    assert counted(readers, tmp_path / "a.pptx", "pages") == 2
    items, _ = parts(readers, tmp_path / "a.pptx", split="pages", parts=2)
    assert [item.text for item in items] == ["Third", "First\n\nNotes:\nSay a\\*b"]


def test_headers_and_footers_stand_around_the_text_once(readers: Readers, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(
        docx(["Dear Ann"], header1="Acme &amp; Co", header2="Acme &amp; Co", footer1="Page 1")
    )
    assert text(readers, tmp_path / "a.docx") == "Acme & Co\n\nDear Ann\n\nPage 1"
    header, footer = (
        f"<style:{name}><text:p>{name}<text:tab/>1</text:p></style:{name}>"
        for name in ("header", "footer")
    )
    (tmp_path / "a.odt").write_bytes(
        odf("text", "<text:p>Dear Ann</text:p>", header + footer + header)
    )
    assert text(readers, tmp_path / "a.odt") == "header\t1\n\nDear Ann\n\nfooter\t1"
    entities = '<!DOCTYPE x [<!ENTITY a "b">]>' + "<x>&a;</x>"
    reason = why(readers, tmp_path / "b.odt", odf("text", "<text:p>a</text:p>", whole=entities))
    assert reason == "the file cannot be read as odt: it declares entities"


def test_white_space_of_a_slide_is_kept(readers: Readers, tmp_path: Path) -> None:
    line = '<text:p>a<text:line-break/>b<text:tab/>c<text:s text:c="3"/>d</text:p>'
    (tmp_path / "a.odp").write_bytes(odf("presentation", f"<draw:page>{line}</draw:page>"))
    assert text(readers, tmp_path / "a.odp") == "a\nb\tc   d"


def test_nothing_that_a_page_shows_is_left_out(readers: Readers, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<nav>Way</nav><header>Head</header><form>Name <input value='Ann'> <input type=hidden"
        " value=secret><textarea>Long</textarea><button>Send</button></form><p>(data: 2019)"
        " <a href='data:text/plain,long'>link</a></p><footer>Foot</footer>"
    )
    read = text(readers, tmp_path / "a.html")
    for words in ("Way", "Head", "Name", "Ann", "Long", "Send", "Foot", "(data: 2019) [link]()"):
        assert words in read
    assert "secret" not in read


def test_what_is_attached_to_a_mail_is_named_and_not_read(readers: Readers, tmp_path: Path) -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = "Your order", "ann@example.com"
    message.set_content("It has left.")
    message.add_attachment(b"seven", maintype="text", subtype="plain", filename="list.txt")
    (tmp_path / "a.eml").write_bytes(message.as_bytes())
    read = text(readers, tmp_path / "a.eml")
    assert "It has left." in read and "list.txt" in read and "seven" not in read


@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_mails_are_read_in_the_letters_they_are_written_in(
    readers: Readers, tmp_path: Path, encoding: str
) -> None:
    for charset, words in (
        ("utf-8", "Grüße — 你好"), ("iso-8859-1", "Grüße"), ("windows-1252", "5 € „gut“"),
        ("koi8-r", "Привет"), ("gb2312", "你好"), ("iso-2022-jp", "こんに"), ("shift_jis", "に"),
    ):  # fmt: skip
        message = EmailMessage()
        message["Subject"], message["From"] = words, "Jörg Müller <j@example.com>"
        message.set_content(words, charset=charset, cte=encoding)
        (tmp_path / "a.eml").write_bytes(message.as_bytes())
        lines = (f"Subject: {words}", "From: Jörg Müller <j@example.com>", "", words)
        assert text(readers, tmp_path / "a.eml") == "\n".join(lines), charset
    for charset in ("", "; charset=us-ascii", "; charset=nobody-knows"):
        head = f"Subject: 12 €\nContent-Type: text/plain{charset}\n\n"
        (tmp_path / "a.eml").write_bytes(head.encode() + "12 €".encode("cp1252"))
        assert text(readers, tmp_path / "a.eml") == "Subject: 12 €\n\n12 €", charset


def test_of_a_mail_s_parts_the_text_is_read_and_the_rest_is_named(
    readers: Readers, tmp_path: Path
) -> None:
    inner, message = EmailMessage(), EmailMessage()
    inner["Subject"] = "Forwarded"
    inner.set_content("inside")
    message["Subject"], message["To"] = "Parts", '"B, C" <b@example.com>, a@example.com'
    message.set_content("As text.")
    message.add_alternative("<p>As a page.</p>", subtype="html")
    message.make_mixed()
    page = EmailMessage()
    page.set_content("<h1>Also</h1><p>a\\*b", subtype="html")
    message.attach(page)
    message.add_attachment(b"seven", maintype="text", subtype="plain", filename="liste ü.txt")
    message.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(message.as_bytes())
    assert text(readers, tmp_path / "a.eml") == (
        'Subject: Parts\nTo: "B, C" <b@example.com>, a@example.com\n\nAs text.\n\n# Also\n\na\\*b'
        "\n\nAttachments:\n  liste ü.txt (5 bytes)\n  message: Forwarded"
    )


def test_a_page_is_read_in_the_letters_that_browsers_would_take(
    readers: Readers, tmp_path: Path
) -> None:
    for label, words, letters in (
        ("iso-8859-1", "5 € „gut“", "cp1252"), ("us-ascii", "5 €", "cp1252"),
        ("utf-16", "Grüße", "utf-8"), ("gb2312", "你好 €", "gb18030"), ("gbk", "你好", "gb18030"),
        ("shift_jis", "①", "cp932"), ("x-sjis", "こ", "cp932"), ("euc-kr", "똠", "cp949"),
        ("ks_c_5601-1987", "안녕", "cp949"), ("iso-8859-9", "5 € ş", "cp1254"),
        ("nobody-knows", "Grüße", "utf-8"), ("base64", "Grüße", "utf-8"),
    ):  # fmt: skip
        page = f'<meta charset="{label}"><p>{words}'.encode(letters)
        (tmp_path / "a.html").write_bytes(page)
        assert text(readers, tmp_path / "a.html") == words, label


def test_a_picture_in_a_page_is_left_out_of_its_text(readers: Readers, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text(f'<p>before<img alt="seal" src="data:image/png;base64,{"A" * 10_000}">after')
    assert text(readers, page) == "before![seal]()after"


def test_pages_and_records_are_counted_and_read_in_blocks(readers: Readers, tmp_path: Path) -> None:
    scan(tmp_path / "s.pdf", 3)
    assert counted(readers, tmp_path / "s.pdf", "pages") == 3
    items, reason = parts(readers, tmp_path / "s.pdf", split="pages", first=2, parts=2)
    assert [item.number for item in items] == [2, 3] and not reason
    assert all(item.text is None and len(item.pictures) == 1 for item in items)
    (tmp_path / "a.pptx").write_bytes(pptx(["First", "Second"]))
    assert counted(readers, tmp_path / "a.pptx", "pages") == 2
    items, _ = parts(readers, tmp_path / "a.pptx", split="pages", parts=2)
    assert [item.text for item in items] == ["First", "Second"]
    (tmp_path / "a.odp").write_bytes(odf("presentation", TWO))
    assert counted(readers, tmp_path / "a.odp", "pages") == 2
    items, _ = parts(readers, tmp_path / "a.odp", split="pages", first=2, parts=1)
    assert [item.text for item in items] == ["Second"]
    (tmp_path / "a.csv").write_text('a,b\n1,"x\ny"\n2,z\n')
    assert counted(readers, tmp_path / "a.csv", "records") == 2
    items, _ = parts(readers, tmp_path / "a.csv", split="records", first=2, parts=1)
    assert items[0].text == '{"a":"2","b":"z"}'
    (tmp_path / "a.xlsx").write_bytes(xlsx([["item", "price"], ["tea", "3"], ["milk", "1"]]))
    assert counted(readers, tmp_path / "a.xlsx", "records") == 2
    (tmp_path / "a.mbox").write_bytes(mbox([mail("One", ">From here"), mail("Two", "b")]))
    items, _ = parts(readers, tmp_path / "a.mbox", split="records", first=2, parts=1)
    assert counted(readers, tmp_path / "a.mbox", "records") == 2 and items[0].number == 2
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\n\xff\nthree")
    items, _ = parts(readers, tmp_path / "a.txt", split="records", parts=3)
    assert [item.text for item in items] == ["one", None, "three"]
    assert "no UTF-8: byte 0xff" in items[1].reason


def test_records_of_a_table_are_read_onward_and_never_stale(tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.txt"
    other.write_text("x")
    path.write_text("n\n" + "".join(f"{n}\n" for n in range(1, 10)))

    def numbers(first: int) -> list[str]:
        block = Asked(os.fsencode(path), "csv", "rows", "records", first=first, parts=2, changed=-1)
        return [json.loads(item.text or "")["n"] for item in read(block)]

    with patch("apwa.documents.formats.texts.csv.reader", wraps=csv.reader) as begun:
        assert [numbers(1), numbers(3), numbers(7)] == [["1", "2"], ["3", "4"], ["7", "8"]]
        assert begun.call_count == 1
        assert numbers(3) == ["3", "4"] and begun.call_count == 2
        list(read(asked(other)))
        assert numbers(5) == ["5", "6"] and begun.call_count == 3
        path.write_text("n\n" + "".join(f"{n}0\n" for n in range(1, 10)))
        assert numbers(7) == ["70", "80"] and numbers(9) == ["90"] and numbers(11) == []


def test_no_cell_is_lost_under_names_that_repeat_or_are_missing(
    readers: Readers, tmp_path: Path
) -> None:
    rows = [
        ["name", "phone", "phone", "", "phone 2", "column 8"],
        ["Ann", "1", "2", "3", "4", "5", "6", "7"],
        ["Bob", "", "", "", "", ""],
    ]
    (tmp_path / "a.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    (tmp_path / "a.xlsx").write_bytes(xlsx(rows))
    for name in ("a.csv", "a.xlsx"):
        items, _ = parts(readers, tmp_path / name, split="records", parts=2)
        assert [json.loads(item.text or "") for item in items] == [
            {
                "name": "Ann", "phone": "1", "phone 3": "2", "column 4": "3", "phone 2": "4",
                "column 8": "5", "column 7": "6", "column 8 2": "7",
            },
            {"name": "Bob", "phone": "", "phone 3": "", "phone 2": "", "column 8": ""},
        ]  # fmt: skip


def test_a_sheet_s_header_stands_below_its_title(readers: Readers, tmp_path: Path) -> None:
    for name, rows, records in (
        (
            "a.xlsx",
            [["Sales", ""], ["", ""], ["item", "n"], ["tea", "3"]],
            [{"item": "tea", "n": "3"}],
        ),
        (
            "b.xlsx",
            [["item"], ["tea"], ["milk", "sour"]],
            [{"item": "tea"}, {"item": "milk", "column 2": "sour"}],
        ),
    ):
        (tmp_path / name).write_bytes(xlsx(rows))
        items, _ = parts(readers, tmp_path / name, split="records", parts=len(records))
        assert [json.loads(item.text or "") for item in items] == records
        assert counted(readers, tmp_path / name, "records") == len(records)


def test_what_is_wrong_with_a_file_is_said_in_words(readers: Readers, tmp_path: Path) -> None:
    garbage = bytes(range(256)) * 40
    for name, data, words in (
        ("a.pdf", garbage, "no PDF, or a broken one"),
        ("b.pdf", (SAMPLES / "invoice.pdf").read_bytes()[:900], "no PDF, or a broken one"),
        ("c.pdf", b"", "no PDF, or a broken one"),
        ("a.docx", garbage, "cannot be read as docx"),
        ("b.docx", docx(["x" * 1000])[:300], "cannot be read as docx"),
        ("c.docx", OLE + "EncryptedPackage".encode("utf-16-le"), "encrypted: it opens with a pass"),
        (
            "d.docx",
            (SAMPLES / "letter.doc").read_bytes(),
            "no docx but of an older format, as .doc",
        ),
        ("a.eml", garbage, "no e-mail: it begins with no header"),
        ("b.eml", b"Content-Type: message/rfc822\n\n" * 20_000, "the mail is nested too deeply"),
        ("big.mbox", mbox([b"A: b\n\n" + b"x" * (9 << 20) + b"\n"] * 4), "--split records"),
        ("a.odp", garbage, "cannot be read as odp"),
        ("b.odp", odf("presentation", "<draw:page>"), "cannot be read as odp: mismatched tag"),
        ("c.odp", odf("presentation", "A" * (33 << 20)), "unpacks to more than is taken"),
        ("a.rtf", garbage, "the file is no RTF"),
        ("a.png", garbage, "no picture of a kind that can be read"),
        ("b.jpg", (SAMPLES / "receipt.jpg").read_bytes()[:9000], "the picture is broken"),
        ("c.png", _png(100_000, 100_000), "claims 100,000 by 100,000 pixels"),
        ("a.html", b"<div>" * 20_000 + b"deep", "nested too deeply"),
        ("b.html", garbage, "binary, no HTML"),
        ("a.txt", b"ok\nbad \xff", "no UTF-8: byte 0xff in line 2"),
        ("a.mbox", b"no mails here", "does not begin with a From line"),
        ("bomb.docx", docx(["A" * (150 << 20)]), "unpacks to more than is taken"),
    ):
        assert words in why(readers, tmp_path / name, data), name
    os.mkfifo(tmp_path / "pipe.txt")
    assert parts(readers, tmp_path / "pipe.txt")[1] == "this is no ordinary file"


def test_what_stands_in_the_fields_of_a_pdf_is_text(readers: Readers, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(_form(b"BT /F1 12 Tf 20 80 Td (Applicant) Tj ET"))
    values = "name: Ann Müller\ntick: Yes\nnote:"
    assert text(readers, tmp_path / "a.pdf") == "Applicant\n\n" + values
    (tmp_path / "b.pdf").write_bytes(_form(b""))
    assert text(readers, tmp_path / "b.pdf") == values
    (tmp_path / "c.pdf").write_bytes(_form(b"10 10 50 50 re f"))
    items, _ = parts(readers, tmp_path / "c.pdf", split="pages", parts=1)
    assert items[0].text == values and len(items[0].pictures) == 1


def test_a_hyphen_at_the_end_of_a_line_of_a_pdf_is_one(readers: Readers, tmp_path: Path) -> None:
    lines = b"BT /F1 12 Tf 20 80 Td (a docu-) Tj 0 -14 Td (ment of) Tj ET"
    (tmp_path / "a.pdf").write_bytes(_form(lines))
    assert text(readers, tmp_path / "a.pdf").startswith("a docu-\nment of")


def test_an_encrypted_pdf_says_so(readers: Readers, tmp_path: Path) -> None:
    assert "encrypted: it opens with a password only" in why(
        readers, tmp_path / "a.pdf", _encrypted()
    )


def test_a_file_that_has_changed_since_it_was_listed_is_not_read(
    readers: Readers, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = asked(path)
    path.write_text("another")
    assert readers.read(before, print) == "the file has changed since it was listed"
    path.unlink()
    assert "cannot be read: No such file" in readers.read(before, print)


def test_what_takes_too_long_is_ended_and_the_next_file_is_read(tmp_path: Path) -> None:
    page = tmp_path / "long.html"
    page.write_bytes(b"<ul>" + b"<li>one <b>two</b> three" * 1_000_000)
    pool = Readers(Limits(memory_bytes=4 << 30, seconds=0.5), count=1)
    try:
        assert parts(pool, page)[1] == "reading it took longer than 0.5 s"
        assert pool.pids == []
        pool._children[0]._limits = Limits(memory_bytes=4 << 30)
        assert "TOTAL:" in text(pool, SAMPLES / "receipt.txt")
    finally:
        pool.close()
    pool = Readers(Limits(memory_bytes=4 << 30, cpu_s=0), count=1)
    try:
        assert "of processor time" in parts(pool, page)[1]
    finally:
        pool.close()


def test_what_needs_too_much_memory_is_ended(tmp_path: Path) -> None:
    page = tmp_path / "large.html"
    page.write_bytes(b"<ul>" + b"<li>one <b>two</b> three" * 1_000_000)
    pool = Readers(Limits(memory_bytes=160 << 20), count=1)
    try:
        assert "memory" in parts(pool, page)[1]
        assert "TOTAL:" in text(pool, SAMPLES / "receipt.txt")
    finally:
        pool.close()


def test_a_child_that_is_killed_between_or_during_files_costs_none_of_them(tmp_path: Path) -> None:
    page = tmp_path / "long.html"
    page.write_bytes(b"<ul>" + b"<li>one <b>two</b> three" * 200_000)
    pool = Readers(count=1)
    try:
        assert "TOTAL:" in text(pool, SAMPLES / "receipt.txt")
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        assert "Rechnung" in text(pool, SAMPLES / "invoice.pdf")
        (pid,) = pool.pids
        threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
        assert text(pool, page).count("one") == 200_000
    finally:
        pool.close()


def test_a_child_has_no_key_and_writes_no_file(tmp_path: Path) -> None:
    pool = Readers(count=1)
    try:
        assert "TOTAL:" in text(pool, SAMPLES / "receipt.txt")
        about = Path(f"/proc/{pool.pids[0]}")
        assert b"KEY" not in (about / "environ").read_bytes()
        limits = (about / "limits").read_text()
        assert any(
            line.split()[3:5] == ["0", "0"] for line in limits.splitlines() if "file size" in line
        )
        assert any(str(1 << 30) in line for line in limits.splitlines() if "address space" in line)
    finally:
        pool.close()


def test_a_child_that_does_not_start_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, start_s, words in (
        ("exit 1", 60, "no process to read it could be started: it ended at once"),
        ("exec sleep 60", 0.2, "no process to read it had started within 0.2 s"),
        (None, 60, "no process to read it could be started: "),
    ):
        program = tmp_path / "program"
        program.unlink(missing_ok=True)
        if command is not None:
            program.write_text(f"#!/bin/sh\n{command}\n")
            program.chmod(0o700)
        monkeypatch.setattr("apwa.documents.readers.sys.executable", str(program))
        monkeypatch.setattr("apwa.documents.readers._START_S", start_s)
        pool = Readers(count=1)
        try:
            assert words in parts(pool, SAMPLES / "receipt.txt")[1]
        finally:
            pool.close()


def test_no_memory_for_an_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(SAMPLES / "receipt.txt")
    sent = iter([MemoryError()])

    def framed(message: object) -> object:
        if (trouble := next(sent, None)) is not None:
            raise trouble
        return message

    monkeypatch.setattr("apwa.documents.child.framed", framed)
    (ended,) = child._frames(request)  # pyright: ignore
    assert ended == Ended("its reader needs more memory than it is given", spoiled=True)


def test_closing_leaves_no_child_behind() -> None:
    pool = Readers(count=1)
    assert "TOTAL:" in text(pool, SAMPLES / "receipt.txt")
    (pid,) = pool.pids
    pool.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_closing_ends_a_reading_at_once(tmp_path: Path) -> None:
    page = tmp_path / "long.html"
    page.write_bytes(b"<ul>" + b"<li>one <b>two</b> three" * 1_000_000)
    pool = Readers(Limits(memory_bytes=4 << 30), count=1)
    ended: list[BaseException] = []

    def read() -> None:
        try:
            parts(pool, page)
        except Closed as closed:
            ended.append(closed)

    thread = threading.Thread(target=read)
    thread.start()
    while not pool.pids:
        time.sleep(0.01)
    pool.close()
    thread.join(30)
    assert ended and pool.pids == []


def _png(width: int, height: int) -> bytes:
    """A picture that claims to be as large, in a few bytes."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _form(content: bytes) -> bytes:
    """A PDF with three fields: of text, to tick, and one that is empty."""
    place = b"/Type /Annot /Subtype /Widget /Rect [10 10 90 30] /P 3 0 R"
    return pdf([
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R 7 0 R 8 0 R] >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R /Annots [6 0 R"
        b" 7 0 R 8 0 R] /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< " + place + b" /FT /Tx /T (name) /V (Ann M\xfcller) >>",
        b"<< " + place + b" /FT /Btn /T (tick) /V /Yes /AS /Yes >>",
        b"<< " + place + b" /FT /Tx /T (note) >>",
    ])  # fmt: skip


def _encrypted() -> bytes:
    """A PDF whose key nobody knows: its password's check values are made up."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>",
        b"<< /Filter /Standard /V 1 /R 2 /O <"
        + b"41" * 32
        + b"> /U <"
        + b"42" * 32
        + b"> /P -4 >>",
    ]
    return pdf(objects, b"/Encrypt 4 0 R /ID [<00> <00>]")
