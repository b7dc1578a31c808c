"""Whether a text speaks well or ill of its matter: two word lists and negation."""

# Long lists read better as one text.
# ruff: noqa: SIM905

from __future__ import annotations

import re

from apwa.practice.words import words

_NEGATIONS = frozenset("not no never n't neither nor without hardly barely cannot".split())
_TURNS = frozenset({"but", "however", "although", "though", "yet"})


def tone(text: str) -> float:
    """Above 0 for praise, below 0 for blame, 0 for neither. What follows a ``but`` weighs more."""
    score, weight, negated = 0.0, 1.0, 0
    for word in re.findall(r"n't|[^\W\d_][\w'’-]*", text.lower().replace("n't", " n't")):
        if word in _TURNS:
            weight *= 1.5
        value = _value(word)
        if value:
            score += (-0.7 if negated else 1.0) * value * weight
        negated = 4 if word in _NEGATIONS else max(0, negated - 1)
    return score


def _value(word: str) -> float:
    for form in (word, word.removesuffix("s"), word.removesuffix("ly"), word.removesuffix("ed")):
        if form in words("positive"):
            return 1.0
        if form in words("negative"):
            return -1.0
    if word.endswith("less") and len(word) > 6:
        return -0.5
    return 0.0
