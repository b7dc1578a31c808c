"""Inputs at web addresses, against a server on loopback that also breaks off, lies and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apwa.stores import Progress, fetch, progress, remote_stamp, shown, web
from apwa.tables import read_table
from apwa.vocabulary import BadInput
from tests.stores.servers import WebServer

SECRET = "X-Amz-Signature=deadbeefcafe"


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_WAITS_S", (0.0, 0.0, 0.0))


async def fetched(address: str, into: Path, said: list[Progress] | None = None) -> Any:
    return await fetch(address, into, (said if said is not None else []).append)


async def refused(address: str, into: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        await fetched(address, into)
    assert "deadbeef" not in str(caught.value) + repr(caught.value.__cause__)
    return caught.value


async def test_a_file_comes_and_its_query_stays_hidden(server: WebServer, tmp_path: Path) -> None:
    server.content = b"id,item\n1,a\n"
    said: list[Progress] = []
    found = await fetched(f"{server.url}/data/orders%20x.csv?{SECRET}", tmp_path / "f", said)
    assert server.seen == [(f"/data/orders%20x.csv?{SECRET}", "")]
    assert found.there == f"{server.url}/data/orders%20x.csv?…"
    assert Path(found.source).name == "orders x.csv"
    assert read_table("t", found.source, tmp_path / "t").rows == 1
    assert said[-1] == Progress(1, 1, 12, 12)


async def test_a_sheet_of_a_spreadsheet(server: WebServer, tmp_path: Path) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(tmp_path / "b.xlsx")) as book:
        for name in ("One", "Two words"):
            book.add_worksheet(name).write_column(0, 0, [name, 1])
    server.content = (tmp_path / "b.xlsx").read_bytes()
    found = await fetched(f"{server.url}/b.xlsx?{SECRET}#Two words", tmp_path / "f")
    assert read_table("t", found.source, tmp_path / "t").schema.names == ["Two words"]


async def test_a_transfer_that_breaks_off_goes_on_where_it_was(
    server: WebServer, tmp_path: Path
) -> None:
    server.content = bytes(range(256)) * 4000
    server.break_after = 300_000
    found = await fetched(f"{server.url}/a.parquet", tmp_path / "f")
    assert Path(found.source).read_bytes() == server.content
    ranges = [asked for _, asked in server.seen]
    assert ranges[0] == "" and len(ranges) >= 4
    places = [int(asked[6:-1]) for asked in ranges[1:]]
    assert places == sorted(set(places)) and 0 < places[0] <= 300_000


async def test_a_file_that_changes_between_two_tries_is_fetched_anew(
    server: WebServer, tmp_path: Path
) -> None:
    server.content = b"A" * 400_000
    server.break_after = 300_000
    real = WebServer._give

    async def give(self: WebServer, request: Any) -> Any:
        if self.seen:
            self.content, self.break_after = b"B" * 400_000, None
        return await real(self, request)

    WebServer._give = give
    try:
        server2 = WebServer()
        server2.content, server2.break_after = b"A" * 400_000, 300_000
        server2.start()
        found = await fetched(f"{server2.url}/a.csv", tmp_path / "f")
        server2.stop()
    finally:
        WebServer._give = real
    assert Path(found.source).read_bytes() == b"B" * 400_000


async def test_what_passes_is_tried_again_and_what_stays_is_named(
    server: WebServer, tmp_path: Path
) -> None:
    server.content = b"a\n1\n"
    server.statuses = [503, 429]
    await fetched(f"{server.url}/a.csv", tmp_path / "f")
    assert len(server.seen) == 3
    for status, words in (
        (404, "there is no such file (404)"),
        (403, "the server gives no right to read this (403)"),
        (400, "the server answers 400"),
    ):
        server.statuses = [status]
        error = await refused(f"{server.url}/a.csv?{SECRET}", tmp_path / "f")
        assert (error.what, error.where) == (words, f"{server.url}/a.csv?…")
    server.statuses = [503] * 9
    error = await refused(f"{server.url}/a.csv?{SECRET}", tmp_path / "f")
    assert error.what == "the transfer breaks again and again: the server answers 503"
    server.statuses = []
    error = await refused(f"http://127.0.0.1:1/a.csv?{SECRET}", tmp_path / "f")
    assert "no connection" in error.what


async def test_the_name_is_found_elsewhere_where_the_address_has_none(
    server: WebServer, tmp_path: Path
) -> None:
    server.content = b"a\n1\n"
    server.headers = {"content-disposition": 'attachment; filename="../../report 1.csv"'}
    found = await fetched(f"{server.url}/download?id=5", tmp_path / "f")
    assert found.source == str(tmp_path / "f" / "report 1.csv")
    server.headers = {"content-type": "text/csv; charset=utf-8"}
    found = await fetched(f"{server.url}/export", tmp_path / "f")
    assert Path(found.source).name == "export.csv"
    server.headers = {"content-type": "application/octet-stream"}
    assert "says what the file is" in (await refused(f"{server.url}/export", tmp_path / "f")).what
    server.headers = {"content-type": "text/html"}  # a page to log in at, most often
    error = await refused(f"{server.url}/orders.csv", tmp_path / "f")
    assert error.what == "the server sends a web page, and no file of rows"


async def test_redirects_are_followed_to_a_bound(server: WebServer, tmp_path: Path) -> None:
    server.content = b"a\n1\n"
    server.redirect_to = lambda path: "" if path == "/b.csv" else f"/b.csv?{SECRET}"
    found = await fetched(f"{server.url}/a.csv", tmp_path / "f")
    assert Path(found.source).read_bytes() == b"a\n1\n"
    server.redirect_to = lambda path: f"{path}?{SECRET}"
    error = await refused(f"{server.url}/a.csv", tmp_path / "f")
    assert error.what == "more than 10 redirects follow each other"


async def test_a_file_past_the_bound_is_refused(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_MOST_BYTES", 1000)
    server.content = b"x" * 1001
    error = await refused(f"{server.url}/a.csv", tmp_path / "f")
    assert error.what == "the file is larger than 1,000 bytes"


async def test_a_change_shows_in_the_stamp_and_what_was_hidden_cannot_be_asked_again(
    server: WebServer, tmp_path: Path
) -> None:
    server.content = b"a\n1\n"
    found = await fetched(f"{server.url}/a.csv", tmp_path / "f")
    assert await remote_stamp(f"{server.url}/a.csv") == found.stamp
    server.content = b"a\n2\n"
    assert await remote_stamp(f"{server.url}/a.csv") not in (found.stamp, None)
    kept = shown(f"{server.url}/a.csv?{SECRET}")
    seen = len(server.seen)
    assert await remote_stamp(kept) is None
    assert "not kept with a run" in (await refused(kept, tmp_path / "f")).what
    assert len(server.seen) == seen
    assert await remote_stamp("http://127.0.0.1:1/a.csv") is None


@pytest.mark.parametrize(
    ("address", "as_shown"),
    [
        ("https://h/a.csv", "https://h/a.csv"),
        ("https://h/a.csv?k=v#S?x", "https://h/a.csv?…#S?x"),
        ("https://me:pass@h:8/a.xlsx#S", "https://…@h:8/a.xlsx#S"),
        ("HTTPS://h?k=v", "HTTPS://h?…"),
        ("s3://b/what?.txt", "s3://b/what?.txt"),
        ("data/what?.txt", "data/what?.txt"),
    ],
)
def test_how_an_address_is_shown(address: str, as_shown: str) -> None:
    assert shown(address) == as_shown
