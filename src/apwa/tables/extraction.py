"""Reads what the files of listings hold, when rows want it, and keeps it once in the run.

The files are read in a few child processes, beside whatever else goes on, a bounded number ahead
of the rows that want them. Rows come as their files are done, so that a slow file holds up no
other. What was read before, by this process or one that was killed, is not read again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from apwa.documents import BLOCK, Asked, Item, Limits, Readers, Split, kind_of
from apwa.documents.readers import Closed
from apwa.tables.content import ContentStore, ImageRef, Part
from apwa.tables.table import Table
from apwa.vocabulary import Paused

_AHEAD = 8  # files read ahead, for each reader
_PAGES = 8  # pages read by one call of a reader
_KEPT_ROWS = 256
_SPARSE = 64  # below one row in so many, rows are taken singly and the listing is not scanned
_KEEP_BYTES = 4 << 20  # kept at once
_SAID_EVERY_S = 5.0

Said = Callable[[str, int, int], None]
"""Told of each table now and then: its name, rows read so far, rows wanted."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one call of a reader brings: a file, or a block of its parts."""

    source: str
    ordinals: range
    asked: Asked
    broken: str


class Documents:
    """The contents of a run's documents. Safe to use from any thread; close it once.

    Args:
        path: The file in which they are kept.
        said: Told how far the reading is.
        limits: Bounds of one reading.
    """

    def __init__(self, path: Path, said: Said | None = None, limits: Limits | None = None) -> None:
        self._store = ContentStore(path)
        self._said = said
        self._limits = limits
        self._lock = threading.Lock()
        self._readers: Readers | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._under_way: dict[tuple[str, int], Future[None]] = {}
        self._closed = False

    def close(self) -> None:
        """End the readers, whatever they are doing; rows that wait for them get Paused."""
        with self._lock:
            self._closed = True
            readers, threads = self._readers, self._threads
        if readers is not None:
            readers.close()
        if threads is not None:
            threads.shutdown(cancel_futures=True)
        self._store.close()

    @property
    def pids(self) -> list[int]:
        """The readers' process ids."""
        return [] if self._readers is None else self._readers.pids

    def image(self, ref: str) -> bytes:
        """A picture's bytes by its hash."""
        self._store.begin()
        return self._store.image(ref)

    def kept(self, table: Table) -> BitMap:
        """Rows whose content is kept already."""
        self._store.begin()
        return self._store.have(table.name, 0, table.rows)

    def broken(self, table: Table) -> dict[int, str]:
        """Why rows could not be read, as far as that was tried, by ordinal."""
        self._store.begin()
        return self._store.broken(table.name)

    def forget_broken(self, table: Table, rows: BitMap) -> None:
        """Try once more, when next wanted, what could not be read of these rows.

        Files that make a row each may have been mended meanwhile. Those with pages or records may
        not: they might have others now.
        """
        self._store.begin()
        self._store.forget_broken(table.name, rows)

    def ensure(self, table: Table, rows: BitMap | Sequence[int]) -> None:
        """See that the content of these rows is kept. Raises Paused if closed meanwhile."""
        if table.content is None:
            return
        for _ in self.as_ready(table, BitMap(rows)):
            pass

    def as_ready(self, table: Table, rows: BitMap) -> Iterator[list[int]]:
        """Ordinals of these rows, in lists, each as soon as its content is kept."""
        if table.content is None:
            yield list(rows)
            return
        self._store.begin()
        if not rows:
            return
        kept = self._store.have(table.name, rows.min(), rows.max() + 1) & rows
        missing = rows - kept
        units = _units(table, missing, self._store.again(table.name))
        pending: dict[Future[None], BitMap] = {}
        self._fill(pending, units, missing)  # first: the readers work while what is kept goes out
        for start in range(0, len(kept), _KEPT_ROWS):
            yield list(kept[start : start + _KEPT_ROWS])
        read, said_at = len(kept), time.monotonic()
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            ready = BitMap()
            for future in done:
                ordinals = pending.pop(future)
                self._raise(future)
                ready |= ordinals
            self._fill(pending, units, missing)
            read += len(ready)
            if self._said is not None and time.monotonic() - said_at > _SAID_EVERY_S:
                said_at = time.monotonic()
                self._said(table.name, read, len(rows))
            yield list(ready)

    def rows(
        self, table: Table, names: list[str], wanted: BitMap
    ) -> Iterator[tuple[list[int], pa.RecordBatch]]:
        """(ordinals, batch) of these rows, the columns as named, each as soon as it is read."""
        listed = table.listed(names)
        for ordinals, batch in _listed_rows(table, listed, wanted):
            at = {ordinal: index for index, ordinal in enumerate(ordinals)}
            for ready in self.as_ready(table, BitMap(ordinals)):
                some = batch.take(pa.array([at[ordinal] for ordinal in ready], pa.int64()))
                first = 0
                for piece in self._store.beside(some, ready, names, table.name):
                    yield ready[first : first + piece.num_rows], piece
                    first += piece.num_rows

    def _raise(self, future: Future[None]) -> None:
        if future.cancelled() or isinstance(future.exception(), Closed):
            raise Paused("the run was stopped while files were being read")
        future.result()

    def _fill(
        self, pending: dict[Future[None], BitMap], units: Iterator[_Unit], wanted: BitMap
    ) -> None:
        while len(pending) < _AHEAD * self._pool()[0].count:
            unit = next(units, None)
            if unit is None:
                return
            future = self._begin(unit)
            ordinals = wanted & BitMap(unit.ordinals)
            pending[future] = pending[future] | ordinals if future in pending else ordinals

    def _begin(self, unit: _Unit) -> Future[None]:
        """Read a unit, unless it is being read already for another step."""
        readers, threads = self._pool()
        key = unit.source, unit.ordinals.start
        with self._lock:
            future = self._under_way.get(key)
            if future is None:
                future = threads.submit(self._read, readers, unit)
                self._under_way[key] = future
        future.add_done_callback(lambda _: self._under_way.pop(key, None))
        return future

    def _pool(self) -> tuple[Readers, ThreadPoolExecutor]:
        with self._lock:
            if self._closed:
                raise Paused("the run was stopped while files were being read")
            if self._readers is None or self._threads is None:
                self._readers = Readers(self._limits)
                self._threads = ThreadPoolExecutor(self._readers.count, "documents")
            return self._readers, self._threads

    def _read(self, readers: Readers, unit: _Unit) -> None:
        """Read a unit and keep what comes, part by part; what does not come has a reason."""
        left = BitMap(unit.ordinals)
        parts: list[tuple[int, Part]] = []
        images: list[tuple[str, bytes]] = []
        waiting = 0

        def keep() -> None:
            nonlocal waiting
            self._store.put(unit.source, parts, images)
            parts.clear()
            images.clear()
            waiting = 0

        def take(said: object) -> None:
            nonlocal waiting
            if not isinstance(said, Item):
                return
            ordinal = unit.ordinals.start + (said.number - unit.asked.first)
            part, pictures = _part(said)
            parts.append((ordinal, part))
            images.extend(pictures)
            left.discard(ordinal)
            waiting += len(part.text or "") + sum(len(data) for _, data in pictures)
            if waiting > _KEEP_BYTES:
                keep()

        reason = unit.broken or readers.read(unit.asked, take)
        lost = Part(reason=reason or "there is no such part in the file")
        parts += [(ordinal, lost) for ordinal in left]
        keep()


