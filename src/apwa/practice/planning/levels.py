"""Summaries of rows, of groups, of all: as many levels as the job wants."""

from __future__ import annotations

import re

from apwa.practice.planning.draft import Draft, free_name, own_words
from apwa.practice.planning.intent import slug
from apwa.practice.planning.sources import cut_in_pieces

LONG_TOKENS = 6_000  # texts above are worked in pieces


_WHOLE = re.compile(
    r"\b(all of (?:it|them|these|the)|everything|level by level|by levels|levels?|as a whole|"
    r"overall|in total|one summary|a single summary|the whole|(?:them|it) all|into one|across all|"
    r"all (?:the )?(?:\w+ )?together)\b",
    re.I,
)


_PIECES = re.compile(
    r"\b(?:three|3|four|4)[ -]levels?\b|\b(?:each|every) (?:part|piece|chunk|section)\b", re.I
)


def summaries(job: str, draft: Draft, by: list[str]) -> None:
    """A summary of each row, of each group, of all: as many levels as the job wants."""
    whole = _WHOLE.search(job) is not None
    long = draft.text.long_tokens > LONG_TOKENS or _PIECES.search(job) is not None
    carried = list(by)
    if long:
        cut_in_pieces(draft, carried)
        documents = [name for name in draft.columns if name not in ("part", "piece")]
    else:
        documents = []
    bound = bound_said(job)
    name = free_name("summary", draft.columns)
    own = "" if long or by or whole else own_words(job, draft) + " "
    template = {
        "template": f"{own}Summarise {{{{{draft.text.name}}}}} {bound}. {name}: the summary, in"
        " your own plain words, with nothing that the text does not say.",
        "over": draft.source,
        "contract": {name: "str"},
    }
    last = draft.add("summaries", template, f"Each {'piece' if long else 'row'} is summarised.")
    levels: list[list[str]] = [documents] if documents else []
    if by and by != documents:
        levels.append(by)
    if whole and (levels or not by):
        levels.append([])
    if whole and by and levels[-1] != []:
        levels.append([])
    for level in levels:
        of = " and ".join(level) or "everything"
        last = draft.add(
            f"by_{slug(level[0])}" if level else "of_all",
            {
                "template": f"Merge the summaries into one {bound}: {{{{{name}}}}}. {name}: one"
                " summary that keeps what matters most and says nothing new.",
                "over": last,
                "contract": {name: "str"},
                "reduce": {"by": level},
            },
            f"The summaries are merged by {of}." if level else "They are merged into one.",
        )


def bound_said(job: str) -> str:
    match = re.search(
        r"\b(?:in|within|into|of|to|under|using)?\s*(?:at most |no more than |about |exactly )?"
        r"(?:under )?(?:\d+|one|two|three|four|five|six|ten|a single)[ -](?:\w+ )?"
        r"(?:sentences?|words?|paragraphs?)\b",
        job,
        re.I,
    )
    if match:
        said = match.group().strip()
        return said if re.match(r"in|within|into|of|to|under|using", said) else f"in {said}"
    return "in at most three sentences"
