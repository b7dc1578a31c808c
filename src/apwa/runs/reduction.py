"""Runs a reduce step: level by level through the executor, then one row a group as its table."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
from pyroaring import BitMap

from apwa.executor import StepJob, Work
from apwa.journal import StoredResult
from apwa.plan import Reduce, TemplateStep, answer_schema, canonical_values
from apwa.runs.closing import ERROR, STATUS, made_sensitive, reason
from apwa.runs.expand import Fit, fit_of, work_of
from apwa.runs.kept_answers import KeptAnswers, under_another_contract
from apwa.runs.reducing import (
    Item,
    Node,
    child_values,
    expected_nodes,
    finished,
    next_items,
    pack,
)
from apwa.runs.settling import Known, counts, piloted
from apwa.runs.specs import KeptSpec
from apwa.runs.state import StepState, save_state
from apwa.runs.walk import Closed, Stopped, Walk, digest
from apwa.tables import Table, count_tokens, key_text, plain_rows, write_table
from apwa.vocabulary import Values, WorkSpec
from apwa.vocabulary.events import AnswersReused, StepOpened

_CHUNK = 64  # nodes expanded at once: each may hold a fan-in of long items


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a reduce, in order of first appearance."""

    keys: list[str]  # for people: group values joined by "/"
    values: list[tuple[Any, ...]]  # as Arrow has them
    plain: list[Values]  # as workers see them


async def work_reduce(walk: Walk, name: str, step: TemplateStep) -> Closed:
    """Work a reduce step to its end. Raises Stopped."""
    desk = walk.desk
    assert step.reduce is not None
    source = walk.source(step.over)
    rows = await asyncio.to_thread(walk.sampled, step.over)
    spec = await desk.spec(name, step, walk.checked)
    state = walk.taken_up(name, step, spec)
    before = await under_another_contract(desk, walk.scope, step, spec)
    await desk.keep_spec(walk.scope, spec, step, source.table, state.prefixes)
    await asyncio.to_thread(desk.documents.ensure, source.table, rows)
    groups, items = await asyncio.to_thread(read_items, spec, source.table, rows, step.reduce)
    fit = fit_of(spec, await desk.context_of(step))
    level, nodes, expected = 1, 0, 0
    while not finished(items) or level == 1:
        slots = pack(items, level, step.reduce, nodes)
        new = [slot for slot in slots if isinstance(slot, Node)]
        nodes += len(new)
        if level == 1:
            expected = expected_nodes(slots, step.reduce)
            done = len(desk.reader.done(walk.scope, name) & BitMap(range(expected)))
            desk.emit(StepOpened(walk.scope, name, "reduce", expected, done))
        job = LevelJob(walk, spec, source.table, new, level, fit, step.reduce, groups, before)
        state = await job.work(state, max(nodes, expected))
        items = next_items(slots, job.results(), groups.keys)
        level += 1
    version = f"{state.template} {spec.prefix_hash.hex()} {source.version} {digest(rows)}"
    table = state.table_if(version)
    if table is None:
        into = desk.table_folder(walk.scope, name, state.number + 1)
        finals = job_results(walk, name, items)
        table = await asyncio.to_thread(
            close_reduce, spec, step.reduce, source.table, groups, items, finals, into
        )
    return await walk.close(name, table, state, version, BitMap(range(nodes)), nodes)


