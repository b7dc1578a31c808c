"""SQLite and DuckDB files as tables: nothing is lost, altered, or left behind beside them."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apwa.tables import Stop, Table, read_table
from apwa.tables.foreign import foreign_table
from apwa.vocabulary import BadInput


def rows(table: Table) -> list[dict[str, Any]]:
    return [row for _, batch in table.batches() for row in batch.to_pylist()]


def read(source: str | Path, tmp_path: Path, **more: Any) -> Table:
    return read_table("t", source, tmp_path / "inputs" / "t", **more)


@contextmanager
def sqlite_at(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as database:
        yield database
        database.commit()


# ---- SQLite


def test_a_table_comes_whole_with_its_types(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with sqlite_at(path) as database:
        database.execute(
            "create table orders (id integer primary key, item text, price real, file blob,"
            " paid boolean, note varchar(9), none_yet int, big integer)"
        )
        database.execute("insert into orders values (7, '007', 2.5, x'00ff', 1, null, null, ?)",
                         [2**63 - 1])  # fmt: skip
        database.execute("insert into orders values (3, 'é\n', 2, null, 0, '', null, 1)")
    table = read(path, tmp_path)
    assert table.source == str(path)
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == {
        "id": pa.int64(), "item": pa.string(), "price": pa.float64(), "file": pa.binary(),
        "paid": pa.int64(), "note": pa.string(), "none_yet": pa.int64(), "big": pa.int64(),
    }  # fmt: skip
    assert rows(table) == [
        {"id": 3, "item": "é\n", "price": 2.0, "file": None, "paid": 0, "note": "",
         "none_yet": None, "big": 1},
        {"id": 7, "item": "007", "price": 2.5, "file": b"\x00\xff", "paid": 1, "note": None,
         "none_yet": None, "big": 2**63 - 1},
    ]  # fmt: skip


def test_a_column_of_several_kinds_is_text_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "mixed.db"
    with sqlite_at(path) as database:
        database.execute("create table t (a, b)")
        database.executemany(
            "insert into t values (?, ?)", [(1, 2**60), ("01", 0.5), (2.5, None), (None, 1)]
        )
    table = read(path, tmp_path)
    assert [row["a"] for row in rows(table)] == ["1", "01", "2.5", None]
    # 2 to the 60th and one half fit into no one number type
    assert [row["b"] for row in rows(table)] == ["1152921504606846976", "0.5", None, "1"]


def test_a_blob_among_other_values_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "mixed.db"
    with sqlite_at(path) as database:
        database.execute("create table t (a)")
        database.executemany("insert into t values (?)", [("x",), (1,), (b"\x00",)])
    with pytest.raises(BadInput, match="column 'a' holds a blob") as caught:
        read(path, tmp_path)
    assert caught.value.where == f"{path}, table t, row 3"
    assert not (tmp_path / "inputs" / "t").exists()


def test_text_that_is_no_text_is_named_with_its_row_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "bytes.db"
    with sqlite_at(path) as database:
        database.execute("create table t (a text)")
        database.execute("insert into t values ('fine')")
        database.execute("insert into t values (cast(x'73656372ff' as text))")
    with pytest.raises(BadInput, match="no UTF-8") as caught:
        read(path, tmp_path)
    assert caught.value.where == f"{path}, table t, row 2"
    assert "secr" not in str(caught.value)


def test_several_tables_are_listed_with_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with sqlite_at(path) as database:
        database.execute("create table orders (a)")
        database.execute('create table "odd #1.table" (a)')
        database.execute("create view late as select a + 1 as b from orders")
        database.execute("create virtual table words using fts5(w)")
        database.executemany("insert into orders values (?)", [(n,) for n in range(1234)])
    with pytest.raises(BadInput, match="the file has 3 tables") as caught:
        read(path, tmp_path)
    assert "shop.sqlite#" in caught.value.todo
    assert "'orders' (1,234 rows)" in caught.value.todo
    assert "'late' (view)" in caught.value.todo
    assert "words_content" not in caught.value.todo  # the index's own
    with pytest.raises(BadInput, match="no table 'nope'"):
        read(f"{path}#nope", tmp_path)
    assert read(f"{path}#orders", tmp_path).rows == 1234
    assert read(f"{path}#Orders", tmp_path).rows == 1234  # as in SQL
    assert rows(read(f"{path}#late", tmp_path))[0] == {"b": 1}
    assert read(f"{path}#odd #1.table", tmp_path).rows == 0


def test_a_file_whose_name_has_the_mark_in_it_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.db#b"
    path.write_text("x")
    with pytest.raises(BadInput, match="no ending of a source"):
        read(path, tmp_path)


def test_a_file_that_a_writer_has_open_is_read_up_to_its_last_commit(tmp_path: Path) -> None:
    path = tmp_path / "live.sqlite"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("pragma journal_mode = wal")
        writer.execute("create table t (a)")
        writer.execute("insert into t values (1)")
        writer.commit()
        writer.execute("insert into t values (2)")  # not committed
        assert rows(read(path, tmp_path)) == [{"a": 1}]
        writer.commit()
        assert read(path, tmp_path).rows == 2


def test_a_file_at_rest_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "rest.sqlite"
    with sqlite_at(path) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table t (a)")
        database.execute("insert into t values (1)")
    before = path.read_bytes()
    assert [p.name for p in folder.iterdir()] == ["rest.sqlite"]
    assert read(path, tmp_path).rows == 1
    assert [p.name for p in folder.iterdir()] == ["rest.sqlite"]
    assert path.read_bytes() == before


def test_a_locked_file_a_damaged_one_and_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "locked.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("create table t (a)")
        writer.execute("begin exclusive")
        with pytest.raises(BadInput, match="another program is writing"):
            read(path, tmp_path)
        writer.execute("rollback")
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096)
    with pytest.raises(BadInput, match=r"damaged|malformed|cannot be read"):
        read(damaged, tmp_path)
    other = tmp_path / "other.sqlite"
    other.write_text("id,name\n1,a\n")
    with pytest.raises(BadInput, match="no SQLite file"):
        read(other, tmp_path)
    other.write_bytes(b"")
    with pytest.raises(BadInput, match="the file is empty"):
        read(other, tmp_path)
    with sqlite_at(tmp_path / "none.sqlite") as database:
        database.execute("pragma user_version = 1")
    with pytest.raises(BadInput, match="no table in the file"):
        read(tmp_path / "none.sqlite", tmp_path)


def test_keys_and_sensitive_columns_are_as_of_any_source(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"
    with sqlite_at(path) as database:
        database.execute("create table t (id text, secret text)")
        database.executemany("insert into t values (?, ?)", [("a", "x"), ("a", "y")])
    with pytest.raises(BadInput, match="names two rows: 1 and 2"):
        read(path, tmp_path, key=["id"])
    assert not (tmp_path / "inputs" / "t").exists()
    assert read(path, tmp_path, sensitive=["secret"]).sensitive == {"secret"}


_CELLS = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),  # SQLite stores none
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
_TYPED = [
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.none(), st.floats(allow_nan=False)),
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    st.one_of(st.none(), st.binary(max_size=20)),
]


@settings(max_examples=5)
@given(st.lists(st.tuples(*_TYPED, _CELLS), min_size=20, max_size=200))
def test_values_come_through_unaltered(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("values")
    path = folder / "v.sqlite"
    with sqlite_at(path) as database:
        database.execute("create table v (i, f, s, b, any)")
        database.executemany("insert into v values (?, ?, ?, ?, ?)", values)
    found = [tuple(row.values()) for row in rows(read(path, folder))]
    assert [row[:4] for row in found] == [row[:4] for row in values]
    for (*_, got), (*_, given_value) in zip(found, values, strict=True):
        if isinstance(got, str) and not isinstance(given_value, str):
            # several kinds, so it is text, and says the same
            finite = isinstance(given_value, int) or math.isfinite(given_value)
            assert type(given_value)(got) == given_value or not finite
        else:
            assert got == given_value


# ---- DuckDB


def test_a_duckdb_table_comes_whole(tmp_path: Path) -> None:
    path = tmp_path / "d.duckdb"
    with duckdb.connect(str(path)) as database:
        database.execute(
            "create table t as select 7 as i, 170141183460469231731687303715884105727::hugeint"
            " as huge, 5::hugeint as small, 'b'::enum('a', 'b') as e, interval 90 minute as span,"
            " '101'::bit as bits, 'x\\x00'::blob as bytes, '10:00:00+02'::timetz as tz,"
            " timestamp_ns '2020-01-01 00:00:00.000000001' as ns, [1, null] as l,"
            " {'a': 'x'} as s, 12.50::decimal(9, 2) as money, date '2024-02-29' as day,"
            " union_value(k := 1) as u, null as nothing,"
            " uuid '0b5f1a0e-0000-4000-8000-000000000001'"
            " as id"
        )
    table = read(path, tmp_path)
    batch = next(iter(table.batches()))[1]
    assert batch.schema.field("ns").type == pa.timestamp("ns")
    assert batch.column("ns").cast(pa.int64()).to_pylist() == [1577836800000000001]
    row = batch.drop_columns(["ns"]).to_pylist()[0]
    assert row.pop("money").as_tuple().digits == (1, 2, 5, 0)
    assert row.pop("day").isoformat() == "2024-02-29"
    assert row == {
        "i": 7, "huge": "170141183460469231731687303715884105727", "small": 5, "e": "b",
        "span": "01:30:00", "bits": "101", "bytes": b"x\x00", "tz": "10:00:00+02",
        "l": [1, None], "s": {"a": "x"}, "u": "1", "nothing": None,
        "id": "0b5f1a0e-0000-4000-8000-000000000001",
    }  # fmt: skip


def test_duckdb_tables_of_schemas_and_views(tmp_path: Path) -> None:
    path = tmp_path / "d.db"  # told from SQLite by what is in it
    with duckdb.connect(str(path)) as database:
        database.execute("create table t as select range as a from range(3)")
        database.execute("create schema other; create table other.t as select 1 as b")
        database.execute("create view v as select a * 2 as c from t")
        secret = tmp_path / "secret.csv"
        secret.write_text("a\n1\n")
        database.execute(f"create view leak as select * from read_csv('{secret}')")
    with pytest.raises(BadInput, match="the file has 2 tables") as caught:
        read(path, tmp_path)
    assert "'t' (3 rows), 'other.t' (1 row)" in caught.value.todo
    assert rows(read(f"{path}#t", tmp_path)) == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert rows(read(f"{path}#other.t", tmp_path)) == [{"b": 1}]
    assert rows(read(f"{path}#v", tmp_path))[2] == {"c": 4}
    with pytest.raises(BadInput, match="view reads something else"):
        read(f"{path}#leak", tmp_path)


def test_a_duckdb_file_that_is_held_cut_off_or_none(tmp_path: Path) -> None:
    path = tmp_path / "d.duckdb"
    writer = subprocess.Popen(
        [sys.executable, "-c",
         f"import duckdb; d = duckdb.connect({str(path)!r}); d.execute('create table t as select 1"
         " as a'); print('ready', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert writer.stdout is not None and writer.stdin is not None
    assert writer.stdout.readline() == b"ready\n"
    try:
        with pytest.raises(BadInput, match="another program has the file open for writing"):
            read(path, tmp_path)
    finally:
        writer.communicate(b"\n")
    assert read(path, tmp_path).rows == 1
    cut = tmp_path / "cut.duckdb"
    cut.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(BadInput, match="cannot be read"):
        read(cut, tmp_path)
    none = tmp_path / "none.duckdb"
    none.write_bytes(b"x" * 9000)
    with pytest.raises(BadInput, match="this is no DuckDB file"):
        read(none, tmp_path)


# ---- stopping, and bounds


def test_a_reading_that_never_ends_is_stopped_at_once(tmp_path: Path) -> None:
    path = tmp_path / "endless.sqlite"
    with sqlite_at(path) as database:
        database.execute(
            "create view v as with recursive n(i) as (select 1 union all select i + 1 from n)"
            " select i from n"
        )
    stop = Stop()
    threading.Timer(3, stop.set).start()
    with pytest.raises(BadInput, match="by signal 9"):
        read(f"{path}#v", tmp_path, stop=stop)
    assert list((tmp_path / "inputs").glob("*")) == []


def test_a_reading_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    path = tmp_path / "silent.sqlite"
    with sqlite_at(path) as database:  # it never writes a row, so no closed pipe would tell it
        database.execute(
            "create view v as with recursive n(i) as (select 1 union all select i + 1 from n)"
            " select count(*) from n"
        )
    code = f"from apwa.tables import *; from pathlib import Path; read_table('v', {f'{path}#v'!r}, "
    parent = subprocess.Popen([sys.executable, "-c", f"{code} Path({str(tmp_path)!r}) / 'in')"])
    try:
        _until(lambda: len(_readers_of(path)) == 1)
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: not _readers_of(path))


def _readers_of(path: Path) -> list[int]:
    found: list[int] = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = line.read_bytes().split(b"\0")
            if b"apwa.tables.foreign.child" in words and str(path).encode() in words:
                found.append(int(line.parent.name))
    return found


def _until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """A table several times larger than what its child may take."""
    path = tmp_path / "large.sqlite"
    with sqlite_at(path) as database:
        database.execute("create table t (id integer primary key, text text)")
        database.executemany(
            "insert into t (text) values (?)", (("x" * 50_000,) for _ in range(8000))
        )
    table = foreign_table("t", "sqlite", path, "", tmp_path / "t", memory_bytes=200 << 20)
    assert table.rows == 8000