def _part(item: Item) -> tuple[Part, list[tuple[str, bytes]]]:
    refs: list[ImageRef] = []
    images: list[tuple[str, bytes]] = []
    for picture in item.pictures:
        digest = hashlib.blake2b(picture.data, digest_size=16).hexdigest()
        size = len(picture.data)
        refs.append(ImageRef(picture.type, picture.width, picture.height, size, digest))
        images.append((digest, picture.data))
    return Part(item.text, refs, item.reason or None), images


def _listed_rows(
    table: Table, names: list[str], wanted: BitMap
) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    """Rows of the listing in pieces: larger than what is read ahead, small in memory."""
    if len(wanted) * _SPARSE < table.rows:
        ordinals = list(wanted)
        for start in range(0, len(ordinals), _KEPT_ROWS):
            some = ordinals[start : start + _KEPT_ROWS]
            yield some, table.take(some, names).combine_chunks().to_batches()[0]
        return
    for first, batch in table.batches(names, wanted.min(), wanted.max() + 1):
        inside = wanted & BitMap(range(first, first + batch.num_rows))
        if inside:
            yield list(inside), batch.take(pa.array([n - first for n in inside], pa.int64()))


_LISTED = ["file", "size", "_path", "_changed", "_offset", "_broken"]


def _units(table: Table, wanted: BitMap, again: BitMap) -> Iterator[_Unit]:
    """The units that hold these rows, in order. Reads the listing in bounded pieces."""
    if not wanted:
        return
    number = next((name for name in ("page", "record") if name in table.key), "")
    if not number:
        for first, batch in table.batches(_LISTED, wanted.min(), wanted.max() + 1):
            inside = wanted & BitMap(range(first, first + batch.num_rows))
            rows = batch.take(pa.array([n - first for n in inside], pa.int64())).to_pylist()
            for ordinal, row in zip(inside, rows, strict=True):
                if ordinal in again:
                    row |= {"_changed": -1, "_broken": None}
                yield _unit(table, row, range(ordinal, ordinal + 1), "")
        return
    split: Split = "pages" if number == "page" else "records"
    block = _PAGES if split == "pages" else BLOCK
    begun: tuple[int, dict[str, Any]] | None = None
    # a block is read whole, and begins and ends within so many rows of any row in it
    start, stop = max(0, wanted.min() - block), min(table.rows, wanted.max() + block)
    for first, batch in table.batches([*_LISTED, number], start, stop):
        parts = batch.column(len(_LISTED)).to_numpy(zero_copy_only=False)
        for index in np.flatnonzero((parts - 1) % block == 0).tolist():
            if begun is not None:
                yield from _some(table, begun, first + index, wanted, split)
            begun = first + index, batch.slice(index, 1).to_pylist()[0]
    if begun is not None:
        yield from _some(table, begun, stop, wanted, split)


def _some(
    table: Table, begun: tuple[int, dict[str, Any]], stop: int, wanted: BitMap, split: Split
) -> Iterator[_Unit]:
    ordinals = range(begun[0], stop)
    if wanted.intersect(BitMap(ordinals)):
        yield _unit(table, begun[1], ordinals, split)


def _unit(table: Table, row: dict[str, Any], ordinals: range, split: Split) -> _Unit:
    kind = kind_of(row["file"], data=True)
    assert kind is not None
    part = row.get("page") or row.get("record") or 1
    asked = Asked(
        row["_path"],
        kind.type,
        kind.reader,
        split,
        first=part,
        parts=len(ordinals) if kind.splits(split) else 0,
        offset=row["_offset"] or 0,
        size=row["size"] or 0,
        changed=row["_changed"] or 0,
    )
    return _Unit(table.name, ordinals, asked, row["_broken"] or "")