@dataclass(frozen=True, slots=True)
class LevelJob:
    """One level of a reduce, as work for the executor."""

    walk: Walk
    spec: WorkSpec
    table: Table
    nodes: Sequence[Node]
    level: int
    fit: Fit
    reduce: Reduce
    groups: Groups
    before: KeptSpec | None  # as it was before its contract was changed

    async def work(self, state: StepState, rows: int) -> StepState:
        """Work what of this level has no counting result. Raises Stopped."""
        desk, scope, name = self.walk.desk, self.walk.scope, self.spec.step
        ordinals = BitMap(node.ordinal for node in self.nodes)
        stale, current = await asyncio.to_thread(self._held_against, state, ordinals)
        state = state.content_with(current).wanting(stale, desk.reader.generations(scope, name))
        todo = ordinals - state.standing(desk.reader, scope, name, ordinals).settled
        if not todo:
            return state
        state = state.opened()
        await save_state(desk.journal, scope, name, state)
        before = state.standing(desk.reader, scope, name, BitMap(range(rows)))
        batches = self._expand(todo, state)
        kept = await self._kept_answers(todo - BitMap(state.again))
        if kept is not None:
            batches = kept.answering(batches)
        end = await desk.executor.run_step(
            StepJob(
                scope=scope,
                spec=self.spec,
                rows=rows,
                todo=todo,
                expand=batches,
                done=len(before.done),
                quarantined=len(before.quarantined),
                known=await asyncio.to_thread(self._known, todo, state),
                share=desk.shareable(self.spec),
                hidden=bool(made_sensitive(self.spec, self.table)),
            )
        )
        if kept is not None and kept.accepted:
            desk.emit(AnswersReused(name, kept.accepted, len(todo)))
        if end.paused and not desk.finishing:
            raise Stopped(end.paused)
        return state

    def _known(self, todo: BitMap, state: StepState) -> Known:
        known = piloted(self.walk.desk.reader, self.walk.scope, self.spec.step)
        if known:
            for works in self._expand(todo & BitMap(state.again), state):
                for work in works:
                    known.pop(work.reuse_key, None)
        return known

    def results(self) -> dict[int, StoredResult]:
        return _results(self.walk, self.spec.step, [node.ordinal for node in self.nodes])

    def _expand(self, todo: BitMap, state: StepState) -> Iterator[list[Work]]:
        nodes = [node for node in self.nodes if node.ordinal in todo]
        for start in range(0, len(nodes), _CHUNK):
            some = nodes[start : start + _CHUNK]
            yield [
                work_of(
                    self.spec, n.ordinal, state.wanted.get(n.ordinal, 0), values, self.fit, None
                )
                for n, values in zip(some, self._values(some), strict=True)
            ]

    def _held_against(self, state: StepState, ordinals: BitMap) -> tuple[BitMap, BitMap]:
        """Nodes with a result, in two: whose request is not the one that was answered (an item
        below has changed), and whose is."""
        reader, scope, step = self.walk.desk.reader, self.walk.scope, self.spec.step
        some = ordinals & (reader.done(scope, step) | reader.quarantined(scope, step))
        current = self._answered(state.prefixes, some)
        return some - current, current

    async def _kept_answers(self, todo: BitMap) -> KeptAnswers | None:
        """What was answered under another contract, of nodes whose items are still the same."""
        if self.before is None:
            return None
        same = await asyncio.to_thread(self._answered, self.before.prefixes, todo)
        if not same:
            return None
        reader, scope = self.walk.desk.reader, self.walk.scope
        return KeptAnswers(reader, scope, self.spec, same, self.walk.desk.checks)

    def _answered(self, prefixes: Sequence[bytes], some: BitMap) -> BitMap:
        """Nodes of these whose result answers what is asked now, by one of the prefixes."""
        reader, scope, step = self.walk.desk.reader, self.walk.scope, self.spec.step
        found = BitMap()
        kept = {o: key for o, key in reader.reuse_keys(scope, step) if o in some} if some else {}
        nodes = [node for node in self.nodes if node.ordinal in kept]
        for start in range(0, len(nodes), _CHUNK):
            part = nodes[start : start + _CHUNK]
            for node, values in zip(part, self._values(part), strict=True):
                if counts(kept[node.ordinal], canonical_values(self.spec, values), prefixes):
                    found.add(node.ordinal)
        return found

    def _values(self, nodes: Sequence[Node]) -> list[Values]:
        """For each node its items, each a list in the order of the tags."""
        ordinals = sorted({child for node in nodes for child in node.children})
        columns = [tag.column for tag in self.spec.tags]
        if self.level == 1:
            rows: list[Values] = []
            for batch in self.table.take(ordinals, columns).combine_chunks().to_batches():
                rows += plain_rows(batch, columns)
            items = dict(zip(ordinals, rows, strict=True))
            return [[[items[child] for child in node.children]] for node in nodes]
        found = _results(self.walk, self.spec.step, ordinals)
        values: list[Values] = []
        for node in nodes:
            head = dict(zip(self.reduce.by, self.groups.plain[node.group], strict=True))
            values.append([[child_values(found[c], columns, head) for c in node.children]])
        return values


