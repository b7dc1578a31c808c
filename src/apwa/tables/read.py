"""Reads a source into a table: all errors of format are found here, before any model call.

Parquet and Arrow files are used where they lie. Everything else is read once, into a snapshot of
Parquet files that the run owns.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from apwa.documents import Split
from apwa.tables.content import CONTENT_FILE, FILE
from apwa.tables.csv_files import csv_batches, csv_header
from apwa.tables.document_listing import list_documents
from apwa.tables.foreign import Stop, foreign_table
from apwa.tables.in_place import arrow_table, parquet_table
from apwa.tables.json_files import json_batches, json_kinds
from apwa.tables.kinds_of_text import TextKinds, typed
from apwa.tables.listing import WITH_REASONS, Listing
from apwa.tables.places import at
from apwa.tables.row_keys import check_keys, check_sensitive
from apwa.tables.sources import FOREIGN, Source, find_source
from apwa.tables.table import Table, write_table
from apwa.vocabulary import BadInput

_ENDING = ["_status", "_error"]


def read_table(
    name: str,
    source: str | Path,
    into: Path,
    *,
    key: Sequence[str] = (),
    sensitive: Sequence[str] = (),
    split: Split = "",
    stop: Stop | None = None,
) -> Table:
    """Read a file, folder or glob as a table.

    Of documents only the listing is made; their contents come when rows want them, see
    ``Documents``.

    Args:
        name: The table's name.
        source: CSV, TSV, JSON, JSONL, Parquet or Arrow files, a folder of documents, or a database
            or spreadsheet with ``#`` and the name of a table or sheet.
        into: Folder of the snapshot; it appears whole or not at all.
        key: Columns that make the row key; none: the position (of a listing: its path).
        sensitive: Columns whose content nobody but the workers may see.
        split: What of a document makes a row; empty: the whole file.
        stop: Ends the reading of a database or spreadsheet once it is set.

    Raises BadInput with file, line and column for whatever is wrong.
    """
    found = find_source(source, split)
    if found.kind in FOREIGN:
        table = foreign_table(name, found.kind, found.files[0], found.part, into, stop)
    elif found.kind == "documents":
        content = into.with_name(CONTENT_FILE)
        table = list_documents(name, found.base, found.files, into, content, split)
    else:
        table = _READERS[found.kind](name, found, into)
    table = replace(table, source=str(source), left_out=found.left_out)
    try:
        table = _without_ending(table)
        if len(table.schema) == 0:
            raise BadInput("there are no columns", str(source), "Give at least one row.")
        check_sensitive(table.schema.names, sensitive, f"table {name}, {source}")
        table = replace(table, key=tuple(key) or table.key, sensitive=frozenset(sensitive))
        if key:
            check_keys(table)
    except BaseException:
        if found.kind in _SNAPSHOTS or found.kind in FOREIGN:
            shutil.rmtree(into, ignore_errors=True)
        raise
    return table


def _without_ending(table: Table) -> Table:
    """A mended quarantine file is an input like any other: its last two columns are ours."""
    names = table.schema.names
    if names[-2:] != _ENDING:
        return table
    return replace(table, schema=pa.schema(list(table.schema)[:-2], table.schema.metadata))


def _csv(name: str, source: Source, into: Path) -> Table:
    header = csv_header(source.files[0])
    for path in source.files[1:]:
        _same_columns(source.files[0], header, path, csv_header(path))
    kinds = TextKinds(header)
    text_schema = pa.schema([pa.field(column, pa.string()) for column in header])
    rows = chain.from_iterable(csv_batches(path, header) for path in source.files)
    beside = into.with_name(f"{into.name}.text")
    text = write_table(name, kinds.watch(rows), text_schema, beside)
    try:
        schema = kinds.schema()
        batches = (typed(batch, schema) for _, batch in text.batches())
        return write_table(name, batches, schema, into)
    finally:
        shutil.rmtree(beside)


def _same_columns(first: Path, header: list[str], path: Path, other: list[str]) -> None:
    if header == other:
        return
    differing = [c for c in [*other, *header] if (c in other) != (c in header)]
    what = f"column {differing[0]!r} is in only one of them" if differing else "their order differs"
    raise BadInput(
        f"the columns are not those of {first}: {what}",
        at(path, 1),
        "Files that make one table must have the same columns in the same order.",
    )


def _json(name: str, source: Source, into: Path) -> Table:
    kinds = json_kinds(source.files)
    if not kinds.names:
        raise BadInput(
            "there are no rows, or only empty ones", str(source.files[0]), "Give at least one row."
        )
    rows = chain.from_iterable(json_batches(path, kinds) for path in source.files)
    return write_table(name, rows, kinds.schema(), into)


def _texts(name: str, source: Source, into: Path) -> Table:
    listing = Listing(source.base, source.files)
    rows: Iterator[pa.RecordBatch] = listing.batches()
    table = write_table(name, rows, WITH_REASONS, into, key=[FILE])
    return replace(table, schema=listing.schema())


def _parquet(name: str, source: Source, into: Path) -> Table:
    return parquet_table(name, source.files)


def _arrow(name: str, source: Source, into: Path) -> Table:
    return arrow_table(name, source.files)


COPIED = frozenset({"csv", "json", *FOREIGN})
"""Kinds of sources that are not needed any more once they are read."""

_SNAPSHOTS = ("csv", "json", "text", "documents")
_READERS: dict[str, Callable[[str, Source, Path], Table]] = {
    "csv": _csv,
    "json": _json,
    "text": _texts,
    "parquet": _parquet,
    "arrow": _arrow,
}
