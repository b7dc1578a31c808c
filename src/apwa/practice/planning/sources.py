"""The table to work on: joined, numbered, dated or cut in pieces where the job needs it."""

from __future__ import annotations

import re

from apwa.practice.planning.briefing import Briefing, Column, TableBrief
from apwa.practice.planning.draft import CannotPlan, Draft, free_name, query_step, sql_name

_PIECE_TOKENS = 2_000


def take_source(briefing: Briefing, draft: Draft) -> None:
    """Settle on one table: the only one, or what the tables make together."""
    first = briefing.tables[0]
    text = _text_of(briefing, first)
    draft.source, draft.columns, draft.key = first.name, list(first.names), list(first.key)
    draft.text = text
    for other in briefing.tables[1:]:
        _take_in(other, draft)
        other_text = other.main_text(briefing.job)
        if other_text and other_text.usual_tokens > draft.text.usual_tokens:
            draft.text = other_text


def _text_of(briefing: Briefing, table: TableBrief) -> Column:
    text = table.main_text(briefing.job)
    if text is None:
        raise CannotPlan(f"The table {table.name} has no columns to work on.")
    return text


def _take_in(other: TableBrief, draft: Draft) -> None:
    shared = [name for name in draft.columns if name in other.names]
    if set(other.names) == set(draft.columns):
        listed = ", ".join(sql_name(name) for name in draft.columns)
        query = f"SELECT {listed} FROM {draft.source} UNION ALL SELECT {listed} FROM {other.name}"
        said = f"{draft.source} and {other.name} are put one under the other."
        draft.key = []
    elif shared:
        on = next((name for name in shared if name in (*other.key, *draft.key)), shared[0])
        more = [name for name in other.names if name not in shared]
        listed = ", ".join(
            [f"a.{sql_name(n)}" for n in draft.columns] + [f"b.{sql_name(n)}" for n in more]
        )
        both = f"{draft.source} AS a JOIN {other.name} AS b USING ({sql_name(on)})"
        query = f"SELECT {listed} FROM {both}"
        said = f"{draft.source} and {other.name} are joined by {on}."
        draft.columns += more
        draft.key = draft.key if list(other.key) == [on] else []
    else:
        raise CannotPlan(
            f"The tables {draft.source} and {other.name} have no column in common, and the job does"
            " not say how they belong together. Give one table, or tables that share a column."
        )
    draft.source = draft.add("together", query_step(query, draft.key), said)


def number_rows(draft: Draft) -> None:
    """Give rows without a key a number, so that what is made of them can be joined."""
    if draft.key:
        return
    listed = ", ".join(sql_name(name) for name in draft.columns)
    number = free_name("row_number", draft.columns)
    query = (
        f"SELECT row_number() OVER (ORDER BY {listed}) AS {number}, {listed} FROM {draft.source}"
    )
    draft.source = draft.add(
        "numbered", query_step(query, [number]), "Rows get a number as their key."
    )
    draft.key, draft.columns = [number], [number, *draft.columns]


def cut_in_pieces(draft: Draft, carried: list[str]) -> None:
    """Long texts in pieces, keyed by document and part."""
    number_rows(draft)
    kept = list(dict.fromkeys([*draft.key, *carried]))
    listed = ", ".join(sql_name(name) for name in kept)
    text = sql_name(draft.text.name)
    query = (
        f"SELECT {listed}, unnest(range(1, len(pieces) + 1)) AS part, unnest(pieces) AS piece"
        f" FROM (SELECT {listed}, chunk({text}, {_PIECE_TOKENS}) AS pieces FROM {draft.source})"
    )
    said = f"Texts are cut into pieces of at most {_PIECE_TOKENS:,} tokens."
    draft.source = draft.add("pieces", query_step(query, [*draft.key, "part"]), said)
    draft.columns = [*kept, "part", "piece"]
    draft.text = Column("piece", "text", _PIECE_TOKENS, _PIECE_TOKENS)


def groups_in(job: str, draft: Draft) -> list[str]:
    """Columns by which the job wants its rows grouped; a period is made from a year."""
    match = re.search(
        r"\b(?:by|per|for each|for every|each|every)\s+(decade|century|year|period)\b", job, re.I
    )
    by: list[str] = []
    if match and match.group(1).lower() not in [name.lower() for name in draft.columns]:
        by.append(_add_period(match.group(1).lower(), draft))
    for name in draft.columns:
        spoken = re.escape(name).replace("_", "[ _-]")
        if name != draft.text.name and name not in by and name not in draft.key and re.search(
            rf"\b(?:by|per|for each|for every|within each|of each)\s+(?:the )?{spoken}\b", job, re.I
        ):  # fmt: skip
            by.append(name)
    return by


def _add_period(period: str, draft: Draft) -> str:
    holder = next((n for n in ("year", "date", "file", *draft.key) if n in draft.columns), "")
    if not holder:
        raise CannotPlan(f"No column tells the {period}: give one with a year or a date.")
    width = {"decade": 10, "century": 100, "period": 50}.get(period, 1)
    year = f"TRY_CAST(regexp_extract(CAST({sql_name(holder)} AS VARCHAR), '[0-9]{{4}}') AS BIGINT)"
    listed = ", ".join(sql_name(name) for name in draft.columns)
    query = f"SELECT {listed}, {year} // {width} * {width} AS {period} FROM {draft.source}"
    said = f"The {period} is read from {holder}."
    draft.source = draft.add("dated", query_step(query, draft.key), said)
    draft.columns.append(period)
    return period
