"""Queries and checks, run in a child process that is started when first needed.

What the child does may be slow, greedy or stuck: a timer kills it, and the next call starts
another. Nothing of the run is in the child but the files of the tables that it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from apwa.tables.sql_rules import SqlProblem
from apwa.tables.table import Table
from apwa.vocabulary import Paused

_QUERY_S = 300.0
_CHECK_S = 30.0
_START_S = 60.0  # of the first call to a child, which imports DuckDB
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")  # never a key


class _Died(Exception):
    """The child ended before it answered."""


class _Late(Exception):
    """The child did not answer in time, and was killed."""


class _Child:
    """One child at a time, one call at a time; a child that dies is replaced."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self.pid = 0

    async def open(self) -> None:
        async with self._lock:
            await self._start()

    async def _start(self) -> None:
        if self._process is not None and self._process.returncode is None:
            return
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "apwa.tables.sql_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,  # an interrupt at the terminal is the parent's to handle
        )
        self.pid = self._process.pid
        await self._exchange({"work": "hello"}, _START_S)

    async def close(self) -> None:
        async with self._lock:
            await self._kill()

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()

    async def call(self, request: dict[str, Any], timeout_s: float) -> Any:
        """Raises SqlProblem, _Late, or _Died when two children in a row die of a call."""
        async with self._lock:
            try:
                await self._start()
                return await self._exchange(request, timeout_s)
            except _Died:  # perhaps it was dead before: once more
                await self._start()
                return await self._exchange(request, timeout_s)

    async def _exchange(self, request: dict[str, Any], timeout_s: float) -> Any:
        assert self._process is not None
        try:
            answer = await asyncio.wait_for(self._ask(self._process, request), timeout_s)
        except TimeoutError:
            await self._kill()
            raise _Late from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self._kill()
            raise _Died from error
        except BaseException:  # cancelled: its answer would be taken for that of the next call
            await self._kill()
            raise
        if "problem" in answer:
            raise SqlProblem(*answer["problem"])
        if "stop" in answer:
            raise Paused(*answer["stop"])
        if "defect" in answer:
            raise RuntimeError(answer["defect"])
        return answer["answer"]

    async def _ask(
        self, process: asyncio.subprocess.Process, request: dict[str, Any]
    ) -> dict[str, Any]:
        assert process.stdin is not None and process.stdout is not None
        data = msgspec.msgpack.encode(request)
        process.stdin.write(struct.pack(">I", len(data)) + data)
        await process.stdin.drain()
        (size,) = struct.unpack(">I", await process.stdout.readexactly(4))
        return msgspec.msgpack.decode(await process.stdout.readexactly(size))


class SqlProcess:
    """Runs the queries of plans: one SELECT each, over tables by name, the same bytes each time."""

    def __init__(self, timeout_s: float = _QUERY_S) -> None:
        self._child = _Child()
        self._timeout_s = timeout_s

    @property
    def pid(self) -> int:
        """The child's process id; 0 before there is one."""
        return self._child.pid

    async def start(self) -> None:
        """Start the child now, not at the first call."""
        await self._child.open()

    async def close(self) -> None:
        """End the child."""
        await self._child.close()

    async def shape(
        self, sql: str, schemas: Mapping[str, pa.Schema], key: Sequence[str] = ()
    ) -> pa.Schema:
        """The columns that a query will make. Raises SqlProblem for whatever is wrong with it."""
        packed = {name: schema.serialize().to_pybytes() for name, schema in schemas.items()}
        request = {"work": "shape", "sql": sql, "schemas": packed, "key": list(key)}
        return pa.ipc.read_schema(pa.py_buffer(await self._call(request)))

    async def run(
        self, sql: str, tables: Mapping[str, Table], into: Path, name: str, key: Sequence[str]
    ) -> Table:
        """Write a query's result as a table into a folder.

        Raises SqlProblem, or Paused on a full disk.
        """
        request = {
            "work": "run", "sql": sql, "tables": _handles(tables), "into": _absolute(into),
            "name": name, "key": list(key),
        }  # fmt: skip
        try:
            return Table.from_json(await self._call(request))
        except BaseException:
            _sweep(into)
            raise

    async def preview(self, sql: str, tables: Mapping[str, Table], rows: int) -> pa.Table:
        """The first rows of a query's result. Raises SqlProblem."""
        request = {"work": "preview", "sql": sql, "tables": _handles(tables), "rows": rows}
        with tempfile.TemporaryDirectory(prefix="apwa-") as spill:  # gone even if the child dies
            answer = await self._call({**request, "spill": spill})
        with pa.ipc.open_stream(answer) as reader:
            return reader.read_all()

    async def _call(self, request: dict[str, Any]) -> Any:
        try:
            return await self._child.call(request, self._timeout_s)
        except _Late:
            raise SqlProblem(f"the query took longer than {self._timeout_s:g} s") from None
        except _Died:
            raise SqlProblem("the query's process died, perhaps for want of memory") from None


class CheckProcess:
    """Tries contract checks: scalar conditions over ``input.x`` and ``output.y``."""

    def __init__(self, timeout_s: float = _CHECK_S) -> None:
        self._child = _Child()
        self._timeout_s = timeout_s

    @property
    def pid(self) -> int:
        """The child's process id; 0 before there is one."""
        return self._child.pid

    async def start(self) -> None:
        """Start the child now, not at the first call."""
        await self._child.open()

    async def close(self) -> None:
        """End the child."""
        await self._child.close()

    async def check_problem(
        self, check: str, input_schema: pa.Schema, output_schema: pa.Schema
    ) -> str | None:
        """What is wrong with a check, in words; None if nothing is."""
        request = {
            "work": "check_problem",
            "check": check,
            "input": input_schema.serialize().to_pybytes(),
            "output": output_schema.serialize().to_pybytes(),
        }
        try:
            await self._child.call(request, self._timeout_s)
        except SqlProblem as problem:
            return problem.message
        except (_Late, _Died):
            return "the check cannot be worked out"
        return None

    async def evaluate(
        self,
        checks: Sequence[str],
        inputs: pa.RecordBatch | pa.Table,
        outputs: pa.RecordBatch | pa.Table,
    ) -> list[list[bool]]:
        """For each row, which checks are true of it. Errors and nulls are not true.

        A batch that takes too long is tried row by row, and a row that alone does fails its checks.
        """
        if inputs.num_rows != outputs.num_rows:
            raise ValueError("inputs and outputs must have the same rows")
        if not checks or inputs.num_rows == 0:
            return [[] for _ in range(inputs.num_rows)]
        request = {
            "work": "evaluate", "checks": list(checks), "input": _packed(inputs),
            "output": _packed(outputs),
        }  # fmt: skip
        try:
            return await self._child.call(request, self._timeout_s)
        except (_Late, _Died, SqlProblem):
            if inputs.num_rows == 1:
                return [[False] * len(checks)]
        passed: list[list[bool]] = []
        for row in range(inputs.num_rows):
            passed += await self.evaluate(checks, inputs.slice(row, 1), outputs.slice(row, 1))
        return passed


def _absolute(path: Path) -> str:
    return str(path.absolute())


def _sweep(into: Path) -> None:
    """Remove what a child that was killed has left beside a table's folder."""
    for kind in ("begun-*", "spill"):
        for left in into.parent.glob(f"{into.name}.{kind}"):
            shutil.rmtree(left, ignore_errors=True)


def _handles(tables: Mapping[str, Table]) -> dict[str, bytes]:
    return {name: table.to_json() for name, table in tables.items()}


def _packed(rows: pa.RecordBatch | pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue().to_pybytes()
