"""Data frames as tables: what a frame holds is what the table holds."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apwa.tables import Table, frame_table, plain_rows
from apwa.vocabulary import BadInput


def taken(frame: object, into: Path, **more: Any) -> Table:
    return frame_table("t", frame, into / "t", **more)


def arrow(table: Table) -> pa.Table:
    return pa.Table.from_batches([batch for _, batch in table.batches()], table.schema)


def rows(table: Table) -> list[dict[str, Any]]:
    return arrow(table).to_pylist()


def refused(frame: object, into: Path, **more: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        taken(frame, into, **more)
    assert not (into / "t").exists()
    return caught.value


# ---- pandas


def test_a_pandas_frame_with_a_plain_index(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "i": [1, 2], "f": [0.5, None], "s": ["é", None], "c": pd.Categorical(["x", "y"]),
            "t": pd.to_datetime(["2024-02-29 12:00", None]).astype("datetime64[ns]"),
            "n": pd.array([1, None], dtype="Int64"), "l": [[1, 2], None], "o": [{"a": 1}, None],
        }
    )  # fmt: skip
    table = taken(frame, tmp_path)
    assert table.source == "pandas.DataFrame of the caller"
    assert rows(table)[0] == {
        "i": 1, "f": 0.5, "s": "é", "c": "x", "t": pd.Timestamp("2024-02-29 12:00"), "n": 1,
        "l": [1, 2], "o": {"a": 1},
    }  # fmt: skip
    assert list(rows(table)[1].values()) == [2, None, None, "y", None, None, None, None]
    assert table.schema.field("c").type == pa.string()


def test_an_index_that_says_something_is_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="code"))
    assert rows(taken(frame, tmp_path))[1] == {"code": "y", "a": 2}
    filtered = pd.DataFrame({"a": [1, 2, 3]}).query("a > 1")  # unnamed, and no plain count
    assert rows(taken(filtered, tmp_path))[0] == {"index": 1, "a": 2}
    levels = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["g", "n"])
    assert rows(taken(pd.DataFrame({"v": [5, 6]}, index=levels), tmp_path))[1] == {
        "g": "a", "n": 2, "v": 6,
    }  # fmt: skip
    twice = pd.DataFrame({"code": [1]}, index=pd.Index(["x"], name="code"))
    assert "the index and a column are both named 'code'" in refused(twice, tmp_path / "b").what


def test_a_column_of_several_kinds_is_named_with_its_rows(tmp_path: Path) -> None:
    error = refused(pd.DataFrame({"a": [1, 2], "b": [None, 1]}).assign(c=[1, "x"]), tmp_path)
    assert error.what == "column 'c' holds a int in row 1 and a str in row 2"
    assert error.where == "table t, pandas.DataFrame of the caller"
    error = refused(pd.DataFrame({"c": [complex(1, 2)]}, dtype=object), tmp_path)
    assert error.what == "column 'c' holds complexs, which tables do not have"


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame([[1, 2]]), "a column is named 0, which is no text"),
        (pd.DataFrame([[1]], columns=[""]), "a column has no name"),
        (pd.DataFrame(), "there are no columns"),
        (pa.table([[1], [2]], names=["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame({"p": pd.period_range("2024", periods=1, freq="M")}),
         "column 'p' is of a type that tables do not have: "),
        (pl.DataFrame({"a": [1]}).lazy(), "a LazyFrame holds no rows yet"),
        (pd.Series([1]), "this is no table"),
        ({"a": [1]}, "a dict is no table"),
        (7, "a int is no table"),
        ([1], "a row must be a dict, and this is a int"),
        ([], "there are no columns"),
        ([{1: 2}], "a column is named 1, which is no text"),
        ([{"a": 1}, {"a": object()}], "column 'a' holds a object, which tables do not have"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, frame: object, what: str) -> None:
    error = refused(frame, tmp_path)
    assert error.what.startswith(what), error.what
    assert error.where.startswith("table t, ")


# ---- Polars and Arrow


def test_a_polars_frame(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "s": ["long enough to be no inline view", None],
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "e": pl.Series(["x", None], dtype=pl.Enum(["x"])),
            "l": [["a"], None], "st": [{"a": ["b"]}, None],
            "a": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
            "d": pl.Series(["1.50", None]).str.to_decimal(scale=2),
            "t": [datetime.time(1, 2, 3), None],
            "span": [datetime.timedelta(seconds=1), None],
            "n": pl.Series([None, None], dtype=pl.Null),
            "lc": pl.Series([["x", None], []], dtype=pl.List(pl.Categorical)),
        }
    )  # fmt: skip
    table = taken(frame, tmp_path)
    first, second = rows(table)
    assert first == {
        "s": "long enough to be no inline view", "c": "x", "e": "x", "l": ["a"],
        "st": {"a": ["b"]}, "a": [1, 2], "d": decimal.Decimal("1.50"), "t": datetime.time(1, 2, 3),
        "span": datetime.timedelta(seconds=1), "n": None, "lc": ["x", None],
    }  # fmt: skip
    assert second["st"] is None and second["lc"] == [] and second["a"] == [3, 4]
    assert table.schema.field("s").type == pa.string()


def test_arrow_layouts_are_settled_and_values_are_not(tmp_path: Path) -> None:
    words = pa.array(["a", None, "a", "b"])
    ids = [uuid.UUID(int=n) for n in range(4)]
    given_table = pa.table(
        {
            "large": words.cast(pa.large_string()), "view": words.cast(pa.string_view()),
            "dictionary": words.dictionary_encode(),
            "lists": pa.array([["x"], None, [], ["y", None]], pa.large_list(pa.large_string())),
            "coded": pa.array([["x"], None, [], ["y", None]],
                              pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            "deep": pa.array([{"c": "x"}, None, {"c": None}, {"c": "y"}],
                             pa.struct([("c", pa.dictionary(pa.int8(), pa.string()))])),
            "runs": pa.RunEndEncodedArray.from_arrays([3, 4], ["r", "s"]),
            "second": pa.array([1, None, 2, 3], pa.timestamp("s", "UTC")),
            "fine": pa.array([1, None, 2, 3], pa.timestamp("ns")),
            "half": pa.array([np.float16(0.5)] * 4, pa.float16()),
            "map": pa.array([[("k", 1)], None, [], [("k", None)]], pa.map_(pa.string(), pa.int8())),
            "id": pa.array([i.bytes for i in ids], pa.uuid()),
            "u": pa.array([2**64 - 1, 0, 1, 2], pa.uint64()),
        }
    )  # fmt: skip
    table = taken(given_table, tmp_path)
    found = arrow(table)
    for name in ("large", "view", "dictionary", "lists", "coded", "deep", "map", "u", "second"):
        assert found[name].to_pylist() == given_table[name].to_pylist(), name
    assert found["runs"].to_pylist() == ["r", "r", "r", "s"]
    assert found["half"].to_pylist() == [0.5] * 4
    assert found["id"].to_pylist() == [str(i) for i in ids]
    assert found["fine"].cast(pa.int64()).to_pylist() == [1, None, 2, 3]
    assert found.schema.field("lists").type == pa.list_(pa.string())
    batch = next(iter(table.batches(["fine"])))[1]
    assert plain_rows(batch, ["fine"])[0] == ["1970-01-01T00:00:00.000000001"]
    # and a slice, whose buffers hold more than it does
    again = taken(given_table.slice(2), tmp_path / "slice")
    assert arrow(again)["coded"].to_pylist() == [[], ["y", None]]
    assert arrow(again)["deep"].to_pylist() == [{"c": None}, {"c": "y"}]


def test_a_reader_is_streamed_and_a_break_in_it_is_named(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int64())])

    def batches(whole: bool) -> Iterator[pa.RecordBatch]:
        for start in range(0, 30_000, 10_000):
            yield pa.record_batch([pa.array(range(start, start + 10_000))], schema=schema)
        if not whole:
            raise OSError("the line is dead")

    reader = pa.RecordBatchReader.from_batches(schema, batches(True))
    table = taken(reader, tmp_path)
    assert table.rows == 30_000 and arrow(table)["a"].to_pylist() == list(range(30_000))
    broken = pa.RecordBatchReader.from_batches(schema, batches(False))
    assert "the line is dead" in refused(broken, tmp_path / "b").what


class _Stream:
    """Somebody's own frame: all it has is Arrow's stream."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.table({"a": [1, 2]}).__arrow_c_stream__(requested_schema)


