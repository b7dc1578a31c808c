"""From a briefing to the steps of a plan."""

from __future__ import annotations

import re

from apwa.practice.planning.briefing import Briefing
from apwa.practice.planning.by_heart import from_nothing
from apwa.practice.planning.draft import Draft, query_step, sql_name
from apwa.practice.planning.intent import Part, parts_of
from apwa.practice.planning.levels import LONG_TOKENS, summaries
from apwa.practice.planning.sources import cut_in_pieces, groups_in, number_rows, take_source
from apwa.practice.planning.templates import template_for


def compose(briefing: Briefing) -> Draft:
    """The plan for a job. Raises CannotPlan."""
    if not briefing.tables:
        return from_nothing(briefing.job)
    draft = Draft()
    take_source(briefing, draft)
    parts = parts_of(briefing.job) or (Part("answer", briefing.job),)
    by = groups_in(briefing.job, draft)
    if [part.kind for part in parts] == ["summarise"]:
        summaries(briefing.job, draft, by)
    else:
        work(briefing, draft, parts, by)
    return draft


def work(briefing: Briefing, draft: Draft, parts: tuple[Part, ...], by: list[str]) -> None:
    if len(parts) > 1:
        number_rows(draft)
    elif draft.text.long_tokens > LONG_TOKENS:
        cut_in_pieces(draft, by)
    source, columns = draft.source, list(draft.columns)
    made: list[tuple[str, list[str]]] = []
    taken = list(columns)
    for part in parts:
        step, said = template_for(briefing, draft, part, taken)
        step["over"] = source
        fields = list(step["contract"])
        taken += fields
        made.append((draft.add(_STEP_NAMES.get(part.kind, "answers"), step, said), fields))
    if len(made) > 1:
        _join(draft, source, columns, made)
    labels = [f for (_, fields), part in zip(made, parts, strict=True) for f in fields
              if part.kind == "classify"]  # fmt: skip
    if labels:
        _after_labels(briefing.job, draft, labels[0], by)


_STEP_NAMES = {
    "redact": "redacted",
    "extract": "extracted",
    "classify": "labelled",
    "list": "listed",
    "summarise": "summarised",
}


def _join(draft: Draft, source: str, columns: list[str], made: list[tuple[str, list[str]]]) -> None:
    using = ", ".join(sql_name(name) for name in draft.key)
    shown = [f"{source}.{sql_name(name)}" for name in columns]
    shown += [f"{step}.{sql_name(name)}" for step, fields in made for name in fields]
    joins = "".join(f" LEFT JOIN {step} USING ({using})" for step, _ in made)
    order = ", ".join(f"{source}.{sql_name(name)}" for name in draft.key)
    query = f"SELECT {', '.join(shown)} FROM {source}{joins} ORDER BY {order}"
    said = f"Their results stand side by side, joined by {', '.join(draft.key)}."
    draft.add("joined", query_step(query, draft.key), said)


def _after_labels(job: str, draft: Draft, label: str, by: list[str]) -> None:
    if re.search(r"\b(count|how many|number of|share of|distribution|tally)\b", job, re.I):
        groups = ", ".join(sql_name(name) for name in [*by, label])
        query = (
            f"SELECT {groups}, count(*) AS n FROM {draft.answer} GROUP BY {groups}"
            f" ORDER BY {groups}"
        )
        draft.add("counts", query_step(query, [*by, label]), f"Rows are counted by {label}.")
