"""A dry run: what would be sent, and about what it would take, with no row worked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pyroaring import BitMap

from apwa.plan import TemplateStep, user_message
from apwa.runs.course import Course
from apwa.runs.expand import fit_of
from apwa.runs.long_rows import LongRows, long_rows
from apwa.tables import count_tokens, pilot_ordinals, plain_rows
from apwa.vocabulary import WorkSpec

_PROMPTS = 2
_SAMPLE = 50


@dataclass(frozen=True, slots=True)
class DryStep:
    """One template as it would be sent.

    Attributes:
        subtasks: How many; None where an earlier step decides.
        prompts: User messages of the first rows.
        input_tokens: Of all subtasks, one call each, estimated from a sample.
        most_output_tokens: The same with the output limit used up each time.
        cost_nusd: (at least, at most) of one call each; None if the price is unknown.
        long: What is known of rows that are too long; None where an earlier step makes the rows.
    """

    name: str
    system: str
    subtasks: int | None
    prompts: list[str]
    input_tokens: int
    most_output_tokens: int
    cost_nusd: tuple[int, int] | None
    long: LongRows | None = None


async def dry_run(course: Course) -> list[DryStep]:
    """Compile each template of the plan in force, and price it over the rows selected."""
    assert course.checked is not None
    steps: list[DryStep] = []
    selection = course.selection()
    for name in course.checked.order:
        step = course.checked.plan.steps[name]
        if not isinstance(step, TemplateStep):
            continue
        spec = await course.desk.spec(name, step, course.checked)
        table = course.desk.tables.get(step.over)
        if table is None or step.reduce is not None:
            steps.append(DryStep(name, spec.system, None, [], 0, 0, None))
            continue
        chosen = selection.get(step.over, BitMap(range(table.rows)))
        rows = len(chosen)
        fit = fit_of(spec, await course.desk.context_of(step))
        seed = course.desk.settings.seed
        long = await asyncio.to_thread(
            long_rows, spec, table, chosen, fit, seed, course.desk.documents
        )
        ordinals = pilot_ordinals(table, _SAMPLE, course.desk.settings.seed)
        await asyncio.to_thread(course.desk.documents.ensure, table, [*ordinals, *range(_PROMPTS)])
        sizes = [count_tokens(text) for text in _messages(spec, course, step.over, ordinals)]
        first = [] if table.sensitive else list(range(min(_PROMPTS, table.rows)))
        mean = sum(sizes) / len(sizes) if sizes else 0.0
        tokens = round((mean + count_tokens(spec.system)) * rows)
        most = spec.limits.output_tokens * rows
        cost = None
        if spec.price is not None:
            tier = spec.price.at(round(tokens / max(1, rows)))
            low = int(tokens * tier.input_nusd)
            cost = (low, low + int(most * tier.output_nusd))
        prompts = _messages(spec, course, step.over, first)
        steps.append(DryStep(name, spec.system, rows, prompts, tokens, most, cost, long))
    return steps


def _messages(spec: WorkSpec, course: Course, table: str, ordinals: list[int]) -> list[str]:
    if not ordinals:
        return []
    taken = course.desk.tables[table].take(ordinals, spec.columns)
    batches = taken.combine_chunks().to_batches()
    return [user_message(spec, v)[0] for b in batches for v in plain_rows(b, spec.columns)]
