"""Large cells by reference: each is found again where it stands."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apwa.tables import LARGE_CHARS, CellPlaces, CellReader, plain_rows, read_table

_TEXT = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.integers(0, 3).map(lambda n: chr(228 + n) * (LARGE_CHARS + n)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.tuples(_TEXT, st.integers(0, 9), _TEXT), min_size=1, max_size=12),
    group=st.integers(1, 5),
    files=st.integers(1, 3),
)
def test_rows_without_large_cells_are_whole_again_after_reading(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, int, str | None]],
    group: int,
    files: int,
) -> None:
    at = tmp_path_factory.mktemp("cells")
    schema = pa.schema([("a", pa.string()), ("n", pa.int64()), ("b", pa.large_string())])
    for number in range(files):
        named = [dict(zip("anb", row, strict=True)) for row in rows]
        table = pa.Table.from_pylist(named, schema)
        pq.write_table(table, at / f"{number}.parquet", row_group_size=group)
    table = read_table("t", f"{at}/*.parquet", at / "into")
    columns = ["b", "n", "a"]
    places, reader = CellPlaces(table, columns), CellReader()
    seen = 0
    for first, batch in table.batches(columns):
        for n, values in enumerate(plain_rows(batch, columns)):
            light, cells = places.without_large(first + n, values)
            large = [
                c for c, v in enumerate(values) if isinstance(v, str) and len(v) >= LARGE_CHARS
            ]
            assert sorted(cell.position for cell in cells) == large
            assert all(light[c] is None for c in large)
            assert reader.filled(light, cells) == values
            seen += 1
    assert seen == len(rows) * files


def test_a_file_that_has_gone_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": ["x" * LARGE_CHARS]}), path)
    places = CellPlaces(read_table("t", path, tmp_path / "into"), ["a"])
    light, cells = places.without_large(0, ["x" * LARGE_CHARS])
    path.unlink()
    with pytest.raises(OSError):
        CellReader().filled(light, cells)
