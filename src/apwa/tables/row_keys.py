"""Checks that a table's row key names each row once, in memory of 16 bytes a row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from apwa.tables.table import Table, key_text, plain_rows
from apwa.vocabulary import BadInput


def check_keys(table: Table) -> None:
    """Raises BadInput for a key column that is not there, an empty key, or two rows with one."""
    if not table.key:
        return
    for column in table.key:
        if column not in table.schema.names:
            raise BadInput(
                f"there is no key column {column!r}",
                f"table {table.name}, {table.source}",
                f"Its columns are {_some(table.schema.names)}.",
            )
    digests = bytearray()
    for first, batch in table.batches(table.key):
        for number, values in enumerate(plain_rows(batch, table.key), first + 1):
            for column, value in zip(table.key, values, strict=True):
                if value is None or value == "":
                    raise BadInput(
                        f"row {number:,} has no value in the key column {column!r}",
                        f"table {table.name}, {table.source}",
                        "Fill it in, or leave --key out to name rows by position.",
                    )
            # as text, for so are keys written: 1/2 must not name two rows
            digests += hashlib.blake2b(key_text(values).encode(), digest_size=16).digest()
    pair = _first_pair(bytes(digests))
    if pair is not None:
        _refuse(table, *pair)


def check_sensitive(names: Sequence[str], sensitive: Sequence[str], where: str) -> None:
    """Raises BadInput for a sensitive column that is not there."""
    for column in sensitive:
        if column not in names:
            raise BadInput(
                f"there is no sensitive column {column!r}",
                where,
                f"Its columns are {_some(list(names))}.",
            )


def _first_pair(digests: bytes) -> tuple[int, int] | None:
    halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: equal keys stay in row order
    ordered = halves[order]
    same = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
    if len(same) == 0:
        return None
    at = same[np.argmin(order[same + 1])]
    return int(order[at]), int(order[at + 1])


def _refuse(table: Table, one: int, two: int) -> None:
    shown = "a key"
    if not table.sensitive.intersection(table.key):
        batch = table.take([one], table.key).combine_chunks().to_batches()[0]
        text = key_text(plain_rows(batch, table.key)[0])
        shown = f"the key {msgspec.json.encode(text[:80]).decode()}"
    raise BadInput(
        f"{shown} names two rows: {one + 1:,} and {two + 1:,}",
        f"table {table.name}, {table.source}",
        f"The key {', '.join(table.key)} must name each row once; choose other columns, or none.",
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name[:64]) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
