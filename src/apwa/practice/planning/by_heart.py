"""Jobs without tables: over a list known by heart, or one that the job writes out."""

from __future__ import annotations

import re

from apwa.practice.families.lore import members
from apwa.practice.planning.draft import CannotPlan, Draft, query_step
from apwa.practice.planning.intent import slug


def from_nothing(job: str) -> Draft:
    known = members(job)
    if known is None:
        raise CannotPlan(
            "There is no table, and the job does not name the things to work on. Give a table with"
            " --table, or list the items in the job (each of A, B and C)."
        )
    name, items = slug(known[0]) or "item", known[1]
    draft = Draft(columns=[name], key=[name])
    rows = [{name: item} for item in items]
    things = draft.add(
        f"{name}s", {"rows": rows, "key": [name]}, f"The {len(rows)} items are listed."
    )
    clauses = re.split(r",? and (?=a |an |the |then |also )|[.;]\s+", job)
    first = next((c for c in clauses if not re.search(r"\bcompar", c, re.I)), job).strip(" .")
    asked = _with_placeholder(first, known[0], name, items)
    if "{{" not in asked:
        asked = f"{asked}: {{{{{name}}}}}"
    written = draft.add(
        "pages",
        {
            "template": f"{asked}. text: what you write.",
            "over": things,
            "contract": {"text": "str"},
        },
        "Each is written about.",
    )
    if re.search(r"\bcompar|\boverview of all|\bsummary of all|\boverall\b", job, re.I):
        compared = draft.add(
            "comparison",
            {
                "template": "Compare all of these with each other, on one page: {{text}}. text: the"
                " comparison, with each one named.",
                "over": written,
                "contract": {"text": "str"},
                "reduce": {"by": []},
            },
            "All are compared with each other.",
        )
        query = (
            f"SELECT 'each' AS part, {name}, text FROM {written} UNION ALL"
            f" SELECT 'comparison' AS part, 'all' AS {name}, text FROM {compared}"
            f" ORDER BY part DESC, {name}"
        )
        draft.add(
            "report", query_step(query, ["part", name]), "Pages and comparison make the report."
        )
    return draft


def _with_placeholder(clause: str, said: str, name: str, items: tuple[str, ...]) -> str:
    """The clause with a placeholder where it speaks of the list, or writes it out."""
    listed = re.escape(items[0]) + r".*" + re.escape(items[-1])
    each = r"(?:each|every|all|the|following)(?: of)?(?: the)? "
    pattern = rf"\b(?:{each})?(?:{listed}|(?:\w+ )?{re.escape(said)}s?)(?!\w)"
    return re.sub(pattern, f"{{{{{name}}}}}", clause, count=1, flags=re.I | re.S)
