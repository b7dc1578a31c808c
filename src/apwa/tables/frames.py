"""Data frames as tables: whatever speaks Arrow, pandas frames, and lists of rows.

They are written into the run's snapshot, column by column as they are: a run never needs the frame
again. pandas and Polars are asked only through what a frame brings along.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from apwa.tables.arrow_kinds import check_names, settled_batch, settled_schema
from apwa.tables.row_keys import check_keys, check_sensitive
from apwa.tables.table import Table, write_table
from apwa.tables.value_kinds import ValueKinds
from apwa.vocabulary import BadInput

_BATCH_ROWS = 4096
_HELP = (
    "A table is a path, an address, a pandas or Polars data frame, an Arrow table, a reader of"
    " record batches, anything with __arrow_c_stream__, or a list of dicts."
)


def frame_words(frame: object) -> str:
    """What a frame is, for people."""
    kind = type(frame)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__} of the caller"


def frame_table(
    name: str,
    frame: object,
    into: Path,
    *,
    key: Sequence[str] = (),
    sensitive: Sequence[str] = (),
) -> Table:
    """Write a frame into a snapshot. Raises BadInput naming the column, and the row where it can.

    A reader of record batches is read to its end, and cannot be read again.
    """
    where = f"table {name}, {frame_words(frame)}"
    schema, batches = _batches(frame, where)
    if not schema.names:
        raise BadInput("there are no columns", where, "Give at least one.")
    target = settled_schema(schema, where)
    check_sensitive(target.names, sensitive, where)
    settled = (settled_batch(batch, target, where) for batch in batches)
    table = write_table(
        name, settled, target, into, key=key, source=frame_words(frame), sensitive=sensitive
    )
    try:
        check_keys(table)
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise
    return replace(table, key=tuple(key))


def _batches(frame: Any, where: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if isinstance(frame, pa.RecordBatch):
        return frame.schema, _sliced(frame)
    if isinstance(frame, pa.Table):
        return frame.schema, iter(frame.to_batches(_BATCH_ROWS))
    if isinstance(frame, (list, tuple)):
        return _rows(cast(Sequence[object], frame), where)
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        return _pandas(frame, where)
    if hasattr(frame, "collect") and not hasattr(frame, "__arrow_c_stream__"):
        raise BadInput(f"a {type(frame).__name__} holds no rows yet", where, "Give its .collect().")
    if hasattr(frame, "__arrow_c_stream__"):
        try:
            reader = pa.RecordBatchReader.from_stream(frame)
        except (pa.ArrowException, TypeError) as error:
            raise BadInput(f"this is no table: {str(error)[:200]}", where, _HELP) from error
        return reader.schema, _from_reader(reader, where)
    raise BadInput(f"a {type(frame).__name__} is no table", where, _HELP)


def _from_reader(reader: pa.RecordBatchReader, where: str) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            words = str(error).partition("\n")[0][:200]
            raise BadInput(f"the stream breaks: {words}", where) from error
        yield from _sliced(batch)


def _sliced(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, _BATCH_ROWS):
        yield batch.slice(start, _BATCH_ROWS)


# ---- pandas


def _pandas(frame: Any, where: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """An index that says something is a column, or several; one that only counts is none."""
    index = frame.index
    counts = type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)
    if not counts or index.name is not None:
        names = [name if name is not None else "index" for name in index.names]
        if len(set(names)) != len(names):
            raise BadInput(
                "two levels of the index have one name, or none", where, "Name the index's levels."
            )
        for name in names:
            if name in list(frame.columns):
                raise BadInput(
                    f"the index and a column are both named {name!r}",
                    where,
                    "Rename one, or leave the index out with .reset_index(drop=True).",
                )
        frame = frame.reset_index(names=names)
    check_names(list(frame.columns), where)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _not_one_kind(frame, where, error) from error
    return table.schema, iter(table.to_batches(_BATCH_ROWS))


def _not_one_kind(frame: Any, where: str, error: Exception) -> BadInput:
    """Which column of objects it is, and the first row whose value is of another kind."""
    for name in frame.columns:
        if str(frame[name].dtype) != "object":
            continue
        first: tuple[int, type] | None = None
        for row, value in enumerate(frame[name], 1):
            if value is None or (isinstance(value, float) and value != value):
                continue
            first = first or (row, type(value))
            if type(value) is not first[1]:
                return BadInput(
                    f"column {name!r} holds a {first[1].__name__} in row {first[0]:,} and a"
                    f" {type(value).__name__} in row {row:,}",
                    where,
                    f"Make it one kind, such as df[{name!r}].astype(str).",
                )
        if first is not None and not _converts(frame[name]):
            return BadInput(
                f"column {name!r} holds {first[1].__name__}s, which tables do not have",
                where,
                "Convert it, to text for instance.",
            )
    return BadInput(f"the frame cannot be taken: {str(error).splitlines()[0][:200]}", where)


def _converts(column: Any) -> bool:
    try:
        pa.Array.from_pandas(column)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True


# ---- lists of rows


def _rows(rows: Sequence[object], where: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    kinds = ValueKinds()
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise BadInput(
                f"a row must be a dict, and this is a {type(row).__name__}",
                f"{where}, row {number:,}",
                _HELP,
            )
        check_names(list(cast(Mapping[object, object], row)), f"{where}, row {number:,}")
    given = cast(Sequence[Mapping[str, object]], rows)
    for some in _some(given, where):
        kinds.look(some)
    if not kinds.names:
        raise BadInput("there are no columns", where, "Give at least one row.")
    return kinds.schema(), (kinds.batch(some) for some in _some(given, where))


def _some(rows: Sequence[Mapping[str, object]], where: str) -> Iterator[list[dict[str, Any]]]:
    numbered = enumerate(rows, 1)
    while some := list(islice(numbered, _BATCH_ROWS)):
        yield [
            {name: _plain(value, name, number, where) for name, value in row.items()}
            for number, row in some
        ]


_KNOWN = (
    str, bool, int, float, bytes, datetime.date, datetime.time, datetime.timedelta, type(None)
)  # fmt: skip


def _plain(value: Any, name: str, number: int, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _KNOWN):
        return value
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(inner, name, number, where) for inner in cast(Any, value)]
    if isinstance(value, Mapping):
        inside = cast(Mapping[object, object], value)
        return {str(k): _plain(v, name, number, where) for k, v in inside.items()}
    if hasattr(value, "as_tuple") or type(value).__module__ == "uuid":
        return str(value)  # a decimal is exact as text, and in no number type that all know
    raise BadInput(
        f"column {name!r} holds a {type(value).__name__}, which tables do not have",
        f"{where}, row {number:,}",
        "Convert it, to text for instance.",
    )
