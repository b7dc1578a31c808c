"""Promises of table handles, cards and samples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from apwa.tables import Table, card, count_tokens, pilot_ordinals, read_table, write_table
from apwa.vocabulary import BadInput


def made(folder: Path, rows: int, text: str = "word ", **more: object) -> Table:
    batch = pa.RecordBatch.from_pydict({"id": list(range(rows)), "text": [text] * rows})
    return write_table("t", [batch], batch.schema, folder / "t", **more)  # pyright: ignore[reportArgumentType]


def test_batches_are_bounded_and_in_order(tmp_path: Path) -> None:
    table = made(tmp_path, 3000, "x" * 2000)
    seen: list[int] = []
    for first, batch in table.batches(max_bytes=64 << 10):
        assert batch.nbytes <= 128 << 10
        assert batch.column("id").to_pylist()[0] == first
        seen += batch.column("id").to_pylist()
    assert seen == list(range(3000))
    part = [i for _, b in table.batches(["id"], 2990, 5000) for i in b.column(0).to_pylist()]
    assert part == list(range(2990, 3000))


def test_rows_are_taken_in_the_order_asked_for(tmp_path: Path) -> None:
    table = made(tmp_path, 70_000)
    assert table.take([69_999, 0, 30_000, 0], ["id"]).column(0).to_pylist() == [
        69_999,
        0,
        30_000,
        0,
    ]
    assert table.take([]).num_rows == 0


def test_rows_are_found_by_key_or_position(tmp_path: Path) -> None:
    table = made(tmp_path, 10, key=["id"])
    assert table.find(["7", "0"]) == [7, 0]
    assert made(tmp_path, 10).find(["7"]) == [6]
    with pytest.raises(BadInput, match="no row 11"):
        table.find(["7", "11"])


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict({"a": [1]})
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        write_table("t", failing(), pa.schema([("a", pa.int64())]), tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_a_card_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    tables = [made(tmp_path / str(rows), rows, "so say we all") for rows in (100, 100_000)]
    small, large = (len(re.sub(r"[0-9,]", "", card(table).text())) for table in tables)
    assert abs(large - small) <= 0.02 * small


def test_a_card_of_a_thousand_columns_is_bounded_and_names_the_rest(tmp_path: Path) -> None:
    names = [f"a column with quite a long name {i}" for i in range(1000)]
    path = tmp_path / "t.csv"
    path.write_text(",".join(names) + "\n" + ",".join(["a value of some length"] * 1000) + "\n")
    for bound in (1500, 6000):
        text = card(read_table("t", path, tmp_path / "into"), max_chars=bound).text()
        assert len(text) <= bound
        assert "1000 columns" in text and "more" in text


def test_a_card_clips_values_and_shows_none_of_a_sensitive_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,text\nAda Lovelace," + "long " * 1000 + "\n")
    text = card(read_table("t", path, tmp_path / "into", sensitive=["name"])).text()
    assert "Ada" not in text and "sensitive, content not shown" in text
    assert len(text) < 1000 and "untrusted" in text
    assert f"max {count_tokens('long ' * 1000):,}" in text


def test_a_card_of_no_rows_is_a_card(tmp_path: Path) -> None:
    assert "0 rows, 2 columns" in card(made(tmp_path, 0)).text()


def test_a_pilot_is_the_same_each_time_and_holds_the_longest_rows(tmp_path: Path) -> None:
    texts = ["short"] * 500
    texts[123] = "long " * 500
    batch = pa.RecordBatch.from_pydict({"text": texts})
    table = write_table("t", [batch], batch.schema, tmp_path / "t")
    picked = pilot_ordinals(table, 10, seed=1)
    assert picked == pilot_ordinals(table, 10, seed=1) == sorted(set(picked))
    assert len(picked) == 10 and 123 in picked
    assert pilot_ordinals(table, 1000, seed=1) == list(range(500))
