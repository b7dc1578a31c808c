"""Spending as the journal keeps it: open blocks, and one row for all else of a holder.

A block is a row without ``spent`` while it is open, and then counts whole. What closed blocks
have spent, and what was spent without any, is added up in one closed row for each holder and
epoch, in the transaction that closes or records: so the rows do not grow with the time that a
run takes, and a kill between any two statements leaves the block open or its spending added.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from apwa.journal.store import Connection
from apwa.vocabulary import Usage

encode_usage = msgspec.json.encode
decode_usage = msgspec.json.Decoder(Usage).decode


class Spending:
    """Writes the spending of one driver, inside of transactions that the caller begins and ends."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, Usage]] = {}  # holder -> its closed row, and what it says

    def forget(self) -> None:
        """A transaction has failed, or nobody knows: what its rows hold now is unknown.

        Each holder then gets a new row, which is right either way.
        """
        self._rows.clear()

    def open(self, connection: Connection, holder: str, limit: Usage) -> int:
        return connection.number(
            "INSERT INTO blocks (holder, reserved) VALUES (?, ?) RETURNING id",
            (holder, encode_usage(limit)),
        )

    def close(self, connection: Connection, block: int, spent: Usage) -> None:
        """Close a block that is open yet, and add it to the holder's closed row."""
        found = connection.all("SELECT holder FROM blocks WHERE id = ? AND spent IS NULL", (block,))
        if not found:
            return
        holder: str = found[0][0]
        row, before = self._rows.get(holder, (block, Usage()))
        total = before + spent
        stays = max(row, block)  # never the newest row goes: SQLite would give its number again
        if row != block:
            connection.run("DELETE FROM blocks WHERE id = ?", (min(row, block),))
        connection.run("UPDATE blocks SET spent = ? WHERE id = ?", (encode_usage(total), stays))
        self._rows[holder] = stays, total

    def add(self, connection: Connection, spent: Mapping[str, Usage]) -> None:
        """Add spending that no block was opened for, of all holders in a statement or two."""
        old: list[object] = []
        new: list[object] = []
        for holder, usage in spent.items():
            if holder in self._rows:
                row, before = self._rows[holder]
                self._rows[holder] = row, before + usage
                old += [row, holder, encode_usage(Usage()), encode_usage(before + usage)]
            else:
                new += [holder, encode_usage(Usage()), encode_usage(usage)]
        if old:
            connection.run(
                f"INSERT INTO blocks (id, holder, reserved, spent) VALUES {_places(4, old)}"
                " ON CONFLICT (id) DO UPDATE SET spent = excluded.spent",
                old,
            )
        if new:
            rows = connection.all(
                f"INSERT INTO blocks (holder, reserved, spent) VALUES {_places(3, new)}"
                " RETURNING holder, id",
                new,
            )
            self._rows |= {holder: (row, spent[holder]) for holder, row in rows}


def _places(columns: int, values: list[object]) -> str:
    one = f"({', '.join('?' * columns)})"
    return ", ".join([one] * (len(values) // columns))
