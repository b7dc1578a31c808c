"""What is said of rows that are too long is what happens to them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from apwa.plan import Reduce
from apwa.runs.expand import Fit, expand
from apwa.runs.long_rows import LongRows, long_nodes, long_rows
from apwa.tables import Documents, Table, count_tokens, read_table
from apwa.vocabulary import ContractSpec, TagSpec, WorkSpec

SPEC = WorkSpec(
    "told", "Tell.", [TagSpec("text", "text")], "n", ["text"], ContractSpec({"type": "object"}),
    "e", "m", b"p" * 16,
)  # fmt: skip


def table_of(texts: list[str], folder: Path) -> Table:
    pq.write_table(pa.table({"text": texts}), folder / "t.parquet")
    return read_table("t", str(folder / "t.parquet"), folder / "snapshot")


def refused(table: Table, rows: BitMap, fit: Fit) -> int:
    documents = Documents(table.files[0].with_name("content.db"))
    batches = expand(SPEC, table, rows, {}, fit, documents)
    return sum(work.refused is not None for works in batches for work in works)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 300), st.just(95)), min_size=1, max_size=20),
    st.integers(60, 400),
)
def test_as_many_rows_are_refused_as_was_said(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], context: int
) -> None:
    table = table_of(["wörd " * n for n in lengths], tmp_path_factory.mktemp("t"))
    fit = Fit(context, 20, 30)
    rows = BitMap(range(len(lengths)))
    look = long_rows(SPEC, table, rows, fit, 0)
    assert (look.rows, look.basis) == (len(lengths), "")
    assert look.too_long == refused(table, rows, fit)
    assert look.longest >= count_tokens("wörd " * max(lengths))
    assert ("too long" in look.words()) == bool(look.too_long)


def test_a_large_table_is_sampled_and_said_to_be(tmp_path: Path) -> None:
    table = table_of(["word " * (200 if n % 4 == 0 else 5) for n in range(24_000)], tmp_path)
    rows = BitMap(range(table.rows))
    look = long_rows(SPEC, table, rows, Fit(200, 20, 30), 0)
    assert look == long_rows(SPEC, table, rows, Fit(200, 20, 30), 0)
    assert 4_800 <= look.too_long <= 7_200
    assert "estimated from a sample of 2,000 rows" in look.words()
    few = BitMap(range(8))
    assert long_rows(SPEC, table, few, Fit(200, 20, 30), 0).too_long == 2


def test_an_unknown_context_is_said_to_be_unknown(tmp_path: Path) -> None:
    table = table_of(["word " * 100, "a"], tmp_path)
    look = long_rows(SPEC, table, BitMap([0, 1]), Fit(None, 20, 30), 0)
    assert look.too_long == 0 and look.longest > 100
    assert "context is unknown" in look.words() and "--context" in look.words()


def test_a_reduce_is_looked_at_by_what_its_first_level_combines(tmp_path: Path) -> None:
    table = table_of(["word " * 50] * 9, tmp_path)
    look = long_nodes(SPEC, table, BitMap(range(9)), Fit(300, 20, 30), Reduce(fan_in=8))
    assert (look.rows, look.too_long) == (2, 1)
    assert "1 of 2 subtasks is too long" in look.words() and "fan_in" in look.words()


def test_the_words_say_what_happens_and_what_to_do() -> None:
    words = LongRows("told", 1000, 12, 31_000, 8192, 5000).words()
    for part in (
        "12 of 1,000 rows are too long", "8,192", "room for 5,000", "31,000", "context_too_long",
        "chunk(text, 4000)", "larger context", "limits.output_tokens",
    ):  # fmt: skip
        assert part in words
