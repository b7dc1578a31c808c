"""Tables: immutable, named, typed rows in Parquet or Arrow files, read in bounded batches."""

from __future__ import annotations

import base64
import contextlib
import datetime
import decimal
import hashlib
import os
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from apwa.tables.content import FIELDS, FILE, KeptContent
from apwa.vocabulary import BadInput, Values, named

if TYPE_CHECKING:
    import pyarrow.dataset as ds

pc: Any = pyarrow.compute

_PART_ROWS = 1_000_000
_GROUP_BYTES = 16 << 20
_GROUP_ROWS = 65_536
_READ_ROWS = 4096
_READ_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Table:
    """A handle on a table; holds no rows.

    Attributes:
        rows: How many there are; ordinals run from 0 to ``rows - 1``.
        key: Columns that make the row key; empty: the position, counted from 1.
        files: The files that hold the rows, in order.
        format: ``parquet`` or ``arrow``.
        sensitive: Columns whose content nobody but the workers may see.
        source: Where the table came from, for people.
        fingerprint: Changes when the content does.
        content: Where the contents of its files are kept, if it lists documents: what was not
            read yet (see ``extraction``) is null.
        left_out: Files of its folder that are of no kind that can be read.
    """

    name: str
    schema: pa.Schema
    rows: int
    key: tuple[str, ...]
    files: tuple[Path, ...]
    format: str = "parquet"
    sensitive: frozenset[str] = frozenset()
    source: str = ""
    fingerprint: str = ""
    content: Path | None = None
    left_out: int = 0

    def dataset(self) -> ds.Dataset:
        """The rows as an Arrow dataset."""
        import pyarrow.dataset as ds  # brings pandas with it where that is installed

        if not self.files:
            return ds.dataset(self.schema.empty_table())
        return ds.dataset(
            [str(path) for path in self.files],
            format="parquet" if self.format == "parquet" else "ipc",
            schema=self.schema,
        )

    def batches(
        self,
        columns: Sequence[str] | None = None,
        start: int = 0,
        stop: int | None = None,
        max_bytes: int = 8 << 20,
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(ordinal of the first row, batch) in order, each bounded by bytes.

        Args:
            columns: Only these, in this order; None: all.
            start: First ordinal.
            stop: Ordinal after the last; None: the end.
            max_bytes: Bound of a batch, unless one row alone is larger.
        """
        end = self.rows if stop is None else min(stop, self.rows)
        names = list(self.schema.names) if columns is None else list(columns)
        first = 0
        for batch in self._raw(names, start):
            if isinstance(batch, int):  # rows passed over without reading them
                first += batch
                continue
            if first >= end:
                return
            low, high = max(start - first, 0), min(end - first, batch.num_rows)
            if low < high:
                for offset, piece in _bounded(batch.slice(low, high - low), max_bytes):
                    yield first + low + offset, piece
            first += batch.num_rows

    def field(self, name: str) -> pa.Field:
        """A column of the schema, or the reasons why files could not be read."""
        if name in FIELDS and self.content is not None:
            return FIELDS[name]
        return self.schema.field(name)

    def _raw(self, names: list[str], start: int) -> Iterator[pa.RecordBatch | int]:
        listed = self.listed(names)
        if self.content is None or listed is names:
            yield from self._stored(names, start)
            return
        kept = KeptContent(self.content)
        try:
            first = 0
            for batch in self._stored(listed, start):
                if isinstance(batch, int):
                    first += batch
                    yield batch
                    continue
                yield from kept.beside(
                    batch, range(first, first + batch.num_rows), names, self.name
                )
                first += batch.num_rows
        finally:
            kept.close()

    def listed(self, names: list[str]) -> list[str]:
        """The columns of these that stand in the table's own files."""
        if self.content is None or not any(name in FIELDS for name in names):
            return names
        return [name for name in names if name not in FIELDS] or [FILE]

    def _stored(self, names: list[str], start: int) -> Iterator[pa.RecordBatch | int]:
        if self.format == "arrow":
            for path in self.files:
                yield from _arrow_batches(path, names)
            return
        passed = 0
        for path in self.files:
            with pq.ParquetFile(path, memory_map=True) as file:
                groups: list[int] = []
                for number in range(file.num_row_groups):
                    rows = file.metadata.row_group(number).num_rows
                    if passed + rows <= start and not groups:
                        passed += rows
                        yield rows
                    else:
                        groups.append(number)
                if groups:
                    size = _batch_rows(file, groups)
                    for batch in file.iter_batches(size, groups, names, use_threads=False):
                        # a column of struct type would be flattened by name: reselect
                        yield batch.select(names)

    def take(self, ordinals: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by ordinal, in the order asked for."""
        names = list(self.schema.names) if columns is None else list(columns)
        listed = self.listed(names)
        if self.content is not None and listed is not names:
            return self._taken(ordinals, names, listed)
        wanted = sorted(set(ordinals))
        found: list[pa.RecordBatch] = []
        position: dict[int, int] = {}
        for start, stop in _runs(wanted):
            inside = iter(wanted[bisect_left(wanted, start) : bisect_left(wanted, stop)])
            target = next(inside, None)
            for first, batch in self.batches(names, start, stop):
                picked: list[int] = []
                while target is not None and target < first + batch.num_rows:
                    position[target] = len(position)
                    picked.append(target - first)
                    target = next(inside, None)
                if picked:
                    found.append(batch.take(pa.array(picked, pa.int64())))
        schema = pa.schema([self.schema.field(name) for name in names])
        table = pa.Table.from_batches([b.cast(schema) for b in found], schema)
        return table.take(pa.array([position[o] for o in ordinals], pa.int64()))

    def _taken(self, ordinals: Sequence[int], names: list[str], listed: list[str]) -> pa.Table:
        assert self.content is not None
        kept = KeptContent(self.content)
        try:
            batches: list[pa.RecordBatch] = []
            first = 0
            for batch in self.take(ordinals, listed).combine_chunks().to_batches():
                some = ordinals[first : first + batch.num_rows]
                batches += kept.beside(batch, some, names, self.name)
                first += batch.num_rows
        finally:
            kept.close()
        return pa.Table.from_batches(batches, pa.schema([self.field(name) for name in names]))

    def row_keys(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Row keys as people write them, in order."""
        if not self.key:
            end = self.rows if stop is None else min(stop, self.rows)
            yield from (str(ordinal + 1) for ordinal in range(start, end))
            return
        for _, batch in self.batches(self.key, start, stop):
            for values in plain_rows(batch, self.key):
                yield key_text(values)

    def find(self, keys: Sequence[str]) -> list[int]:
        """Ordinals of row keys. Raises BadInput naming those that are not there."""
        wanted = set(keys)
        found = {key: o for o, key in enumerate(self.row_keys()) if key in wanted}
        missing = [key for key in keys if key not in found]
        if missing:
            what = "by key " + ", ".join(self.key) if self.key else "by position, counted from 1"
            raise BadInput(
                f"no row {', '.join(missing[:5])}",
                f"table {self.name}",
                f"Rows of this table are named {what}; it has {self.rows:,}.",
            )
        return [found[key] for key in keys]

    def to_json(self) -> bytes:
        """This handle as text, to be kept with the run."""
        kept = _Kept(
            self.name, self.schema.serialize().to_pybytes(), self.rows, list(self.key),
            [str(path) for path in self.files], self.format, sorted(self.sensitive),
            self.source, self.fingerprint, None if self.content is None else str(self.content),
            self.left_out,
        )  # fmt: skip
        return msgspec.json.encode(kept)

    @staticmethod
    def from_json(data: bytes) -> Table:
        """The handle that ``to_json`` wrote down."""
        kept = msgspec.json.decode(data, type=_Kept)
        return Table(
            kept.name, pa.ipc.read_schema(pa.py_buffer(kept.schema)), kept.rows, tuple(kept.key),
            tuple(Path(path) for path in kept.files), kept.format, frozenset(kept.sensitive),
            kept.source, kept.fingerprint, None if kept.content is None else Path(kept.content),
            kept.left_out,
        )  # fmt: skip


class _Kept(msgspec.Struct, frozen=True):
    name: str
    schema: bytes
    rows: int
    key: list[str]
    files: list[str]
    format: str
    sensitive: list[str]
    source: str
    fingerprint: str
    content: str | None = None
    left_out: int = 0


def _batch_rows(file: pq.ParquetFile, groups: list[int]) -> int:
    """Rows to read at once: fewer where rows are large, so that memory stays bounded."""
    about = [file.metadata.row_group(number) for number in groups]
    row_bytes = sum(a.total_byte_size for a in about) // max(1, sum(a.num_rows for a in about))
    return max(1, min(_READ_ROWS, _READ_BYTES // max(1, row_bytes)))


def _arrow_batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        for number in range(file.num_record_batches):
            yield file.get_batch(number).select(names)


def _bounded(batch: pa.RecordBatch, max_bytes: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    if batch.num_rows <= 1 or batch.get_total_buffer_size() <= max_bytes:
        yield 0, batch
        return
    # slices share buffers: size them by what they hold
    rows = max(1, int(batch.num_rows * max_bytes / max(batch.nbytes, 1)))
    yield from _split(batch, 0, min(rows, batch.num_rows), max_bytes)


def _split(
    batch: pa.RecordBatch, offset: int, rows: int, max_bytes: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    for start in range(0, batch.num_rows, rows):
        piece = batch.slice(start, rows)
        if piece.nbytes > 2 * max_bytes and piece.num_rows > 1:
            yield from _split(piece, offset + start, piece.num_rows // 2, max_bytes)
        else:
            yield offset + start, piece


def _runs(ordinals: list[int]) -> Iterator[tuple[int, int]]:
    """Spans that cover the ordinals without reading far between them."""
    if not ordinals:
        return
    start = previous = ordinals[0]
    for ordinal in ordinals[1:]:
        if ordinal - previous > _READ_ROWS:
            yield start, previous + 1
            start = ordinal
        previous = ordinal
    yield start, previous + 1


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def key_text(values: Sequence[Any]) -> str:
    """A row key's text: its values joined by ``/``."""
    return "/".join("" if value is None else str(value) for value in values)


def plain_rows(batch: pa.RecordBatch, columns: Sequence[str]) -> list[Values]:
    """Rows as plain values that JSON can hold: dates as ISO text, decimals as text, bytes too, or
    as a data URL where they are none."""
    if not columns:
        return [[] for _ in range(batch.num_rows)]
    lists: list[list[Any]] = []
    for name in columns:
        column = _whole_microseconds(batch.column(batch.schema.get_field_index(name)))
        values = column.to_pylist()
        lists.append(values if _is_plain(column.type) else [_plain(value) for value in values])
    return [list(values) for values in zip(*lists, strict=True)]


def _whole_microseconds(column: pa.Array) -> pa.Array:
    """A column of times as Python has them; as text where they are finer than that."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        coarse = pa.timestamp("us", kind.tz)
    elif kind == pa.time64("ns"):
        coarse = pa.time64("us")
    elif kind == pa.duration("ns"):
        coarse = pa.duration("us")
    else:
        return column
    try:
        return column.cast(coarse)
    except pa.ArrowInvalid:
        if pa.types.is_duration(kind):
            return pa.array([None if n is None else f"{n} ns" for n in _numbers(column)])
        return pc.replace_substring(column.cast(pa.string()), " ", "T")


def _numbers(column: pa.Array) -> list[int | None]:
    return column.cast(pa.int64()).to_pylist()


def _is_plain(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # NaN and infinity are no JSON
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:  # nothing of it is lost: RFC 2397
            return f"data:;base64,{base64.b64encode(value).decode()}"
    if isinstance(value, decimal.Decimal):
        return str(value)
    return str(value)


def write_table(
    name: str,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    into: Path,
    *,
    key: Sequence[str] = (),
    source: str = "",
    sensitive: Iterable[str] = (),
) -> Table:
    """Write batches as Parquet parts into a folder, which appears whole or not at all.

    A folder that is there already, left by a driver that was killed, is written over.
    Raises Paused if the disk is full.
    """
    try:
        return _write_table(name, batches, schema, into, key, source, sensitive)
    except OSError as error:
        raise named(error, into) from error


def _write_table(
    name: str,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    into: Path,
    key: Sequence[str],
    source: str,
    sensitive: Iterable[str],
) -> Table:
    into.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    begun = into.with_name(f"{into.name}.begun-{os.getpid()}")
    shutil.rmtree(begun, ignore_errors=True)  # of a killed process that had the same number
    begun.mkdir(mode=0o700)
    names: list[str] = []
    rows = 0
    writer: pq.ParquetWriter | None = None
    try:
        waiting: list[pa.RecordBatch] = []
        waiting_bytes = waiting_rows = part_rows = 0
        for batch in batches:
            if batch.num_rows == 0:
                continue
            waiting.append(batch)
            waiting_bytes += batch.nbytes
            waiting_rows += batch.num_rows
            rows += batch.num_rows
            if waiting_bytes < _GROUP_BYTES and waiting_rows < _GROUP_ROWS:
                continue
            writer, part_rows = _flush(writer, begun, names, schema, waiting, part_rows)
            waiting, waiting_bytes, waiting_rows = [], 0, 0
        writer, _ = _flush(writer, begun, names, schema, waiting, part_rows)
        if writer is not None:
            writer.close()
        fingerprint = _digest([begun / part for part in names])
        if into.exists():
            shutil.rmtree(into)
        begun.rename(into)
    except BaseException:
        if writer is not None:
            with contextlib.suppress(OSError):  # a full disk refuses the rest of it as well
                writer.close()
        shutil.rmtree(begun, ignore_errors=True)
        raise
    files = tuple(into / part for part in names)
    return Table(
        name, schema, rows, tuple(key), files, "parquet", frozenset(sensitive), source,
        fingerprint,
    )  # fmt: skip


def _digest(files: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _flush(
    writer: pq.ParquetWriter | None,
    folder: Path,
    names: list[str],
    schema: pa.Schema,
    batches: list[pa.RecordBatch],
    part_rows: int,
) -> tuple[pq.ParquetWriter | None, int]:
    if writer is None or part_rows >= _PART_ROWS:
        if writer is not None:
            writer.close()
        names.append(f"part-{len(names):05d}.parquet")
        writer, part_rows = pq.ParquetWriter(folder / names[-1], schema, compression="zstd"), 0
    if batches:
        table = pa.Table.from_batches(batches, schema)
        writer.write_table(table, row_group_size=max(1, table.num_rows))
        part_rows += table.num_rows
    return writer, part_rows