def job_results(walk: Walk, name: str, items: Sequence[Item]) -> dict[int, StoredResult]:
    return _results(walk, name, [item.ordinal for item in items if item.ordinal >= 0])


def _results(walk: Walk, step: str, ordinals: Sequence[int]) -> dict[int, StoredResult]:
    if not ordinals:
        return {}
    wanted = BitMap(ordinals)
    return {
        result.ordinal: result
        for result in walk.desk.reader.results(walk.scope, step, wanted.min(), wanted.max() + 1)
        if result.ordinal in wanted
    }


def read_items(
    spec: WorkSpec, table: Table, rows: BitMap, reduce: Reduce
) -> tuple[Groups, list[Item]]:
    """The source rows as items: their group and their size. Rows that take no part are left out."""
    by = list(reduce.by)
    columns = [tag.column for tag in spec.tags]
    groups = Groups([], [], [])
    numbers: dict[tuple[Any, ...], int] = {}
    items: list[Item] = []
    for first, batch in table.batches(list(dict.fromkeys([*by, *columns]))):
        inside = rows & BitMap(range(first, first + batch.num_rows))
        heads = _heads(batch, by)
        plain = plain_rows(batch, by)
        values = plain_rows(batch, columns)
        for ordinal in inside:
            head = heads[ordinal - first]
            if head not in numbers:
                numbers[head] = len(groups.keys)
                groups.keys.append(key_text(head) or "all")
                groups.values.append(head)
                groups.plain.append(plain[ordinal - first])
            size = sum(count_tokens(str(value)) for value in values[ordinal - first])
            items.append(Item(numbers[head], ordinal, size, 1))
    return groups, items


def _heads(batch: pa.RecordBatch, by: list[str]) -> list[tuple[Any, ...]]:
    """Each row's group values, as the column's own type has them."""
    if not by:
        return [()] * batch.num_rows
    columns = [batch.column(batch.schema.get_field_index(name)).to_pylist() for name in by]
    return list(zip(*columns, strict=True))


def close_reduce(
    spec: WorkSpec,
    reduce: Reduce,
    source: Table,
    groups: Groups,
    finals: Sequence[Item],
    results: dict[int, StoredResult],
    into: Any,
) -> Table:
    """Write one row a group: its values, the answer, how many items, and what is missing."""
    answer = answer_schema(spec.contract)
    schema = pa.schema(
        [
            *(source.schema.field(column) for column in reduce.by),
            *answer,
            pa.field("items", pa.int64()),
            pa.field("missing", pa.list_(pa.string())),
            pa.field(STATUS, pa.string()),
            pa.field(ERROR, pa.string()),
        ]
    )
    hidden = bool(made_sensitive(spec, source))
    rows = [
        _row(item, groups, reduce, results, hidden=hidden)
        for item in sorted(finals, key=lambda i: i.group)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    key = tuple(reduce.by)
    sensitive = made_sensitive(spec, source) | (source.sensitive & set(key))
    if source.sensitive & set(key):
        sensitive |= {"missing"}  # it names groups
    return write_table(
        spec.step, iter([batch]), schema, into, key=key, source="reduce", sensitive=sensitive
    )


def _row(
    item: Item,
    groups: Groups,
    reduce: Reduce,
    results: dict[int, StoredResult],
    *,
    hidden: bool,
) -> dict[str, Any]:
    result = results.get(item.ordinal)
    row: dict[str, Any] = dict(zip(reduce.by, groups.values[item.group], strict=True))
    row |= {"items": item.items, "missing": list(item.missing)}
    if result is not None and result.kind is None:
        return row | msgspec.json.decode(result.answer) | {STATUS: "done", ERROR: None}
    if result is not None:
        return row | {STATUS: "quarantined", ERROR: reason(result, hidden=hidden)}
    return row | {STATUS: "skipped", ERROR: "every part of this group is missing"}
