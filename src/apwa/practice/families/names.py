"""Names of people, places and organisations: runs of capitalised words, judged by lists.

A run is told apart by its own words (a given name, a company's ending, a country), else by
the word before it. A single unknown word at the head of a sentence is left alone.
"""

# Long lists read better as one text.
# ruff: noqa: SIM905

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from apwa.practice.words import lines, words

Free = Callable[[int, int], bool]
Found = tuple[int, int, str]

_TITLE = r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Lady|Madam|President|Captain|Judge|Senator)"
_TITLES = re.compile(rf"\b{_TITLE}\b\.?(?=\s+[^\W\d_])")
_WORD = r"[^\W\d_](?:[^\W\d_]|['’][^\W\d_]{2,}|-[^\W\d_])*"
_TOKEN = re.compile(rf"{_WORD}\.?")
_ORG_END = frozenset(
    "inc incorporated ltd limited llc llp corp corporation co company group gmbh ag sa plc bv "
    "partners associates solutions systems technologies technology services consulting bank "
    "agency holdings industries institute university foundation labs media network networks "
    "international enterprises ventures capital insurance press orchestra council".split()
)
_JOINERS = frozenset("de la le van von der den of y e del di da dos bin al ibn and & du".split())
_TO_PLACE = frozenset("in at near from to visit visiting around across".split())
_TO_PERSON = frozenset(
    "name is by with to for said says asked tell told dear hi hello contact mr mrs ms dr miss "
    "guardian and please call meet son daughter wife husband".split()
)
_TO_ORG = frozenset("for at with by joined of".split())


def named_spans(text: str, free: Free) -> Iterator[Found]:
    """Spans with PERSON, LOCATION, ORGANIZATION, TITLE or NATIONALITY as labels."""
    for match in _TITLES.finditer(text):
        if free(*match.span()):
            yield match.start(), match.end(), "TITLE"
    yield from _after_markers(text, free)
    for run in _runs(text):
        start, end = run[0].start(), run[-1].end()
        label = _judge(text, run)
        if label and free(start, end):
            yield start, start + len(text[start:end].rstrip(". ")), label
    yield from _listed_in_small_letters(text, free)


_CAP = r"[A-ZÀ-ÞĀ-Ž][\w.'’-]*"
_FIRM = r"[A-Z][\w&'’-]+(?:,? (?:and |& )?[A-Z][\w&.'’-]*){0,4}"
_NAMED = rf"(?:my|his|her|the) name(?:'s| is) ([^\W\d_][\w'’-]+(?: {_CAP}){{0,2}})"
_IS_OR_SAYS = r"(?:is from|lives (?:at|in|on)|said|says|works)"
_MARKERS = (
    (re.compile(rf"\b{_NAMED}", re.I), "PERSON"),
    (re.compile(rf"\b(?:i'?m|i am|this is|named|called) ({_CAP}(?: {_CAP}){{0,2}})"), "PERSON"),
    (re.compile(rf"\b(?:i |he |she |they )?works? (?:for|at) ({_FIRM})"), "ORGANIZATION"),
    (re.compile(rf"^({_CAP}(?: {_CAP}){{0,3}}) {_IS_OR_SAYS}\b", re.M), "PERSON"),
    (re.compile(r"\b(?:maiden|last|first|sur) ?name(?: is|:) ([^\W\d_][\w'’-]+)", re.I), "PERSON"),
)


def _after_markers(text: str, free: Free) -> Iterator[Found]:
    for pattern, label in _MARKERS:
        for match in pattern.finditer(text):
            start, end = match.span(1)
            first = match.group(1).split()[0].lower()
            if first not in words("stopwords") and free(start, end):
                whole = match.group(1).lower()
                yield start, end, "LOCATION" if whole in lines("places") else label


Run = list["re.Match[str]"]


def _runs(text: str) -> Iterator[Run]:
    """Runs of capitalised words; little words may stand between two of them."""
    run: Run = []
    waiting: Run = []
    for token in _TOKEN.finditer(text):
        word = token.group()
        gap = text[run[-1].end() : token.start()] if run else ""
        glued = bool(run) and not waiting and bool(re.fullmatch(r" |, ?(?=\w)|-|/", gap))
        if waiting:
            between = text[waiting[-1].end() : token.start()]
            glued = between == " "
        if _capital(word) and not _little(word):
            if run and glued and not _ends_sentence(run[-1]) and "," not in gap:
                run += [*waiting, token]
            else:
                if run:
                    yield run
                run = [token]
            waiting = []
        elif run and glued and word.lower() in _JOINERS and "," not in gap:
            waiting.append(token)
        else:
            if run:
                yield run
            run, waiting = [], []
    if run:
        yield run


def _capital(word: str) -> bool:
    return word[0].isupper()


def _little(word: str) -> bool:
    return word.rstrip(".").lower() in words("stopwords") or word in ("I", "I.")


def _ends_sentence(token: re.Match[str]) -> bool:
    word = token.group()
    return word.endswith(".") and len(word) > 3


def _judge(text: str, run: Run) -> str:
    """The label of a run of capitalised words; empty for none."""
    plain = [token.group().rstrip(".").lower() for token in run]
    whole = " ".join(plain)
    known = [word in words("common") for word in plain]
    if whole in lines("places") or (len(plain) == 1 and plain[0] in lines("places")):
        return "LOCATION"
    if len(plain) == 1 and plain[0] in words("nationalities"):
        return "NATIONALITY"
    if all(known):
        return ""
    if plain[-1] in _ORG_END and len(plain) > 1:
        return "ORGANIZATION"
    if re.match(r"\s*(?:&|,? and) [A-Z]\w+ (?:Inc|Ltd|LLC|Group)", text[run[-1].end() :]):
        return "ORGANIZATION"
    if plain[0] in words("given_names") or (len(plain) > 1 and plain[-1] in words("surnames")):
        return "PERSON"
    before = re.findall(r"[\w'’]+", text[max(0, run[0].start() - 40) : run[0].start()].lower())
    last = before[-1] if before else ""
    if _heads_sentence(text, run[0].start()) and len(plain) == 1:
        return "PERSON" if plain[0] in words("surnames") else ""
    if last in _TO_PLACE:
        return "LOCATION"
    if "-" in whole or any(known[1:]):
        return "ORGANIZATION" if last in _TO_ORG or any(known) else "PERSON"
    return "PERSON" if len(plain) <= 4 else "ORGANIZATION"


def _heads_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \"'“‘(\\")
    return not before or before[-1] in ".!?\n:"


_LOWER = re.compile(r"(?<![\w@./-])[^\W\d_]{4,}(?![\w@/-])")


def _listed_in_small_letters(text: str, free: Free) -> Iterator[Found]:
    """Countries and the like that somebody wrote in small letters."""
    for match in _LOWER.finditer(text):
        word = match.group()
        if not free(*match.span()):
            continue
        if word.lower() in lines("places"):
            yield match.start(), match.end(), "LOCATION"
        elif word in words("given_names") and word not in words("common"):
            yield match.start(), match.end(), "PERSON"
        elif word.lower() in words("nationalities"):
            yield match.start(), match.end(), "NATIONALITY"
