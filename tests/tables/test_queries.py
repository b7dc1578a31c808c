"""Promises of queries: locked, checked before they run, the same bytes each time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa
import pytest
import pytest_asyncio

from apwa.tables import CONTENT, SqlProblem, SqlProcess, Table, read_table, write_table

SCHEMAS = {
    "t": pa.schema([("id", pa.int64()), ("text", pa.string()), ("tags", pa.list_(pa.string()))]),
    "u": pa.schema([("id", pa.int64()), ("score", pa.float64())]),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sql() -> AsyncIterator[SqlProcess]:
    process = SqlProcess()
    yield process
    await process.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    folder = tmp_path_factory.mktemp("tables")
    t = pa.RecordBatch.from_pydict(
        {
            "id": list(range(5000)),
            "text": [f"word {i % 7} " * 30 for i in range(5000)],
            "tags": [["a", "b"][: i % 3] for i in range(5000)],
        },
        SCHEMAS["t"],
    )
    u = pa.RecordBatch.from_pydict(
        {"id": [i // 2 for i in range(4000, 0, -1)], "score": [i / 8 for i in range(4000)]},
        SCHEMAS["u"],
    )
    return {
        "t": write_table("t", [t], t.schema, folder / "t"),
        "u": write_table("u", [u], u.schema, folder / "u"),
    }


async def problem(sql: SqlProcess, query: str) -> SqlProblem:
    with pytest.raises(SqlProblem) as caught:
        await sql.shape(query, SCHEMAS)
    return caught.value


# ---- what a query may not say


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("COPY t TO '/tmp/stolen.csv'", "one SELECT"),
        ("ATTACH '/tmp/x.db'", "one SELECT"),
        ("SET threads = 4", "one SELECT"),
        ("PRAGMA database_list", "one SELECT"),
        ("INSTALL httpfs", "one SELECT"),
        ("CREATE TABLE x AS SELECT 1", "one SELECT"),
        ("SELECT 1; COPY t TO '/tmp/stolen.csv'", "one SELECT"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("", "0 statements"),
        ("SELECT * FROM read_text('/etc/passwd')", "read_text"),
        ("SELECT * FROM glob('/etc/*')", "glob"),
        ("SELECT (SELECT count(*) FROM read_csv('/etc/passwd')) c", "read_csv"),
        ("FROM '/etc/passwd'", "no table '/etc/passwd'"),
        ("SELECT * FROM 'x.parquet'", "no table 'x.parquet'"),
        ("SELECT * FROM information_schema.tables", "no table"),
        ("SELECT * FROM duckdb_settings()", "duckdb_settings"),
        ("SELECT * FROM query('SELECT 1')", "query"),
        ("SELECT getenv('HOME') h", "getenv"),
        ("SELECT current_setting('threads') h", "current_setting"),
        ("SELECT random() r", "same each time"),
        ("SELECT uuid() r", "same each time"),
        ("SELECT now() n", "date as a literal"),
        ("SELECT current_date d", "date as a literal"),
        ("SELECT age(DATE '2020-01-01') a", "date as a literal"),
        ("SELECT id FROM t LIMIT 3", "LIMIT"),
        ("SELECT id FROM t ORDER BY id OFFSET 3", "OFFSET"),
        ("SELECT first(id) f FROM t", "first(x ORDER BY"),
        ("SELECT list(id) f FROM t", "list(x ORDER BY"),
        ("SELECT string_agg(text, ',') f FROM t", "string_agg(x ORDER BY"),
        ("SELECT row_number() OVER () n FROM t", "ORDER BY"),
        ("SELECT lag(id) OVER (PARTITION BY text) n FROM t", "ORDER BY"),
        ("SELECT DISTINCT ON (text) id FROM t", "DISTINCT ON"),
        ("SELECT id FROM t USING SAMPLE 3", "sample"),
        ("SELECT id AS a, id AS A FROM t", "two columns"),
        ("SELECT INTERVAL 1 DAY AS i", "cast it"),
        ("SELECT 'x'::BLOB AS i", "cast it"),
        ("SELECT sum(text) s FROM t", "No function matches"),
    ],
)
async def test_what_a_query_may_not_say_is_refused_in_words(
    sql: SqlProcess, query: str, words: str
) -> None:
    assert words in (await problem(sql, query)).message


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("SELECT id,\n  nope\nFROM t", (2, 3)),
        ("SELECT id\nFROM nope", (2, 6)),
        ("SELECT 'ü', id frm t order", (1, 20)),
        ("SELECT 'ü',\n 'é', now()", (2, 7)),
    ],
)
async def test_a_problem_has_its_line_and_column(
    sql: SqlProcess, query: str, place: tuple[int, int]
) -> None:
    found = await problem(sql, query)
    assert (found.line, found.column) == place


async def test_a_missing_key_column_is_a_problem(sql: SqlProcess) -> None:
    with pytest.raises(SqlProblem, match="no key column 'x'"):
        await sql.shape("SELECT id FROM t", SCHEMAS, ["x"])


async def test_result_types_are_those_that_tables_have(sql: SqlProcess) -> None:
    query = """SELECT sum(id) s, count(*) n, 1.5 d, 1::FLOAT f, avg(id) a, [1] l, {'q': 1} st,
        DATE '2020-01-01' da, TIMESTAMP '2020-01-01' ts, true b, NULL z, 1::UTINYINT u, uuid_ AS x,
        max(tokens(text)) k FROM t, (SELECT 'x' uuid_) GROUP BY ALL;  -- with an end"""
    found = await sql.shape(query, SCHEMAS)
    assert {field.name: str(field.type) for field in found} == {
        "s": "int64", "n": "int64", "d": "double", "f": "double", "a": "double",
        "l": "list<item: int64>", "st": "struct<q: int64>", "da": "date32[day]",
        "ts": "timestamp[us]", "b": "bool", "z": "string", "u": "int64", "x": "string",
        "k": "int64",
    }  # fmt: skip


async def test_a_column_of_file_contents_stays_one(sql: SqlProcess) -> None:
    notes = pa.schema([("file", pa.string()), pa.field("text", pa.string(), metadata=CONTENT)])
    found = await sql.shape("SELECT file, text, upper(text) up FROM notes", {"notes": notes})
    assert [field.metadata for field in found] == [None, CONTENT, None]


# ---- what it gives


async def test_the_result_has_the_shape_foretold(
    sql: SqlProcess, tables: dict[str, Table], tmp_path: Path
) -> None:
    query = "SELECT id % 3 AS g, sum(id) AS s, 0.5 AS h FROM t GROUP BY 1"
    told = await sql.shape(query, SCHEMAS, ["g"])
    made = await sql.run(query, tables, tmp_path / "q", "q", ["g"])
    assert made.schema == told and made.key == ("g",) and made.name == "q"
    rows = made.take(range(3)).to_pylist()
    assert [row["g"] for row in rows] == [0, 1, 2]
    assert sum(row["s"] for row in rows) == sum(range(5000))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT text, count(*) n, avg(id) a FROM t GROUP BY text",
        "SELECT DISTINCT text FROM t",
        "SELECT t.id, score FROM t JOIN u ON t.id = u.id",
        "SELECT id FROM t UNION ALL SELECT id FROM u",
        "SELECT t.id AS id, score FROM t LEFT JOIN u USING (id) ORDER BY text",
        "WITH a AS (SELECT id FROM t WHERE id IN (SELECT id FROM u)) SELECT * FROM a -- ;",
        "SELECT id, row_number() OVER (PARTITION BY text ORDER BY id) n FROM t;",
    ],
)
async def test_a_query_gives_the_same_bytes_each_time(
    sql: SqlProcess, tables: dict[str, Table], tmp_path: Path, query: str
) -> None:
    one = await sql.run(query, tables, tmp_path / "one", "q", [])
    # the same rows in other row groups, as a resumed run may have them
    batches = (batch for _, batch in tables["t"].batches(max_bytes=10_000))
    other = write_table("t", batches, tables["t"].schema, tmp_path / "t")
    two = await sql.run(query, {**tables, "t": other}, tmp_path / "two", "q", [])
    assert one.rows > 0 and one.fingerprint == two.fingerprint
    assert [p.read_bytes() for p in one.files] == [p.read_bytes() for p in two.files]


async def test_order_is_the_querys_own_and_else_the_inputs(
    sql: SqlProcess, tables: dict[str, Table], tmp_path: Path
) -> None:
    plain = await sql.run("SELECT id FROM u WHERE id % 2 = 0", tables, tmp_path / "a", "q", [])
    ids = plain.take(range(plain.rows)).column(0).to_pylist()
    assert ids == sorted(ids, reverse=True)
    query = "SELECT id, score FROM u ORDER BY id DESC"
    ordered = await sql.run(query, tables, tmp_path / "b", "q", [])
    rows = [tuple(row.values()) for row in ordered.take(range(ordered.rows)).to_pylist()]
    assert rows == sorted(rows, key=lambda row: (-row[0], row[1]))


async def test_chunks_are_bounded_and_in_the_order_of_the_text(
    sql: SqlProcess, tables: dict[str, Table], tmp_path: Path
) -> None:
    query = "SELECT id, unnest(chunk(text, 20)) AS part FROM t WHERE id < 10"
    made = await sql.run(query, tables, tmp_path / "q", "q", [])
    rows = made.take(range(made.rows)).to_pylist()
    whole = tables["t"].take(range(10)).column("text").to_pylist()
    for number, text in enumerate(whole):
        parts = [row["part"] for row in rows if row["id"] == number]
        assert len(parts) > 1 and "".join(parts) == text
    most = await sql.preview("SELECT max(tokens(part)) m FROM q", {"q": made}, 1)
    assert most.to_pylist()[0]["m"] <= 20


async def test_two_rows_of_one_key_are_a_problem_and_leave_nothing(
    sql: SqlProcess, tables: dict[str, Table], tmp_path: Path
) -> None:
    with pytest.raises(SqlProblem, match="names two rows"):
        await sql.run("SELECT text FROM t", tables, tmp_path / "q", "q", ["text"])
    assert list(tmp_path.iterdir()) == []


async def test_a_number_that_fits_no_column_is_a_problem(
    sql: SqlProcess, tables: dict[str, Table], tmp_path: Path
) -> None:
    with pytest.raises(SqlProblem, match="does not fit int64"):
        query = "SELECT sum(9223372036854775807) s FROM t"
        await sql.run(query, tables, tmp_path / "q", "q", [])


async def test_a_preview_shows_first_rows_and_may_limit(
    sql: SqlProcess, tables: dict[str, Table]
) -> None:
    shown = await sql.preview("SELECT id FROM t ORDER BY id DESC LIMIT 5", tables, 3)
    assert shown.column(0).to_pylist() == [4999, 4998, 4997]
    assert (await sql.preview("SELECT id FROM t WHERE id < 0", tables, 3)).num_rows == 0


async def test_a_table_of_no_rows_and_one_of_arrow_files_can_be_queried(
    sql: SqlProcess, tmp_path: Path
) -> None:
    import pyarrow.feather as feather

    (tmp_path / "e.csv").write_text("a,b\n")
    feather.write_feather(pa.table({"a": ["x"]}), tmp_path / "f.arrow")
    empty = read_table("e", tmp_path / "e.csv", tmp_path / "e")
    arrow = read_table("f", tmp_path / "f.arrow", tmp_path / "f")
    query = "SELECT a FROM e UNION ALL SELECT a FROM f"
    made = await sql.run(query, {"e": empty, "f": arrow}, tmp_path / "q", "q", ["a"])
    assert made.take([0]).to_pylist() == [{"a": "x"}] and made.rows == 1
    none = await sql.run("SELECT b FROM e", {"e": empty}, tmp_path / "n", "n", [])
    assert none.rows == 0 and list(none.batches()) == []


# ---- the child


SLOW = "SELECT count(*) AS n FROM range(100000) a(x), range(100000) b(y), range(1000) c(z)"


async def test_a_query_past_its_time_is_killed_and_the_next_one_works(
    tables: dict[str, Table], tmp_path: Path
) -> None:
    process = SqlProcess(timeout_s=1.0)
    await process.start()
    slow = SLOW + " WHERE hash(x + y + z) % 7 = 0"
    with pytest.raises(SqlProblem, match="took longer than 1 s"):
        await process.run(slow, tables, tmp_path / "q", "q", [])
    assert list(tmp_path.iterdir()) == []
    process._timeout_s = 100.0  # a child that starts anew may be slow
    made = await process.run("SELECT id FROM t", tables, tmp_path / "q", "q", ["id"])
    assert made.rows == 5000
    await process.close()


async def test_a_killed_child_is_replaced(sql: SqlProcess) -> None:
    await sql.start()
    os.kill(sql.pid, signal.SIGKILL)
    assert (await sql.shape("SELECT id FROM t", SCHEMAS)).names == ["id"]


async def test_a_cancelled_call_leaves_no_answer_to_the_next(sql: SqlProcess) -> None:
    await sql.start()
    slow = asyncio.create_task(sql.shape("SELECT id FROM t", SCHEMAS))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert (await sql.shape("SELECT score FROM u", SCHEMAS)).names == ["score"]


async def test_calls_side_by_side_each_get_their_own_answer(sql: SqlProcess) -> None:
    names = [f"c{n}" for n in range(20)]
    found = await asyncio.gather(*(sql.shape(f"SELECT id AS {n} FROM t", SCHEMAS) for n in names))
    assert [schema.names for schema in found] == [[name] for name in names]


async def test_the_child_has_no_secrets_of_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    process = SqlProcess()
    await process.start()
    assert b"sk-secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    await process.close()


async def test_kill_minus_nine_of_the_parent_ends_the_child(tmp_path: Path) -> None:
    code = f"""
import asyncio
from apwa.tables import SqlProcess
async def main():
    process = SqlProcess()
    await process.start()
    print(process.pid, flush=True)
    await process.preview({SLOW + " WHERE hash(x + y + z) % 7 = 0"!r}, {{}}, 1)
asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.5)  # into the query
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(1000):
        if not _is_alive(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child outlived its parent")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
