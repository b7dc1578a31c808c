"""Lists of short texts: keywords, people, places, steps, lines of an enumeration."""

from __future__ import annotations

import re
from collections import Counter

from apwa.practice.families.pii import find_personal_data
from apwa.practice.families.summarise import clip, rank, split_sentences
from apwa.practice.words import words

_LABELS = (
    (r"people|person|name|who|speaker|author", ("PERSON",)),
    (r"place|location|countr|cit(y|ies)|region|nation", ("LOCATION",)),
    (r"organi[sz]ation|compan|institution", ("ORGANIZATION",)),
    (r"date|time|when|year", ("DATE",)),
    (r"e-?mail", ("EMAIL",)),
    (r"phone|tel", ("PHONE",)),
    (r"url|link|website", ("URL",)),
    (r"address", ("ADDRESS",)),
    (r"entit", ("PERSON", "LOCATION", "ORGANIZATION")),
)
_SENTENCES = (
    r"point|fact|finding|takeaway|sentence|quote|evidence|claim|decision|action|reason|event"
)


def list_items(text: str, name: str, most: int = 8) -> list[str]:
    """Items of the kind that the field's name asks for; may be none."""
    for pattern, labels in _LABELS:
        if re.search(pattern, name):
            spans = find_personal_data(text[:50_000])
            return _once([text[s.start : s.end] for s in spans if s.label in labels])[:most]
    if re.search(_SENTENCES, name):
        sentences = split_sentences(text)
        return [sentences[at] for at in sorted(rank(sentences, name)[: min(most, 4)])]
    marked = re.findall(r"^[ \t]*(?:[-*•]|\d+[.)])\s+(.+)$", text, re.M)
    if marked and re.search(r"step|item|list|line|product|ingredient|task", name):
        return _once([clip(item.strip(), 200) for item in marked])[:most]
    if re.search(r"item|product|line", name):
        priced = re.findall(r"^(.*[A-Za-z]{3}.*?)\s+\$?\d+\.\d{2}\b", text, re.M)
        return _once([clip(item.strip(), 120) for item in priced])[:most]
    return keywords(text, min(most, 6))


def keywords(text: str, most: int) -> list[str]:
    """The words used most that carry something, longer ones first among equals."""
    found = re.findall(r"[^\W\d_][\w'’-]{3,}", text.lower()[:200_000])
    counts = Counter(word for word in found if word not in words("stopwords"))
    order = sorted(counts, key=lambda word: (-counts[word], -len(word), word))
    return order[:most]


def _once(items: list[str]) -> list[str]:
    return list(dict.fromkeys(item for item in items if item))
