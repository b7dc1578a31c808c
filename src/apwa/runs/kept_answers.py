"""Answers kept raw are tried under a changed contract before any call is made.

Where a mended plan changes nothing of a template but its contract (schema, checks, quotes), what a
row's worker said last is held against the new one: done rows and quarantined ones alike. Only rows
that still fail are asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec
from pyroaring import BitMap

from apwa.executor import Work
from apwa.journal import JournalReader, StoredResult
from apwa.plan import Contract, ContractBroken, TemplateStep
from apwa.runs.desk import Desk
from apwa.runs.expand import canonical_rows
from apwa.runs.settling import counts
from apwa.runs.specs import KeptSpec, kept_spec, task_of
from apwa.tables import Table
from apwa.vocabulary import PILOT, WorkSpec
from apwa.worker import Checks, Evaluator


async def under_another_contract(
    desk: Desk, scope: str, step: TemplateStep, spec: WorkSpec
) -> KeptSpec | None:
    """The step as it was before only its contract was changed, if it was; kept until it changes
    again, so that a run that is killed on the way goes on trying what was answered then."""
    name = f"before:{scope}:{spec.step}"
    last = kept_spec(desk.reader, scope, spec.step)
    if last is not None and only_contract_differs(last, step, spec):
        await desk.keep(name, last)
    else:
        last = desk.kept(name, KeptSpec)
        if last is None or not only_contract_differs(last, step, spec):
            return None
    if scope == PILOT and last.spec.model != spec.model:
        return None  # a pilot is there to try the model
    return last


def only_contract_differs(before: KeptSpec, step: TemplateStep, spec: WorkSpec) -> bool:
    """Whether a template asks what it asked before, under another contract."""
    old = before.spec
    return (
        before.task == task_of(step)
        and old.parameters == spec.parameters
        and old.tags == spec.tags
        and old.contract != spec.contract
    )


def unchanged(
    reader: JournalReader,
    scope: str,
    before: WorkSpec,
    prefixes: Sequence[bytes],
    table: Table,
    rows: BitMap,
) -> BitMap:
    """Rows with a result whose values are still those that were answered."""
    if not set(before.columns) <= set(table.schema.names):
        return BitMap()
    kept = dict(reader.reuse_keys(scope, before.step))
    rows = rows & BitMap(kept)
    return BitMap(
        ordinal
        for ordinal, canonical in canonical_rows(before, table, rows)
        if counts(kept[ordinal], canonical, prefixes)
    )


class KeptAnswers:
    """Tries the kept answers of a step on the way of its rows to the scheduler.

    Attributes:
        accepted: How many rows need no call.
    """

    def __init__(
        self, reader: JournalReader, scope: str, spec: WorkSpec, rows: BitMap, process: Evaluator
    ) -> None:
        self.accepted = 0
        self._reader = reader
        self._scope = scope
        self._spec = spec
        self._rows = rows
        self._contract = Contract(spec.contract, spec.columns)
        self._checks = Checks(spec, process) if spec.contract.checks else None
        self._loop = asyncio.get_running_loop()

    def answering(self, batches: Iterator[list[Work]]) -> Iterator[list[Work]]:
        """The same work, with its answer where a kept one does. Runs in a thread."""
        for batch in batches:
            tried = [w for w in batch if w.refused is None and w.ordinal in self._rows]
            answers = self._good(tried) if tried else {}
            self.accepted += len(answers)
            yield [
                replace(work, answered=answers[work.ordinal]) if work.ordinal in answers else work
                for work in batch
            ]

    def _good(self, works: Sequence[Work]) -> dict[int, StoredResult]:
        wanted = {work.ordinal: work for work in works}
        parsed: list[tuple[Work, StoredResult]] = []
        start, stop = works[0].ordinal, works[-1].ordinal + 1
        for result in self._reader.results(self._scope, self._spec.step, start, stop):
            work = wanted.get(result.ordinal)
            said = result.raw or result.answer.decode()
            if work is None or not said:
                continue
            try:
                _, answer = self._contract.parse(said, work.values)
            except ContractBroken:
                continue
            raw = "" if said.encode() == answer else said
            like = msgspec.structs.replace(result, kind=None, answer=answer, raw=raw, message="")
            parsed.append((work, like))
        if self._checks is not None and parsed:
            trying = self._failing(self._checks, parsed)
            failing = asyncio.run_coroutine_threadsafe(trying, self._loop).result()
            parsed = [pair for pair, bad in zip(parsed, failing, strict=True) if not bad]
        return {work.ordinal: result for work, result in parsed}

    async def _failing(
        self, checks: Checks, parsed: Sequence[tuple[Work, StoredResult]]
    ) -> list[bool]:
        broken = await asyncio.gather(
            *(checks.broken(work.values, result.answer) for work, result in parsed)
        )
        return [bool(some) for some in broken]
