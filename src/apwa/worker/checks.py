"""A contract's checks, tried over many answers at once: one query costs the same for all.

Answers that come within a few milliseconds of each other are tried together.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from apwa.plan import answer_schema, answers_to_arrow
from apwa.vocabulary import Values, WorkSpec

_MOST_ANSWERS = 256
_PATIENCE_S = 0.005

Waiting = tuple[Values, bytes, "asyncio.Future[list[bool]]"]


class Evaluator(Protocol):
    """What tries checks: ``apwa.tables.CheckProcess``."""

    async def evaluate(
        self, checks: Sequence[str], inputs: pa.RecordBatch, outputs: pa.RecordBatch
    ) -> list[list[bool]]:
        """For each row, which of the checks are true."""
        ...


class Checks:
    """The checks of one step.

    Args:
        spec: The step.
        process: The locked process that evaluates them.
    """

    def __init__(self, spec: WorkSpec, process: Evaluator) -> None:
        self._checks = spec.contract.checks
        self._process = process
        self._output = answer_schema(spec.contract)
        self._inputs = [
            (column, kind, spec.columns.index(column))
            for column, kind in spec.contract.input_types.items()
        ]
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._full = asyncio.Event()

    async def broken(self, values: Values, answer: bytes) -> list[str]:
        """The checks that are not true of an answer."""
        passed: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._waiting.append((values, answer, passed))
        if len(self._waiting) >= _MOST_ANSWERS:
            self._full.set()
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        verdicts = await passed
        return [c for c, true in zip(self._checks, verdicts, strict=True) if not true]

    async def _work(self) -> None:
        """Try what waits, batch after batch, until nothing does."""
        try:
            while self._waiting:
                await self._gather()
                batch = self._waiting[:_MOST_ANSWERS]
                del self._waiting[:_MOST_ANSWERS]
                await self._try(batch)
        finally:
            self._task = None

    async def _gather(self) -> None:
        if len(self._waiting) < _MOST_ANSWERS:
            self._full.clear()
            try:
                await asyncio.wait_for(self._full.wait(), _PATIENCE_S)
            except TimeoutError:
                return

    async def _try(self, batch: list[Waiting]) -> None:
        try:
            inputs = pa.record_batch(
                {"_row": pa.array(range(len(batch)), pa.int64())}
                | {
                    column: column_of([values[index] for values, _, _ in batch], kind)
                    for column, kind, index in self._inputs
                }
            )
            outputs = answers_to_arrow([answer for _, answer, _ in batch], self._output)
            verdicts = await self._process.evaluate(self._checks, inputs, outputs)
            for (_, _, passed), verdict in zip(batch, verdicts, strict=True):
                if not passed.done():
                    passed.set_result(verdict)
        except Exception as error:  # each of the batch shall hear of it
            for _, _, passed in batch:
                if not passed.done():
                    passed.set_exception(error)


def column_of(values: Sequence[Any], kind: str) -> pa.Array[Any]:
    """Plain values as a column of an Arrow type, named as Arrow writes it.

    Dates, times and decimals travel as text. An object is what its values say it is.
    """
    wanted = _type(kind)
    if wanted is None:
        return pa.array(values)
    try:
        return pa.array(values, wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array(values).cast(wanted)


def _type(kind: str) -> pa.DataType | None:
    if found := re.fullmatch(r"(?:large_)?list<\w+: (.+?)(?: not null)?>", kind):
        inner = _type(found[1])
        return None if inner is None else pa.list_(inner)
    if found := re.fullmatch(r"decimal\d+\((\d+), (-?\d+)\)", kind):
        return pa.decimal128(min(int(found[1]), 38), int(found[2]))
    if found := re.fullmatch(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]", kind):
        return pa.timestamp(found[1], found[2])
    try:
        return pa.type_for_alias(kind)
    except ValueError:
        return None
