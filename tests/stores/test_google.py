"""Inputs in Google Cloud Storage, against an emulator over HTTP."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from apwa.stores import fetch, remote_stamp
from apwa.vocabulary import BadInput


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    url = f"http://127.0.0.1:{server._api._httpd.server_port}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    for key in ("d/a.txt", "d/sub/b.txt", "one.csv"):
        request = urllib.request.Request(
            f"{url}/upload/storage/v1/b/bucket/o?uploadType=media&name={quote(key, safe='')}",
            data=b"id\n1\n", method="POST", headers={"content-type": "text/plain"},
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=30).close()
    yield url
    server.stop()


async def test_objects_and_folders_come_and_what_is_not_there_is_named(
    store: str, tmp_path: Path
) -> None:
    found = await fetch("gs://bucket/one.csv", tmp_path / "one", lambda _: None)
    assert Path(found.source).read_bytes() == b"id\n1\n"
    found = await fetch("gs://bucket/d/", tmp_path / "d", lambda _: None)
    names = sorted(p.name for p in (tmp_path / "d").rglob("*.txt"))
    assert names == ["a.txt", "b.txt"]
    assert await remote_stamp("gs://bucket/d/") == found.stamp
    with pytest.raises(BadInput, match="no such object or folder"):
        await fetch("gs://bucket/none.csv", tmp_path / "x", lambda _: None)
    with pytest.raises(BadInput, match="no bucket 'nowhere'"):
        await fetch("gs://nowhere/one.csv", tmp_path / "x", lambda _: None)
