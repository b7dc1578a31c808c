"""The child process that runs queries and checks: reads requests from stdin, answers on stdout.

Each message is four bytes of length and a MessagePack map. The main thread does nothing but read,
so that the end of stdin, which is the end of the parent, ends this process at once, whatever a
query is doing.
"""

from __future__ import annotations

import os
import queue
import shutil
import struct
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from apwa.tables.check_rules import SIDES, check_condition
from apwa.tables.row_keys import check_keys
from apwa.tables.sql_database import Database, shortened
from apwa.tables.sql_rules import SqlProblem, Text
from apwa.tables.sql_types import brought, settled
from apwa.tables.table import Table, write_table
from apwa.vocabulary import BadInput, Paused, named

Request = dict[str, Any]
_small: list[Database] = []


def _database() -> Database:
    """The database for what holds no rows to speak of: made once."""
    if not _small:
        _small.append(Database())
    return _small[0]


def shape(request: Request) -> Any:
    schemas = {name: _schema(data) for name, data in request["schemas"].items()}
    empty = {name: schema.empty_table() for name, schema in schemas.items()}
    columns = {name: list(schema.names) for name, schema in schemas.items()}
    text = Text(request["sql"])
    database = _database()
    with database.tables(empty):
        sql = database.checked(text.sql, columns)
        with database.reader(sql, text) as reader:
            schema = settled(reader.schema, list(schemas.values()))
    _check_key_columns(schema, request["key"])
    return schema.serialize().to_pybytes()


def run(request: Request) -> Any:
    into = Path(request["into"])
    spill = into.with_name(f"{into.name}.spill")
    into.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = Text(request["sql"])
    try:
        with _filled(request, spill) as (database, tables):
            sql = database.checked(text.sql, _columns(tables))
            with database.reader(sql, text) as reader:
                schema = settled(reader.schema, [t.schema for t in tables.values()])
                _check_key_columns(schema, request["key"])
                batches = (brought(batch, schema) for batch in reader)
                table = write_table(
                    request["name"], batches, schema, into, key=request["key"], source="query"
                )
    finally:
        shutil.rmtree(spill, ignore_errors=True)
    try:
        check_keys(table)
    except BadInput as error:
        shutil.rmtree(into, ignore_errors=True)
        raise SqlProblem(f"{error.what}; choose key columns that name each row once") from error
    return table.to_json()


def preview(request: Request) -> Any:
    text = Text(request["sql"])
    with _filled(request, Path(request["spill"])) as (database, tables):
        sql = database.checked(text.sql, _columns(tables), limit=True)
        found: list[pa.RecordBatch] = []
        with database.reader(sql, text) as reader:
            schema = settled(reader.schema, [t.schema for t in tables.values()])
            left = int(request["rows"])
            for batch in reader:
                if left <= 0:
                    break
                found.append(brought(batch.slice(0, left), schema))
                left -= found[-1].num_rows
        return _packed(pa.Table.from_batches(found, schema))


@contextmanager
def _filled(request: Request, spill: Path) -> Generator[tuple[Database, dict[str, Table]]]:
    """A database of its own with the request's tables in it, which may spill to disk."""
    tables = {name: Table.from_json(data) for name, data in request["tables"].items()}
    database = Database(spill)
    try:
        with database.tables({name: table.dataset() for name, table in tables.items()}):
            yield database, tables
    finally:
        database.close()


def check_problem(request: Request) -> Any:
    schemas = {side: _schema(request[side]) for side in SIDES}
    database = _database()
    check = request["check"]
    columns = {side: list(schema.names) for side, schema in schemas.items()}
    check_condition(check, database.tree(f"SELECT (\n{check}\n)"), database.functions(), columns)
    pairs = _pairs({side: schema.empty_table() for side, schema in schemas.items()})
    with (
        database.tables({"pairs": pairs}),
        database.reader(f"SELECT (\n{check}\n) FROM pairs", Text(check)) as reader,
    ):
        kind = reader.schema.field(0).type
    if not pa.types.is_boolean(kind):
        raise SqlProblem(f"a check must be true or false, and this is {kind}")
    with (  # TRY refuses some of what a plain SELECT takes
        database.tables({"pairs": pairs}),
        database.reader(_passing([check]), Text(check)) as reader,
    ):
        reader.read_all()
    return None


def evaluate(request: Request) -> Any:
    pairs = _pairs({side: _unpacked(request[side]) for side in SIDES})
    checks: list[str] = request["checks"]
    database = _database()
    with (
        database.tables({"pairs": pairs}),
        database.reader(_passing(checks), Text("")) as reader,
    ):
        table = reader.read_all()
    columns = [table.column(number).to_pylist() for number in range(len(checks))]
    return [list(row) for row in zip(*columns, strict=True)]


def _passing(checks: list[str]) -> str:
    tried = (f"coalesce(TRY((\n{check}\n)), false) AS c{n}" for n, check in enumerate(checks))
    return f"SELECT {', '.join(tried)} FROM pairs"


def _pairs(sides: dict[str, pa.Table]) -> pa.Table:
    """One column of structs a side, so that ``input.x`` means a field of it."""
    columns: list[pa.Array] = []
    for side in SIDES:
        table = sides[side].combine_chunks()
        arrays = [
            c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in table.columns
        ]
        fields = list(table.schema.remove_metadata())
        if not fields:  # a struct needs a field
            arrays, fields = [pa.nulls(table.num_rows, pa.bool_())], [pa.field("", pa.bool_())]
        columns.append(pa.StructArray.from_arrays(arrays, fields=fields))
    return pa.table(columns, names=list(SIDES))


def _columns(tables: dict[str, Table]) -> dict[str, list[str]]:
    return {name: list(table.schema.names) for name, table in tables.items()}


def _check_key_columns(schema: pa.Schema, key: list[str]) -> None:
    for column in key:
        if column not in schema.names:
            shown = ", ".join(schema.names)
            raise SqlProblem(f"the query makes no key column {column!r}; it makes: {shown}")


def _schema(data: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(data))


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _unpacked(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def hello(request: Request) -> Any:
    """The first word: this process has started."""
    return None


_WORK = {
    "hello": hello,
    "shape": shape,
    "run": run,
    "preview": preview,
    "check_problem": check_problem,
    "evaluate": evaluate,
}


def _answer(request: Request) -> dict[str, Any]:
    try:
        return {"answer": _WORK[request["work"]](request)}
    except SqlProblem as problem:
        return {"problem": [problem.message, problem.line, problem.column]}
    except Paused as stop:
        return {"stop": [stop.what, stop.where, stop.todo]}
    except OSError as error:
        stop = named(error)
        return {"stop": [stop.what, stop.where, stop.todo]}
    except (pa.ArrowException, MemoryError) as error:
        problem = shortened(error, Text(""))
        return {"problem": [problem.message, 0, 0]}
    except BaseException:
        return {"defect": traceback.format_exc()}


def _work(requests: queue.SimpleQueue[bytes], out: BinaryIO) -> None:
    while True:
        data = msgspec.msgpack.encode(_answer(msgspec.msgpack.decode(requests.get())))
        out.write(struct.pack(">I", len(data)) + data)
        out.flush()


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    pa.set_cpu_count(1)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_work, args=(requests, out), daemon=True).start()
    source = sys.stdin.buffer
    while len(head := source.read(4)) == 4:
        requests.put(source.read(struct.unpack(">I", head)[0]))
    os._exit(0)


if __name__ == "__main__":
    main()
