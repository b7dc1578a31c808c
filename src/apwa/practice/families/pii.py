"""Finding personal data in a text by patterns, word lists and the words around.

Numbers with a form (cards, IBANs, addresses of the net) are found well; names and places only
where a list or a neighbouring word gives them away. ``docs/practice-model.md`` has figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from apwa.practice.families.names import named_spans


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of personal data: where it stands, and its label in capitals."""

    start: int
    end: int
    label: str


_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATE = (
    r"\b\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2})?)?\b"
    r"|\b\d{1,2}[/.-]\d{1,2}[/.-](?:19|20)?\d{2}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}\.?,? (?:19|20)\d{{2}}\b"
    rf"|\b{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d{{2}}\b"
    r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b"
    r"|\b(?:in|since|from|of|until|year) ((?:19|20)\d{2})\b"
)
_STREET_END = (
    r"(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|court|ct|boulevard|blvd|way|square|place|pl|"
    r"terrace|crescent|close|hill|gardens|grove|parkway|highway|hwy|flat|fort|circle|streets|squares|"
    r"stra[sß]+e|strasse|gasse|weg|platz|allee|gade|gata|gatan|vej|vei|veien|katu|tie|laan|straat|"
    r"plein|út|utca|u|ulica)"
)
_STREET_START = (
    r"(?:rue|avenue|boulevard|place|chemin|via|viale|piazza|corso|calle|avenida|avda|plaza|paseo|"
    r"rua|travessa|largo|ul\.?|ulica|jalan|jln|lorong|camiño|c/)"
)
_W = r"[^\W\d_][\w.'’-]{0,40}"  # bounded: a text that is one endless word costs no more

# In order: an earlier pattern keeps what it has found from the later ones.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (label, re.compile(pattern, flags))
    for label, pattern, flags in (
        ("EMAIL", r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", 0),
        ("URL", r"\bhttps?://[^\s<>\"')\]]+|\bwww\.[^\s<>\"')\]]+", re.I),
        ("IBAN", r"\b[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){3,7}(?: ?[a-z0-9]{1,3})?\b", re.I),
        ("IP", r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9a-f]{1,4}:){5,7}[0-9a-f]{1,4}\b", re.I),
        ("DATE", _DATE, re.I),
        ("SSN", r"\b\d{3}-\d{2}-\d{4}\b|(?<=ssn )\d{9}\b|(?<=ssn: )\d{9}\b", re.I),
        ("CARD", r"\b(?:\d[ -]?){12,18}\d\b", 0),
        (
            "ID",
            r"(?:licen[cs]e|passport|driver'?s?|id|dl|member)(?: (?:number|no\.?|id|is|card))*"
            r"[:# ]+"
            r"([a-z]{0,2}\d[\da-z-]{4,14})\b",
            re.I,
        ),
        ("ADDRESS", r"\bPSC \d+,? Box \d+(?:\s+[AF]PO A[AEP] \d{5})?", 0),
        ("ADDRESS", r"\b(?:USS|USNS|USCGC|USNV|Unit) [\w ]{1,24}\s+[AF]PO A[AEP] \d{5}", 0),
        ("ADDRESS", r"\b(?:suite|apt\.?|apartment|flat|unit|box|p\.? ?o\.? box) #?\d+\b", re.I),
        (
            "ADDRESS",
            rf"\b\d{{1,6}}(?: \d{{1,4}})?(?: {_W}){{0,4}} {_STREET_END}\b\.?(?: \d{{1,5}}\b)?",
            re.I,
        ),
        (
            "ADDRESS",
            rf"\b(?:\d{{1,5}},? )?{_STREET_START} {_W}(?: {_W}){{0,4}},? \d{{1,5}}\b",
            re.I,
        ),
        (
            "ADDRESS",
            r"\b(?:\d{1,5} )?(?:[A-ZÀ-Þ][\w.'’-]{0,40}(?: [\w.'’-]{1,40}){0,2} )?"
            r"[^\W\d_]{2,40}(?:stra[sß]+e|strasse|gasse|weg|platz|allee|gade|gata|gatan|vej|vei|veien|"
            r"bakken|katu|tie|laan|straat|plein|steenweg|brücke)\.?,? \d{1,5}\b",
            0,
        ),
        (
            "ADDRESS",
            r"\b[A-ZÀ-ÞĀ-Ž][\w'’-]{1,40}(?: (?:út|utca|u\.|tér|ulica|tee|mnt)) \d{1,4}\b\.?",
            0,
        ),
        (
            "PHONE",
            r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?\(\d{1,4}\)[ .-]?\d{2,4}(?:[ .-]?\d{2,4}){1,3}\b",
            0,
        ),
        ("PHONE", r"(?<![\w.])\+?\d{2,5}(?:[ .-]\d{2,4}){1,4}(?: ?x\d+)?\b(?![.,]\d)", 0),
        (
            "PHONE",
            r"(?:phone|call|fax|tel|mobile|number|cell|contact)\D{0,18}?(\+?\d{7,12})\b",
            re.I,
        ),
        ("CARD", r"\b\d{12,19}\b", 0),
        ("AGE", r"\b(\d{1,3})[- ]?(?:years?[- ]old|y/?o|year[- ]old)\b|\baged? (\d{1,3})\b", re.I),
        (
            "ZIP",
            r"\b(?:zip|postal code|postcode|zip code)[: ]+(\d{3,6}(?:[ -][\dA-Z]{2,4})?)",
            re.I,
        ),
        ("ZIP", r"(?<=[^\W\d_] )\d{5}(?:-\d{4})?(?=\s*(?:$|[\n,.?]))", 0),
        ("ID", r"\b(?:[A-Z]{1,2}\d{5,14}|\d{8,11})\b", 0),
    )
)


def find_personal_data(text: str) -> list[Span]:
    """Spans that do not overlap, in the order of the text."""
    taken = _Taken(text)
    for label, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            group = next((n for n in range(1, (match.lastindex or 0) + 1) if match.group(n)), 0)
            taken.claim(Span(match.start(group), match.end(group), label))
    for start, end, label in named_spans(text, taken.free):
        taken.claim(Span(start, end, label))
    return list(_joined_addresses(text, sorted(taken.spans, key=lambda span: span.start)))


class _Taken:
    """What is claimed so far, letter by letter."""

    def __init__(self, text: str) -> None:
        self.spans: list[Span] = []
        self._letters = bytearray(len(text))
        self._text = text

    def free(self, start: int, end: int) -> bool:
        return not any(self._letters[start:end])

    def claim(self, span: Span) -> None:
        end = span.start + len(self._text[span.start : span.end].rstrip(" \n,;:"))
        if end > span.start and self.free(span.start, end):
            self._letters[span.start : end] = b"\x01" * (end - span.start)
            self.spans.append(Span(span.start, end, span.label))


def _joined_addresses(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Parts of an address that stand side by side, as one span."""
    last: Span | None = None
    for span in spans:
        between = text[last.end : span.start] if last else ""
        if (
            last
            and last.label == "ADDRESS"
            and span.label in ("ADDRESS", "ZIP", "LOCATION")
            and re.fullmatch(r"[\s,.]{1,6}", between)
        ):
            last = Span(last.start, span.end, "ADDRESS")
            continue
        if last:
            yield last
        last = span
    if last:
        yield last
