"""The search for the canary finds it where it is hidden best."""

from __future__ import annotations

import os
import sqlite3
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.canary import CANARY, find, find_in_database
from tests.postgres import Server


def test_it_is_in_every_tests_environment() -> None:
    assert os.environ["APWA_API_KEY"] == CANARY


def test_it_is_found_in_files_and_in_packed_values(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    log = tmp_path / "a" / "b" / "log.txt"
    log.write_text(f"authorization: Bearer {CANARY}\n")
    (tmp_path / "harmless.txt").write_text("sk-canary")
    path = tmp_path / "run.db"
    with sqlite3.connect(path) as database:
        database.execute("create table results (id integer, transcript blob)")
        database.execute(
            "insert into results values (1, ?)", (zlib.compress(b"x" + CANARY.encode()),)
        )
    database.close()
    table = tmp_path / "table.parquet"  # in the middle: the least and the most stand open
    words = [f"{n % 7}: the {n} of {n * n} said {CANARY if n == 300 else n}" for n in range(700)]
    pq.write_table(pa.table({"said": words}), table, compression="zstd")
    assert CANARY.encode() not in table.read_bytes()
    assert find(tmp_path) == [str(log), f"{path}: results", f"{table}: said"]
    log.unlink()
    path.unlink()  # else the search after all tests finds it too
    table.unlink()


def test_it_is_found_in_a_database_of_a_team(postgres: Server) -> None:
    import psycopg

    with psycopg.connect(postgres.url, autocommit=True) as database:
        database.execute("create schema told; create table told.words (id int, said bytea)")
        database.execute("insert into told.words values (1, %s)", (zlib.compress(CANARY.encode()),))
        try:
            assert find_in_database(postgres.url) == ["told.words"]
        finally:
            database.execute("drop schema told cascade")
