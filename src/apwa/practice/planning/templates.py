"""Instructions and contracts for one kind of work over rows."""

from __future__ import annotations

import re
from typing import Any

from apwa.practice.planning.briefing import Briefing, mentions
from apwa.practice.planning.draft import CannotPlan, Draft, Step, free_name, own_words
from apwa.practice.planning.intent import Part, fields_in, label_in
from apwa.practice.planning.levels import bound_said


def template_for(
    briefing: Briefing, draft: Draft, part: Part, taken: list[str]
) -> tuple[Step, str]:
    """A template step for one kind of work, without ``over``, and what it does."""
    column = draft.text.name
    mark = f"{{{{{column}}}}}"
    own = own_words(part.clause, draft)
    match part.kind:
        case "redact":
            redacted, replaced = free_name("redacted", taken), free_name("replaced", taken)
            words = (
                f"{own} Replace each piece of personal data in {mark} by a tag in square brackets,"
                f" such as [NAME] or [EMAIL]; leave all else as it is. {redacted}: the whole text"
                f" so redacted. {replaced}: what was replaced, in order: text word for word, and"
                " its tag; empty if there was nothing."
            )
            step: Step = {
                "template": words,
                "contract": {redacted: "str", replaced: "list[{text: str, tag: str}]"},
                "redacts": {redacted: {"source": column, "replaced": f"{replaced}[].text"}},
            }
            return step, f"Personal data in {column} is replaced by tags."
        case "extract":
            return _extraction(part, column, own, taken)
        case "classify":
            return _labelling(part, column, own, taken)
        case "list":
            name = free_name(
                "items_found" if not re.search("keyword", part.clause) else "keywords", taken
            )
            step = {
                "template": f"{own} Work on {mark}. {name}: the list asked for, empty if none.",
                "contract": {name: "list[str]"},
            }
            return step, f"From {column}, lists are made."
        case "summarise":
            name = free_name("summary", taken)
            step = {
                "template": f"Summarise {mark} {bound_said(part.clause)}. {name}: the summary.",
                "contract": {name: "str"},
            }
            return step, f"{column} is summarised."
        case _:
            return _anything(briefing, draft, own, taken)


def _extraction(part: Part, column: str, own: str, taken: list[str]) -> tuple[Step, str]:
    names = fields_in(part.clause) or ["found"]
    contract: dict[str, str] = {}
    quotes: dict[str, str] = {}
    for said in names:
        name = free_name(said, taken)
        if re.search(r"total|amount|price|sum|cost|tax|balance", said):
            contract[name] = "float?"
        elif said.endswith("s") and re.search(
            r"names|people|places|dates|emails|items|numbers|companies|organisations|organizations",
            said,
        ):
            contract[name] = "list[str]"
            quotes[f"{name}[]"] = column
        elif re.search("date", said) and re.search(r"iso|yyyy-mm-dd", part.clause, re.I):
            contract[name] = "date?"
        else:
            contract[name] = "str?"
            quotes[name] = column
    words = (
        f"{own} From {{{{{column}}}}} take {', '.join(contract)}. Copy texts word for word; null"
        " (or an empty list) where the text does not say it; never invent."
    )
    step: Step = {"template": words, "contract": contract, "quotes": quotes}
    return step, f"From {column}, {', '.join(contract)} are taken."


def _labelling(part: Part, column: str, own: str, taken: list[str]) -> tuple[Step, str]:
    said, options = label_in(part.clause)
    name = free_name(said, taken)
    kind: Any = " | ".join(options) if options else "bool"
    if options and not all(re.fullmatch(r"[\w -]+", option) for option in options):
        raise CannotPlan("The choices of the label are not plain words.")
    which = "the one that fits best" if options else "true or false"
    words = f"{own} Judge {{{{{column}}}}}. {name}: {which}."
    return {"template": words, "contract": {name: kind}}, f"{column} is labelled with {name}."


def _anything(briefing: Briefing, draft: Draft, own: str, taken: list[str]) -> tuple[Step, str]:
    """A job of no known kind: do as it says, with one text as the answer."""
    shown = [n for n in draft.columns if mentions(briefing.job, n)] or [draft.text.name]
    marks = " ".join(f"{{{{{name}}}}}" for name in shown)
    if re.search(r"\b(calculat|comput|evaluat|work out|sum)\w*", briefing.job, re.I):
        name = free_name("result", taken)
        step: Step = {"template": f"{own} Work on {marks}. {name}: the number that comes out.",
                      "contract": {name: "float"}}  # fmt: skip
    else:
        name = free_name("answer", taken)
        step = {"template": f"{own} Work on {marks}. {name}: the answer for this item.",
                "contract": {name: "str"}}  # fmt: skip
    for capability in ("calculator", "lookup"):
        if re.search(rf"^- {capability}:", briefing.capabilities, re.M):
            step["grant"] = {capability: {}}
            break
    return step, "Each row is worked as the job says."
