"""Which results of a template step still count, and what is known of the rows to be worked anew.

A row's result counts while its reuse key is that of its request now, made with the template as it
stands (whatever the model). Else the row is wanted in a higher generation. That one rule serves
resume, retry, a mended template and a changed table alike. Where rows have only moved (a query
above lets one row more through), what is already answered is found by its reuse key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyroaring import BitMap

from apwa.journal import JournalReader, StoredResult
from apwa.runs.expand import canonical_rows
from apwa.runs.state import StepState
from apwa.tables import Table
from apwa.vocabulary import PILOT, RUN, WorkSpec, reuse_key

_MOST_MOVED = 20_000  # answers held in memory for rows that have moved

Known = dict[bytes, StoredResult]


def settle(
    reader: JournalReader,
    scope: str,
    spec: WorkSpec,
    table: Table,
    rows: BitMap,
    state: StepState,
) -> tuple[StepState, Known]:
    """Hold all results against the requests as they are now. Reads rows: not for the loop."""
    kept = dict(reader.reuse_keys(scope, spec.step))
    stale, current = BitMap(), BitMap()
    needed: set[bytes] = set()
    for ordinal, canonical in canonical_rows(spec, table, rows):
        have = kept.get(ordinal)
        if have is not None and counts(have, canonical, state.prefixes):
            current.add(ordinal)
            continue
        needed.add(reuse_key(spec.prefix_hash, canonical))
        if have is not None:
            stale.add(ordinal)
    state = state.content_with(current).wanting(stale, reader.generations(scope, spec.step))
    moved = BitMap([o for o, key in kept.items() if key in needed][:_MOST_MOVED])
    moved &= reader.done(scope, spec.step)
    known: Known = {}
    for ordinal in moved:
        for result in reader.results(scope, spec.step, ordinal, ordinal + 1):
            known[result.reuse_key] = result
    return state, known


def counts(have: bytes, canonical: bytes, prefixes: Sequence[bytes]) -> bool:
    """Whether a result with this reuse key answers the request, with any of these templates: one
    for each model that it has been worked with."""
    return any(reuse_key(prefix, canonical) == have for prefix in prefixes)


def piloted(reader: JournalReader, scope: str, step: str) -> Known:
    """What the pilot has answered, by reuse key: such rows cost nothing again."""
    if scope != RUN:
        return {}
    return {r.reuse_key: r for r in reader.results(PILOT, step) if r.kind is None}


def without_again(
    known: Known, spec: WorkSpec, table: Table, todo: BitMap, state: StepState
) -> Mapping[bytes, StoredResult]:
    """A row that a person wants anew gets a new answer, not the known one."""
    again = BitMap(state.again) & todo
    if known and again:
        for _, canonical in canonical_rows(spec, table, again):
            known.pop(reuse_key(spec.prefix_hash, canonical), None)
    return known
