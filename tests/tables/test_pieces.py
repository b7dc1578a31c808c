"""``chunk`` and ``tokens`` in queries: nothing of a text is lost, and pieces are bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from apwa.practice import sample
from apwa.tables import SqlProblem, SqlProcess, count_tokens, read_table
from apwa.tables.pieces import pieces_of

_TEXTS = st.lists(
    st.one_of(
        st.text(max_size=200),
        st.sampled_from(["# Head\n\n", "One. Two.  \r\n", "\t\n ", "né 漢字 🙂 ", "- a\n- b\n"]),
    ),
    max_size=40,
).map("".join)


@given(_TEXTS, st.integers(1, 60))
def test_pieces_put_together_are_the_text_again(text: str, size: int) -> None:
    assert "".join(pieces_of([text], size)[0]) == text


@given(_TEXTS, st.integers(8, 60))
def test_no_piece_is_longer_than_asked(text: str, size: int) -> None:
    assert all(count_tokens(p) <= size or len(p) == 1 for p in pieces_of([text], size)[0])


@given(_TEXTS, st.integers(8, 60), st.integers(1, 7))
def test_with_overlap_each_piece_stands_in_the_text_and_none_is_left_out(
    text: str, size: int, overlap: int
) -> None:
    spans = {(0, 0)}  # where the last piece may stand: texts repeat themselves
    for piece in pieces_of([text], size, overlap)[0]:
        places = [at for at in range(len(text)) if text.startswith(piece, at)]
        # it begins at the latest where the one before it ends
        spans = {
            (at, at + len(piece)) for begun, end in spans for at in places if begun <= at <= end
        }
        assert spans
    assert any(end == len(text) for _, end in spans)


def test_the_same_texts_give_the_same_pieces_whatever_stands_beside_them() -> None:
    speeches = [path.read_text("utf-8") for path in sorted(sample("addresses").iterdir())]
    together = pieces_of(speeches, 300, 30)
    assert together == [pieces_of([speech], 300, 30)[0] for speech in speeches]
    assert sum(map(len, together)) > len(speeches)


@pytest_asyncio.fixture
async def sql() -> AsyncIterator[SqlProcess]:
    process = SqlProcess()
    yield process
    await process.close()


async def test_long_texts_in_pieces_are_keyed_by_document_and_number(
    sql: SqlProcess, tmp_path: Path
) -> None:
    table = read_table("speeches", str(sample("addresses")), tmp_path / "speeches")
    query = """
        SELECT file, unnest(range(1, len(pieces) + 1)) AS part, unnest(pieces) AS piece
        FROM (SELECT file, chunk(text, 400) AS pieces FROM speeches)"""
    made = await sql.run(query, {"speeches": table}, tmp_path / "m", "pieces", ["file", "part"])
    rows = made.take(range(made.rows)).to_pylist()
    for path in sorted(sample("addresses").iterdir()):
        own = [row for row in rows if row["file"] == path.name]
        assert [row["part"] for row in own] == list(range(1, len(own) + 1))
        assert "".join(row["piece"] for row in own) == path.read_text("utf-8")
    assert max(count_tokens(row["piece"]) for row in rows) <= 400 < len(rows) * 400


async def test_what_chunk_and_tokens_make_of_nothing_and_of_wrong_sizes(
    sql: SqlProcess, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"t": pa.array([None, "", "one two"])}), tmp_path / "x.parquet")
    tables = {"x": read_table("x", str(tmp_path / "x.parquet"), tmp_path / "x")}
    found = await sql.preview("SELECT tokens(t) AS n, chunk(t, 9, 2) AS c FROM x", tables, 9)
    assert found.to_pylist() == [
        {"n": None, "c": None},
        {"n": 0, "c": []},
        {"n": 2, "c": ["one two"]},
    ]
    for call, words in {
        "chunk(t, 0)": "at least 1 token, not of 0",
        "chunk(t, 9, 9)": "less than its 9 tokens",
        "chunk(t, 9, -1)": "it is -1",
        "chunk(t)": "chunk",
    }.items():
        with pytest.raises(SqlProblem, match=words) as problem:
            await sql.preview(f"SELECT {call} AS c FROM x", tables, 9)
        assert "Python" not in problem.value.message, problem.value.message
