"""Rows that are too long for their model's context: how many there are, before they cost anything.

Counted as ``expand`` does when it refuses them: all rows up to the bounds up to which cards are
exact, else a seeded sample, which is said.
"""

from __future__ import annotations

import random

import msgspec
from pyroaring import BitMap

from apwa.plan import Reduce, TemplateStep, canonical_values, user_message
from apwa.runs.expand import Fit, values_of
from apwa.runs.reducing import Node, pack
from apwa.runs.reduction import read_items
from apwa.runs.walk import Walk
from apwa.tables import Documents, Table, count_tokens, is_small
from apwa.vocabulary import PILOT, ErrorKind, WorkSpec
from apwa.vocabulary.numbers import counted

_SAMPLE_ROWS = 2_000
_SAMPLE_FILES = 40  # each of which must be read


class LongRows(msgspec.Struct, frozen=True):
    """What is known of the lengths of a step's rows.

    Attributes:
        step: The step.
        rows: How many subtasks it has.
        too_long: How many of them do not fit.
        longest: Tokens of the longest that was counted.
        context: The model's, in tokens; None: unknown.
        room: Tokens that are left for a row; None: unknown.
        basis: What was counted, where that was not all rows.
        piloted: Whether only the rows of the pilot were looked at.
        reduce: Whether its subtasks combine rows.
    """

    step: str
    rows: int
    too_long: int
    longest: int
    context: int | None
    room: int | None
    basis: str = ""
    piloted: bool = False
    reduce: bool = False

    def words(self) -> str:
        """How many rows do not fit, what happens to them, and what to do; or that none is known."""
        counted = f" ({self.basis})" if self.basis else ""
        what = "subtasks" if self.reduce else "rows"
        if self.context is None or self.room is None:
            return (
                f"Step {self.step}: the model's context is unknown, so {what} that are too long for"
                f" it show only when it refuses them; the longest has {self.longest:,} tokens"
                f"{counted}. Give it with --context."
            )
        if not self.too_long:
            return (
                f"Step {self.step}: all {what} fit the model's context; the longest has"
                f" {self.longest:,} tokens, and there is room for {self.room:,}{counted}."
            )
        one = self.too_long == 1
        mend = (
            "combine fewer rows at once (reduce.fan_in, or reduce.tokens)"
            if self.reduce
            else "cut the text into pieces in a query first, such as"
            f" chunk(text, {max(1, self.room * 4 // 5)})"
        )
        return (
            f"Step {self.step}: {self.too_long:,} of {self.rows:,} {what} {'is' if one else 'are'}"
            f" too long for the model's context of {self.context:,} tokens: there is room for"
            f" {self.room:,}, and the longest has {self.longest:,}{counted}."
            f" {'It is' if one else 'They are'} not sent but quarantined as"
            f" {ErrorKind.CONTEXT_TOO_LONG.value}. To work {'it' if one else 'them'} too, {mend},"
            " or take a model with a larger context, or lower limits.output_tokens."
        )


def look_for_long_rows(walk: Walk, step: TemplateStep, spec: WorkSpec, fit: Fit) -> LongRows:
    """Look at the rows that a template step ranges over in a walk.

    Of inputs, and of queries of inputs, these are all that the full run works; of tables that
    models make, a pilot has only its own.
    """
    table = walk.source(step.over).table
    piloted = not walk.is_free(step.over) and walk.scope == PILOT
    whole = not piloted and (step.reduce is None or is_small(table))
    rows = walk.allowed(step.over) if whole else walk.sampled(step.over)
    documents = walk.desk.documents
    if step.reduce is not None:
        documents.ensure(table, rows)
        look = long_nodes(spec, table, rows, fit, step.reduce)
    else:
        look = long_rows(spec, table, rows, fit, walk.desk.settings.seed, documents)
    if whole:
        return look
    basis = f"from {counted(len(rows), 'row')} of the pilot, the longest among them"
    return msgspec.structs.replace(look, basis=basis, piloted=True)


def long_rows(
    spec: WorkSpec,
    table: Table,
    rows: BitMap,
    fit: Fit,
    seed: int,
    documents: Documents | None = None,
) -> LongRows:
    """Look at the rows of a template step."""
    looked, basis = rows, ""
    most = _SAMPLE_ROWS if table.content is None else _SAMPLE_FILES
    if not is_small(table) and len(rows) > most:
        chosen = random.Random(f"{seed}:{len(rows)}").sample(range(len(rows)), most)
        looked = BitMap(rows[number] for number in chosen)
        basis = f"estimated from a sample of {most:,} rows"
    if documents is not None:
        documents.ensure(table, looked)
    found = longest = 0
    for _, values in values_of(spec, table, looked):
        size = len(canonical_values(spec, values))
        may_not_fit = fit.room is not None and size > fit.room
        if size <= longest and not may_not_fit:  # no text has more tokens than bytes
            continue
        tokens = count_tokens(user_message(spec, values)[0])
        longest = max(longest, tokens)
        found += may_not_fit and tokens > (fit.room or 0)
    too_long = round(found * len(rows) / max(1, len(looked)))
    return LongRows(spec.step, len(rows), too_long, longest, fit.context, fit.room, basis)


def long_nodes(spec: WorkSpec, table: Table, rows: BitMap, fit: Fit, reduce: Reduce) -> LongRows:
    """Look at the first level of a reduce: each of its subtasks holds several rows."""
    _, items = read_items(spec, table, rows, reduce)
    sizes = {item.ordinal: item.tokens for item in items}
    nodes = [slot for slot in pack(items, 1, reduce, 0) if isinstance(slot, Node)]
    tokens = [sum(sizes[child] for child in node.children) for node in nodes]
    too_long = 0 if fit.room is None else sum(count > fit.room for count in tokens)
    longest = max(tokens, default=0)
    return LongRows(
        spec.step, len(nodes), too_long, longest, fit.context, fit.room, "its first level",
        reduce=True,
    )  # fmt: skip