def test_whatever_streams_arrow_is_a_table(tmp_path: Path) -> None:
    assert rows(taken(_Stream(), tmp_path)) == [{"a": 1}, {"a": 2}]
    assert rows(taken(pa.record_batch({"a": [1]}), tmp_path)) == [{"a": 1}]


# ---- rows


def test_a_list_of_dicts_is_typed_over_all_rows(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    given_rows = [
        {"a": 1, "day": datetime.date(2024, 2, 29), "m": 1, "np": np.int64(5)},
        {"a": 0.5, "z": [1, 2], "b": b"\x00", "at": moment, "m": "x", "o": {"k": (1, 2)}},
        {"d": decimal.Decimal("1.50"), "u": uuid.UUID(int=1), "m": datetime.date(2024, 1, 1)},
    ]
    table = taken(given_rows, tmp_path, sensitive=["m"])
    assert table.sensitive == {"m"}
    assert rows(table)[0] == {
        "a": 1.0, "day": datetime.date(2024, 2, 29), "m": "1", "np": 5, "z": None, "b": None,
        "at": None, "o": None, "d": None, "u": None,
    }  # fmt: skip
    assert rows(table)[1]["at"] == moment and rows(table)[1]["o"] == {"k": [1, 2]}
    assert [row["m"] for row in rows(table)] == ["1", "x", "2024-01-01"]
    assert rows(table)[2]["d"] == "1.50"


def test_keys_are_checked_as_of_any_source(tmp_path: Path) -> None:
    assert taken([{"id": "a"}, {"id": "b"}], tmp_path, key=["id"]).key == ("id",)
    error = refused([{"id": "a"}, {"id": "a"}], tmp_path / "b", key=["id"])
    assert error.what == 'the key "a" names two rows: 1 and 2'
    assert "no key column 'x'" in refused([{"id": "a"}], tmp_path / "b", key=["x"]).what
    assert "no sensitive column 'x'" in refused([{"a": 1}], tmp_path / "b", sensitive=["x"]).what


_VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.float64(): st.floats(allow_nan=False),
    pa.large_string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    pa.string_view(): st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    pa.binary(): st.binary(max_size=10),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.decimal128(20, 3): st.decimals(-(10**15), 10**15, places=3),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["x", "y", "z"]),
    pa.large_list(pa.int16()): st.lists(st.integers(-9, 9), max_size=3),
    pa.list_(pa.dictionary(pa.int32(), pa.string())): st.lists(st.sampled_from(["x", "y"])),
    pa.struct([("a", pa.large_string()), ("b", pa.int8())]): st.fixed_dictionaries(
        {"a": st.none() | st.text("ab", max_size=3), "b": st.none() | st.integers(0, 9)}
    ),
}


@settings(max_examples=30)
@given(st.data())
def test_values_come_through_unaltered(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(_VALUES)), min_size=1, max_size=5))
    count = data.draw(st.integers(0, 20))
    columns = [
        pa.array(data.draw(st.lists(st.none() | _VALUES[k], min_size=count, max_size=count)), k)
        for k in kinds
    ]
    frame = pa.table(columns, names=[f"c{n}" for n in range(len(kinds))])
    frame = frame.slice(data.draw(st.integers(0, count)))
    table = taken(frame, tmp_path_factory.mktemp("frame"))
    assert rows(table) == frame.to_pylist()
    assert table.rows == frame.num_rows
