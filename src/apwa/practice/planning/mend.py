"""Mending steps: after the plan's problems, and after rows that failed in a pilot."""

from __future__ import annotations

import copy
import re
from typing import Any, cast

Step = dict[str, Any]

_LOOSER_OUTPUT_TOKENS = 8_192
_LOOSENED = ("str", "int", "float", "bool", "date")


def mend_problems(steps: dict[str, Step], problems: str) -> dict[str, Step]:
    """The steps that change so that the problems may go; empty if nothing can be done."""
    changed: dict[str, Step] = {}
    for name, step in steps.items():
        own = "\n".join(
            line for line in problems.splitlines() if re.search(rf"\b{re.escape(name)}\b", line)
        )
        if not own or "template" not in step:
            continue
        mended = copy.deepcopy(step)
        for field in re.findall(r"'(\w+)' is already", own):
            _rename(mended, field, f"new_{field}")
        for part in ("quotes", "redacts", "checks", "grant", "limits"):
            if re.search(rf"\b{part}\b", own):
                mended.pop(part, None)
        if mended != step:
            changed[name] = mended
    return changed


def _rename(step: Step, old: str, new: str) -> None:
    contract = cast("dict[str, Any]", step.get("contract") or {})
    step["contract"] = {new if key == old else key: value for key, value in contract.items()}
    quotes = cast("dict[str, str]", step.get("quotes") or {})
    if quotes:
        step["quotes"] = {re.sub(rf"^{old}\b", new, path): c for path, c in quotes.items()}
    step["template"] = re.sub(rf"\b{old}:", f"{new}:", str(step["template"]))


def mend_failures(step: Step, failures: str) -> Step | None:
    """A looser step after failures that a looser contract would have let pass; else None."""
    mended = copy.deepcopy(step)
    if re.search(r"^- cut_off", failures, re.M):
        limits = cast("dict[str, Any]", mended.get("limits") or {})
        mended["limits"] = {**limits, "output_tokens": _LOOSER_OUTPUT_TOKENS}
    if re.search(r"^- (contract|empty)", failures, re.M):
        if re.search(r"copied|quote|word for word|does not occur|not found in", failures, re.I):
            mended.pop("quotes", None)
        mended.pop("checks", None)
        held = cast("dict[str, Any]", step.get("redacts") or {})  # never loosened: it would leak
        if "reduce" not in step:
            mended["contract"] = {
                name: f"{kind}?" if kind in _LOOSENED and name not in held else kind
                for name, kind in cast("dict[str, Any]", step["contract"]).items()
            }
    return mended if mended != step else None
