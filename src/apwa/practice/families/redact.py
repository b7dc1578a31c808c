"""Replace personal data by tags, and list what was replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apwa.practice.families.pii import Span, find_personal_data

TAGS: Mapping[str, tuple[str, ...]] = {
    "PERSON": ("NAME", "PERSON", "PERSON_NAME", "FULL_NAME"),
    "EMAIL": ("EMAIL", "EMAIL_ADDRESS", "E-MAIL", "MAIL"),
    "URL": ("URL", "WEBSITE", "DOMAIN", "DOMAIN_NAME", "LINK"),
    "IBAN": ("IBAN", "IBAN_CODE", "BANK_ACCOUNT", "ACCOUNT"),
    "IP": ("IP", "IP_ADDRESS"),
    "DATE": ("DATE", "DATE_TIME", "DATE_OF_BIRTH"),
    "SSN": ("SSN", "US_SSN", "SOCIAL_SECURITY_NUMBER"),
    "CARD": ("CREDIT_CARD", "CARD", "CARD_NUMBER", "CREDIT_CARD_NUMBER"),
    "ID": ("ID", "ID_NUMBER", "US_DRIVER_LICENSE", "DRIVER_LICENSE", "LICENSE", "PASSPORT"),
    "ADDRESS": ("ADDRESS", "STREET_ADDRESS", "LOCATION"),
    "PHONE": ("PHONE", "PHONE_NUMBER", "TELEPHONE"),
    "AGE": ("AGE",),
    "ZIP": ("ZIP", "ZIP_CODE", "POSTAL_CODE", "ADDRESS", "LOCATION"),
    "LOCATION": ("LOCATION", "GPE", "PLACE", "CITY", "COUNTRY", "ADDRESS"),
    "ORGANIZATION": ("ORGANIZATION", "ORGANISATION", "ORG", "COMPANY"),
    "TITLE": ("TITLE", "JOB_TITLE"),
    "NATIONALITY": ("NATIONALITY", "NRP", "NATIONALITY_OR_RELIGION"),
}
"""Names that people give a label's tag; the first is ours."""


@dataclass(frozen=True, slots=True)
class Replaced:
    text: str
    tag: str


@dataclass(frozen=True, slots=True)
class Redaction:
    redacted: str
    replaced: tuple[Replaced, ...]


def redact(text: str, allowed: Sequence[str] = (), instruction: str = "") -> Redaction:
    """Redact ``text``; tags are from ``allowed`` if given, else as the instruction has them."""
    pieces: list[str] = []
    replaced: list[Replaced] = []
    last = 0
    only = wanted_labels(instruction)
    found = [span for span in find_personal_data(text) if not only or span.label in only]
    for span in _everywhere(text, found):
        tag = tag_name(span.label, allowed, instruction)
        pieces += [text[last : span.start], f"[{tag.strip('[]')}]"]
        replaced.append(Replaced(text[span.start : span.end], tag))
        last = span.end
    pieces.append(text[last:])
    return Redaction("".join(pieces), tuple(replaced))


def _everywhere(text: str, found: Sequence[Span]) -> list[Span]:
    """The spans, and further places where the same words stand."""
    kinds = {name for names in TAGS.values() for name in names}
    spans = [
        span
        for span in found
        if span.end - span.start > 1 and text[span.start : span.end].upper() not in kinds
    ]
    labels = {text[span.start : span.end]: span.label for span in spans}
    for words in sorted(labels, key=len, reverse=True):
        name = words[0].isupper() and words.isalpha()
        for place in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.I):
            if name and place.group().islower():  # Mark is somebody, mark is not
                continue
            if all(place.end() <= s.start or s.end <= place.start() for s in spans):
                spans.append(Span(place.start(), place.end(), labels[words]))
    return sorted(spans, key=lambda span: span.start)


def tag_name(label: str, allowed: Sequence[str], instruction: str) -> str:
    """The tag for a label: the closed list's own word, or one that the instruction shows."""
    names = TAGS.get(label, (label,))
    plain = {re.sub(r"[^A-Z]+", "_", tag.upper()).strip("_"): tag for tag in allowed}
    for name in names:
        if name in plain:
            return plain[name]
    if allowed:
        return next(
            (plain[name] for name in ("OTHER", "MISC", "PII") if name in plain), allowed[-1]
        )
    shown = set(re.findall(r"\[([A-Z][A-Z_ -]+)\]", instruction))
    return next((name for name in names if name in shown), names[0])


_ONLY = re.compile(r"\bonly (?:the |all )?([a-z ,-]+)", re.I)


def wanted_labels(instruction: str) -> frozenset[str]:
    """Labels that an instruction narrows the work to (``only e-mail addresses``); else all."""
    match = _ONLY.search(instruction)
    if not match:
        return frozenset()
    said = match.group(1).upper().replace("-", "").replace("NAMES", "NAME")
    found = {
        label
        for label, names in TAGS.items()
        if any(name.replace("_", " ").replace("-", "") in said for name in names[:2])
    }
    return frozenset(found)
