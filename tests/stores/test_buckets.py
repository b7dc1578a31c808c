"""Inputs in object stores, against an S3 server over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apwa.stores import Progress, buckets, fetch, remote_stamp
from apwa.stores.globs import compiled
from apwa.tables import read_table
from apwa.vocabulary import BadInput
from tests.stores.servers import S3Server


async def fetched(address: str, into: Path, said: list[Progress] | None = None) -> Any:
    return await fetch(address, into, (said if said is not None else []).append)


async def refused(address: str, into: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        await fetched(address, into)
    return caught.value


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


async def test_one_object_is_read_like_a_file(s3: S3Server, tmp_path: Path) -> None:
    s3.put(**{"data/orders.csv": b"id,item\n1,a\n2,b\n"})
    said: list[Progress] = []
    found = await fetched("s3://bucket/data/orders.csv", tmp_path / "f", said)
    table = read_table("t", found.source, tmp_path / "t")
    assert (table.rows, table.schema.names) == (2, ["id", "item"])
    assert said[-1] == Progress(1, 1, 16, 16)
    assert found.there == "s3://bucket/data"


async def test_a_packed_object_comes_as_it_lies_there(s3: S3Server, tmp_path: Path) -> None:
    packed = gzip.compress(b"id\n1\n")
    s3.put(**{"a.csv.gz": packed})
    found = await fetched("s3://bucket/a.csv.gz", tmp_path / "f")
    assert Path(found.source).read_bytes() == packed
    assert read_table("t", found.source, tmp_path / "t").rows == 1


async def test_a_table_of_a_database_in_a_store(s3: S3Server, tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "shop.sqlite") as database:
        database.execute("create table a (x)")
        database.execute("create table b (y)")
        database.execute("insert into b values (5)")
    database.close()
    s3.put(**{"shop.sqlite": (tmp_path / "shop.sqlite").read_bytes()})
    found = await fetched("s3://bucket/shop.sqlite#b", tmp_path / "f")
    assert read_table("t", found.source, tmp_path / "t").schema.names == ["y"]


async def test_a_folder_brings_what_tables_are_made_of(s3: S3Server, tmp_path: Path) -> None:
    s3.put(
        **{"d/a.txt": b"A", "d/sub/b.md": b"B", "d/c.bin": b"C", "d/.h.txt": b"H", "e.txt": b"E"}
    )
    found = await fetched("s3://bucket/d/", tmp_path / "f")
    assert names(tmp_path / "f") == ["a.txt", "sub/b.md"]
    assert found.left_out == 1  # hidden files are not told of, as in folders here
    table = read_table("t", found.source, tmp_path / "t")
    assert [b.to_pylist()[0]["file"] for _, b in table.batches(max_bytes=1)] == [
        "a.txt",
        "sub/b.md",
    ]
    again = await fetched("s3://bucket/d", tmp_path / "g")
    assert (names(tmp_path / "g"), again.stamp) == (["a.txt", "sub/b.md"], found.stamp)


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("d/**/*.txt", ["a.txt", "deep/er/c.txt", "sub/b.txt"]),
        ("d/*.txt", ["a.txt"]),
        ("d/*/?.txt", ["sub/b.txt"]),
        ("d/[!b-z].txt", ["a.txt"]),
        ("*/sub/*", ["d/sub/b.txt", "d/sub/x.md"]),
    ],
)
async def test_globs_mean_what_they_mean_for_files(
    s3: S3Server, tmp_path: Path, glob: str, expected: list[str]
) -> None:
    s3.put(**dict.fromkeys(("d/a.txt", "d/sub/b.txt", "d/sub/x.md", "d/deep/er/c.txt"), b"x"))
    await fetched(f"s3://bucket/{glob}", tmp_path / "f")
    assert names(tmp_path / "f") == expected


async def test_what_is_wrong_is_one_clear_error_each(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(**{"a.csv": b"x", "d/b.bin": b"x"})
    error = await refused("s3://bucket/none.csv", tmp_path)
    assert (error.what, error.where) == (
        "there is no such object or folder", "s3://bucket/none.csv",
    )  # fmt: skip
    assert (await refused("s3://nowhere/a.csv", tmp_path)).what == "there is no bucket 'nowhere'"
    assert "no files here" in (await refused("s3://bucket/*.json", tmp_path)).what
    error = await refused("s3://bucket/d/", tmp_path)
    assert (error.what, error.todo) == (
        "there are no files here that a table is made of", "1 others are.",
    )  # fmt: skip
    assert "names no bucket" in (await refused("s3:///a.csv", tmp_path)).what
    assert "ftp:// is no address" in (await refused("ftp://host/a.csv", tmp_path)).what
    assert "no storage account" in (await refused("az://bucket/a.csv", tmp_path)).what
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(buckets, "_TRIES", 1)
    error = await refused("s3://bucket/a.csv", tmp_path)
    assert error.what.startswith("the store cannot be reached: ")
    assert s3.env["AWS_SECRET_ACCESS_KEY"] not in str(error)


async def test_without_the_right_to_read_the_error_names_the_keys(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto import settings

    s3.put(**{"a.csv": b"x"})
    # the server checks keys from now on, and this one is nobody's
    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
    error = await refused("s3://bucket/a.csv", tmp_path)
    assert error.what == "the store gives no right to read this"
    assert "AWS_ACCESS_KEY_ID" in error.todo
    assert s3.env["AWS_ACCESS_KEY_ID"] not in str(error)


async def test_what_is_here_already_is_not_fetched_again_and_what_was_begun_goes_on(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(5 << 20)
    s3.put(**{"d/a.txt": b"A" * 1000, "d/b.txt": content})
    into = tmp_path / "f"
    reads: list[tuple[str, int]] = []
    real = buckets._Copy._copy

    def broken(self: Any, file: Any, have: int) -> None:
        reads.append((self._object.name, have))
        if self._object.name == "b.txt" and have < 3 << 20:
            with self._store.open_input_file(self._object.path) as source:
                source.seek(have)
                file.write(source.read(1 << 20))
            raise buckets.Broken("the line is dead")
        real(self, file, have)

    monkeypatch.setattr(buckets._Copy, "_copy", broken)
    found = await fetched("s3://bucket/d/", into)
    assert (into / "b.txt").read_bytes() == content
    assert [have for name, have in reads if name == "b.txt"] == [0, 1 << 20, 2 << 20, 3 << 20]
    reads.clear()
    again = await fetched("s3://bucket/d/", into)
    assert reads == [] and again.stamp == found.stamp
    # half of a file that a killed run has left, and of another state of it
    about = (into / "b.txt").stat()
    (into / "b.txt").unlink()
    each = buckets.Object("b.txt", "bucket/d/b.txt", about.st_size, about.st_mtime_ns)
    buckets._begun(into / "b.txt", each).write_bytes(content[: 4 << 20])
    await fetched("s3://bucket/d/", into)
    assert reads == [("b.txt", 4 << 20)]
    assert (into / "b.txt").read_bytes() == content


async def test_a_transfer_that_never_gets_further_is_given_up(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apwa.stores import progress

    s3.put(**{"a.csv": b"x"})
    tries: list[int] = []

    def dead(self: Any, file: Any, have: int) -> None:
        tries.append(have)
        raise buckets.Broken("the line is dead")

    monkeypatch.setattr(buckets._Copy, "_copy", dead)
    monkeypatch.setattr(progress, "_WAITS_S", (0.0, 0.0))
    error = await refused("s3://bucket/a.csv", tmp_path)
    assert error.what == "the transfer breaks again and again: the line is dead"
    assert len(tries) == 3


async def test_a_change_in_the_store_shows_in_the_stamp(s3: S3Server, tmp_path: Path) -> None:
    s3.put(**{"d/a.txt": b"A"})
    found = await fetched("s3://bucket/d/", tmp_path / "f")
    assert await remote_stamp("s3://bucket/d/") == found.stamp
    s3.put(**{"d/b.txt": b"B"})
    assert await remote_stamp("s3://bucket/d/") not in (found.stamp, None)


async def test_a_name_that_leads_out_of_the_folder_is_refused(s3: S3Server, tmp_path: Path) -> None:
    each = type("About", (), {"path": "bucket/d/../../x.txt", "size": 1, "mtime_ns": 1})
    with pytest.raises(BadInput, match="none that a file can have"):
        buckets._object(each, "bucket/d")


async def test_cancelling_ends_the_transfer(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(**{"a.csv": b"x" * 100})
    at_work, ended = threading.Event(), threading.Event()

    def endless(self: Any, file: Any, have: int) -> None:
        at_work.set()
        self._stopping.wait(60)
        ended.set()

    monkeypatch.setattr(buckets._Copy, "_copy", endless)
    task = asyncio.create_task(fetched("s3://bucket/a.csv", tmp_path / "f"))
    assert await asyncio.to_thread(at_work.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 30)


_NAME = st.text("ab.[]!-*?", min_size=1, max_size=6)


@given(st.lists(_NAME, min_size=1, max_size=3), st.lists(st.text("ab.", min_size=1), min_size=1))
def test_a_glob_within_one_folder_is_that_of_fnmatch(pattern: list[str], name: list[str]) -> None:
    import fnmatch

    if "**" in pattern or len(pattern) != len(name):
        return
    expected = all(fnmatch.fnmatchcase(n, p) for n, p in zip(name, pattern, strict=True))
    assert bool(compiled("/".join(pattern)).fullmatch("/".join(name))) == expected
