"""Documents as tables: listed at once, read when rows want them, kept once in the run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyroaring import BitMap

from apwa.documents import Split
from apwa.tables import Documents, Table, card, looked_at, pilot_ordinals, read_table
from apwa.tables.content import KeptContent
from apwa.vocabulary import BadInput, Misuse, Paused
from tests.documents.made import SAMPLES, docx, mail, pptx, scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """PDF, text, HTML, DOCX, a picture and a scan, one of them broken."""
    place = tmp_path / "docs"
    place.mkdir()
    for name in ("invoice.pdf", "page.html", "receipt.txt", "receipt.jpg"):
        shutil.copy(SAMPLES / name, place)
    (place / "letter.docx").write_bytes(docx(["Dear Ann"]))
    (place / "broken.docx").write_bytes(b"PK no document")
    scan(place / "scan.pdf", 2)
    return place


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[Documents]:
    kept = Documents(tmp_path / "run" / "content.db")
    yield kept
    kept.close()


def listed(folder: Path | str, tmp_path: Path, split: Split = "") -> Table:
    return read_table("docs", folder, tmp_path / "run" / "docs", split=split)


def rows_of(table: Table) -> list[dict[str, Any]]:
    names = [*table.schema.names, "_unreadable"]
    return [row for _, batch in table.batches(names) for row in batch.to_pylist()]


def test_a_folder_that_mixes_kinds_is_one_table_and_its_contents_come_when_wanted(
    folder: Path, tmp_path: Path, documents: Documents
) -> None:
    table = listed(folder, tmp_path)
    assert table.schema.names == ["file", "type", "size", "text", "images"]
    assert table.rows == 7 and table.key == ("file",)
    assert all(row["text"] is row["images"] is row["_unreadable"] is None for row in rows_of(table))
    documents.ensure(table, [2, 0])
    assert documents.kept(table) == BitMap([0, 2])
    documents.ensure(table, range(7))
    rows = {row["file"]: row for row in rows_of(Table.from_json(table.to_json()))}
    assert list(rows) == sorted(rows)
    assert rows["letter.docx"]["text"] == "Dear Ann" and rows["letter.docx"]["type"] == "docx"
    assert "Rechnung" in rows["invoice.pdf"]["text"] and rows["invoice.pdf"]["images"] is None
    assert "cannot be read as docx" in rows["broken.docx"]["_unreadable"]
    assert rows["scan.pdf"]["text"] is None and len(rows["scan.pdf"]["images"]) == 2
    (picture,) = rows["receipt.jpg"]["images"]
    assert documents.image(picture["hash"]) == (SAMPLES / "receipt.jpg").read_bytes()
    taken = table.take([6, 1], ["text", "file"]).to_pylist()
    assert [row["file"] for row in taken] == ["scan.pdf", "invoice.pdf"]
    assert taken[1]["text"] == rows["invoice.pdf"]["text"]


def test_what_is_kept_outlives_its_source_and_is_the_same_each_time(
    folder: Path, tmp_path: Path
) -> None:
    table = listed(folder, tmp_path)
    found: list[list[dict[str, Any]]] = []
    for number in range(2):
        content = tmp_path / "run" / "content.db"
        documents = Documents(content)
        documents.ensure(table, range(6))
        documents.close()
        found.append(rows_of(table)[:6])
        if number == 0:
            for path in content.parent.glob("content.db*"):
                path.unlink()
    assert found[0] == found[1]
    shutil.rmtree(folder)
    documents = Documents(tmp_path / "run" / "content.db")
    documents.ensure(table, range(7))  # the last one was not read yet
    documents.close()
    assert rows_of(table)[:6] == found[0]
    assert "cannot be read: No such file" in rows_of(table)[6]["_unreadable"]


def test_a_file_that_is_another_one_now_is_set_aside_until_it_is_tried_again(
    folder: Path, tmp_path: Path, documents: Documents
) -> None:
    table = listed(folder, tmp_path)
    (folder / "receipt.txt").write_text("something else")
    documents.ensure(table, range(7))
    assert rows_of(table)[5]["_unreadable"] == "the file has changed since it was listed"
    (folder / "broken.docx").write_bytes(docx(["mended"]))
    documents.forget_broken(table, BitMap([0, 4, 5]))
    assert documents.kept(table) == BitMap([1, 2, 3, 4, 6])
    documents.ensure(table, range(7))
    assert [rows_of(table)[n]["text"] for n in (0, 5)] == ["mended", "something else"]


def test_pages_are_rows_and_files_without_any_stay_one(
    folder: Path, tmp_path: Path, documents: Documents
) -> None:
    (folder / "talk.pptx").write_bytes(pptx(["First", "Second", "Third"]))
    Image.new("1", (30, 30)).save(
        folder / "fax.tiff", save_all=True, append_images=[Image.new("1", (30, 40))]
    )
    table = listed(folder, tmp_path, "pages")
    keys = list(table.row_keys())
    assert keys[:4] == ["broken.docx/1", "fax.tiff/1", "fax.tiff/2", "invoice.pdf/1"]
    assert keys[-3:] == ["talk.pptx/1", "talk.pptx/2", "talk.pptx/3"]
    documents.ensure(table, [table.rows - 2])  # its block is read whole
    assert documents.kept(table) == BitMap(range(table.rows - 3, table.rows))
    documents.ensure(table, range(table.rows))
    rows = {f"{row['file']}/{row['page']}": row for row in rows_of(table)}
    assert rows["talk.pptx/2"]["text"] == "Second"
    assert [rows[f"fax.tiff/{n}"]["images"][0]["height"] for n in (1, 2)] == [30, 40]
    assert rows["scan.pdf/2"]["text"] is None and len(rows["scan.pdf/2"]["images"]) == 1


def test_records_are_rows_whatever_holds_them(tmp_path: Path, documents: Documents) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    (place / "a.eml").write_bytes(mail("One", "first"))
    (place / "b.csv").write_text("name,age\nAnn,3\nBob,4\n")
    (place / "c.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    (place / "d.txt").write_text("".join(f"line {n}\n" for n in range(2500)))
    (place / "e.csv").write_text('name\n"broken\n')
    table = listed(place, tmp_path, "records")
    assert table.rows == 1 + 2 + 2 + 2500 + 1
    documents.ensure(table, [2400, 4, table.rows - 1])
    assert documents.kept(table) == BitMap([3, 4, *range(2005, 2505), table.rows - 1])
    documents.ensure(table, range(table.rows))
    rows = rows_of(table)
    assert [row["text"] for row in rows[1:5]] == [
        '{"name":"Ann","age":"3"}', '{"name":"Bob","age":"4"}', '{"a": 1}', '{"a": 2}'
    ]  # fmt: skip
    assert [row["text"] for row in rows[5:2505]] == [f"line {n}" for n in range(2500)]
    assert "is no CSV" in rows[-1]["_unreadable"]


def test_a_split_that_nothing_has_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(BadInput, match="its rows are rows"):
        listed(tmp_path / "t.csv", tmp_path, "records")
    with pytest.raises(BadInput, match="nothing here can be split into records"):
        listed(folder / "invoice.pdf", tmp_path, "records")
    with pytest.raises(BadInput, match="nothing here can be split into pages"):
        listed(folder / "receipt.txt", tmp_path, "pages")
    (folder / "t.csv").write_text("a\n1\n")
    with pytest.raises(BadInput, match="tables are among the documents"):
        listed(folder, tmp_path)


def test_a_missing_reader_names_the_extra_before_anything_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apwa.documents.endings.find_spec", lambda name: None)  # pyright: ignore
    with pytest.raises(Misuse, match="docx, html, jpeg, pdf") as caught:
        listed(folder, tmp_path)
    assert "apwa[docs]" in caught.value.todo


def test_a_card_reads_a_few_files_and_a_pilot_chooses_without_reading(
    tmp_path: Path, documents: Documents
) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    for number in range(300):
        (place / f"{number:03d}.html").write_text(
            f"<p>number {number}</p>" + " " * 50 * (number == 77)
        )
    table = listed(place, tmp_path)
    picked = pilot_ordinals(table, 10, 0)
    assert len(picked) == 10 and 77 in picked
    assert not documents.kept(table)
    documents.ensure(table, looked_at(table))
    assert 0 < len(documents.kept(table)) <= 40
    text = card(table).text()
    assert "sampled" in text and "number" in text


def test_pictures_are_made_as_small_as_models_take_them(
    tmp_path: Path, documents: Documents
) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    Image.new("RGB", (4000, 1000), "navy").save(place / "a.png")
    Image.new("RGBA", (90, 60), (0, 0, 0, 0)).save(place / "b.webp")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (90, 60), "red").save(place / "c.jpg", exif=turned)
    Image.new("P", (40, 20)).save(place / "d.gif")
    Image.new("I;16", (40, 20)).save(place / "e.tif")
    table = listed(place, tmp_path)
    documents.ensure(table, range(table.rows))
    refs = [row["images"][0] for row in rows_of(table)]
    assert [(r["type"], r["width"], r["height"]) for r in refs] == [
        ("image/jpeg", 1568, 392),
        ("image/webp", 90, 60),
        ("image/jpeg", 60, 90),
        ("image/jpeg", 40, 20),
        ("image/jpeg", 40, 20),
    ]
    assert documents.image(refs[1]["hash"]) == (place / "b.webp").read_bytes()


def test_two_who_want_the_same_rows_read_them_once(
    folder: Path, tmp_path: Path, documents: Documents
) -> None:
    table = listed(folder, tmp_path)
    one = documents.as_ready(table, BitMap(range(7)))
    two = documents.as_ready(table, BitMap(range(7)))
    first = [next(one), next(two)]
    found = [sorted([*head, *(n for some in rest for n in some)])
             for head, rest in zip(first, (one, two), strict=True)]  # fmt: skip
    assert found == [list(range(7))] * 2


def test_closing_ends_who_waits(folder: Path, tmp_path: Path) -> None:
    table = listed(folder, tmp_path)
    documents = Documents(tmp_path / "run" / "content.db")
    waiting = documents.as_ready(table, BitMap(range(7)))
    next(waiting)
    documents.close()
    with pytest.raises(Paused, match="stopped"):
        list(waiting)
        documents.ensure(table, range(7))


def test_what_nobody_has_kept_is_null_to_whoever_looks(tmp_path: Path) -> None:
    kept = KeptContent(tmp_path / "absent.db")
    assert [part.text for part in kept.parts("docs", [0, 2])] == [None, None]
    assert not kept.have("docs", 0, 9)
    kept.close()


_FULL = """
import resource, signal, sys
from pathlib import Path
from apwa.tables import Documents, read_table
from apwa.vocabulary import Paused
folder, into = map(Path, sys.argv[1:])
table = read_table("docs", folder, into / "docs")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
documents = Documents(into / "content.db")
try:
    documents.ensure(table, range(table.rows))
except Paused as full:
    print("paused:", full.what)
finally:
    documents.close()
"""


def test_a_full_disk_pauses_the_run_and_the_rest_is_read_later(tmp_path: Path) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    for number in range(40):
        (place / f"{number:02d}.html").write_text(f"<p>{number} " + "word " * 10_000)
    ended = subprocess.run(
        [sys.executable, "-c", _FULL, str(place), str(tmp_path / "run")],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ended.stdout.startswith("paused: what files hold cannot be kept"), ended.stderr
    table = listed(place, tmp_path)
    documents = Documents(tmp_path / "run" / "content.db")
    kept = len(documents.kept(table))
    documents.ensure(table, range(40))
    documents.close()
    assert kept < 40
    rows = rows_of(table)
    assert [row["text"].split()[0] for row in rows] == [str(n) for n in range(40)]
