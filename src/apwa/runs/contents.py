"""Tables of documents as queries, cards and samples see them: what they look at is read first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
from pyroaring import BitMap

from apwa.runs.closing import select_rows, without_ending
from apwa.runs.desk import Desk
from apwa.tables import SqlProblem, Table, is_content, looked_at

_PREVIEWED = 200  # files that a preview reads of a table


async def read_for_cards(desk: Desk) -> None:
    """Read the few files of each table that its card is made from."""
    for table in desk.tables.values():
        if table.content is not None:
            await asyncio.to_thread(desk.documents.ensure, table, looked_at(table))


async def needs_content(desk: Desk, sql: str, tables: Mapping[str, Table]) -> bool:
    """Whether a query looks at what files hold: without it, it would be another query or none."""
    if all(table.content is None for table in tables.values()):
        return False
    schemas = {name: without_ending(table.schema) for name, table in tables.items()}
    bare = {
        name: schema if tables[name].content is None else _bare(schema)
        for name, schema in schemas.items()
    }
    try:
        return await desk.sql.shape(sql, schemas) != await desk.sql.shape(sql, bare)
    except SqlProblem:
        return True


def listing_of(table: Table) -> Table:
    """A table of documents without their contents."""
    return replace(table, schema=_bare(table.schema), content=None)


async def unread(desk: Desk, table: Table, rows: BitMap) -> dict[int, str]:
    """Those of these rows whose files cannot be read, with the reasons; all are read first."""
    if table.content is None:
        return {}
    await asyncio.to_thread(desk.documents.ensure, table, rows)
    broken = await asyncio.to_thread(desk.documents.broken, table)
    return {ordinal: reason for ordinal, reason in broken.items() if ordinal in rows}


async def whole(desk: Desk, name: str, table: Table, rows: BitMap) -> Table:
    """A table with the contents of these rows in its own files, for a query: rows that have been
    read and are not ``unread``, as queries see of a step only what is done."""
    return await asyncio.to_thread(select_rows, table, rows, desk.scratch(name))


async def previewed(
    desk: Desk, sql: str, tables: Mapping[str, Table]
) -> tuple[dict[str, Table], list[str]]:
    """Tables for a preview, and the names of those of which it sees a sample only."""
    documents = {name: table for name, table in tables.items() if table.content is not None}
    if not documents:
        return dict(tables), []
    if not await needs_content(desk, sql, tables):
        return {n: listing_of(t) if n in documents else t for n, t in tables.items()}, []
    found, sampled = dict(tables), list[str]()
    for name, table in documents.items():
        rows = await asyncio.to_thread(desk.documents.kept, table)
        if len(rows) < table.rows:
            rows |= looked_at(table)
            rows |= BitMap(range(min(table.rows, _PREVIEWED)))
        if len(rows) < table.rows:
            sampled.append(name)
        rows = rows - BitMap(await unread(desk, table, rows))
        found[name] = await whole(desk, f"preview-{name}", table, rows)
    return found, sampled


def _bare(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if not is_content(field)])
