"""What a job in words asks for: kinds of work, fields, choices, and what must be refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from apwa.practice.words import words

KINDS: dict[str, re.Pattern[str]] = {
    "redact": re.compile(
        r"\b(redact|mask|anonymi[sz]e|pseudonymi[sz]e|scrub|de-?identify|(?:remove|strip|replace|hide)"
        r" (?:all |any |the |every |each |(?:piece|bit|kind|trace)s? of )*"
        r"(?:personal|private|sensitive|identifying|pii|names?))\w*",
        re.I,
    ),
    "extract": re.compile(r"\b(extract|pull out|read out|collect|get the|find the|fields)\b", re.I),
    "classify": re.compile(
        r"\b(classif\w+|label\w*|categori[sz]e|sentiment|(?<!same )tone|whether|sort (?:\w+ )?into|"
        r"tag (?:each|every|them|it)|rate|assign|decide (?:if|whether)|is (?:it|each)|detect)\b",
        re.I,
    ),
    "list": re.compile(r"\b(list (?:the|all|every|each|its|their)|keywords?|key points)\b", re.I),
    "summarise": re.compile(
        r"\b(summar\w+|condense|shorten|abstract|digest|gist|overview|boil down)\b", re.I
    ),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of work of a job, with the words of the job that ask for it."""

    kind: str
    clause: str


def parts_of(job: str) -> tuple[Part, ...]:
    """The kinds of work that a job asks for, in its order."""
    found = sorted(
        (match.start(), kind)
        for kind, pattern in KINDS.items()
        if (match := pattern.search(job)) is not None
    )
    # "extract keywords", "label … fields": one work, said with two words close by
    kept: list[tuple[int, str]] = []
    for at, kind in found:
        if kept and at - kept[-1][0] < 14 and {kind, kept[-1][1]} & {"list", "extract"}:
            continue
        kept.append((at, kind))
    if len(kept) < 2:
        return tuple(Part(kind, job.strip()) for _, kind in kept)
    ends = [*(at for at, _ in kept[1:]), len(job)]
    return tuple(
        Part(kind, re.sub(r"[\s,;]*(?:\b(?:and|also|then)\b[\s,]*)*$", "", job[at:end]))
        for (at, kind), end in zip(kept, ends, strict=True)
    )


# ---- what cannot be done

_TALK = re.compile(
    r"\b(debat\w+|negotiat\w+|argue|discuss\w*|talk|chat|converse|consult|confer)\b[^.]{0,40}"
    r"\b(each other|one another|among themselves|together|other workers?)\b"
    r"|\blet (?:the )?(?:workers?|agents?|subtasks?)[^.]{0,30}\b(debate|negotiate|discuss|vote)\b",
    re.I,
)
_NEEDS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    (
        "browsing the web",
        r"browse|http|web|fetch",
        re.compile(
            r"\b(browse|google|crawl|scrape|download|search (?:the )?(?:web|internet|online)|"
            r"(?:visit|open|follow|fetch) (?:the |each |every |all |its |their )*"
            r"(?:urls?|links?|pages?|sites?|web\w*)|on the (?:web|internet))\b",
            re.I,
        ),
    ),
    (
        "sending messages",
        r"mail|send|post",
        re.compile(
            r"\b(send|e-?mail (?:it|them|each|every|all|him|her|the)|tweet|text (?:them|him|her)|"
            r"post (?:it|them) (?:to|on)|phone (?:them|each)|reply to (?:each|every|them|all))\b",
            re.I,
        ),
    ),
    (
        "running commands or code",
        r"shell|code|python|exec|sandbox",
        re.compile(
            r"\b(shell|bash|rm -rf|execute|run (?:the |a |this |each |its )*"
            r"(?:command|code|script|program|tests?))\b",
            re.I,
        ),
    ),
    (
        "deleting or changing things outside the answer",
        r"file|delete|write",
        re.compile(
            r"\b(delete|erase|wipe|format|overwrite|drop|destroy)\b[^.]{0,24}"
            r"\b(files?|disks?|drives?|folders?|director(?:y|ies)|databases?|tables?|everything)\b",
            re.I,
        ),
    ),
)


def reason_to_refuse(job: str, capabilities: str) -> str:
    """Why the job cannot be done; empty if it can, as far as words tell."""
    letters = re.findall(r"[^\W\d_]{2,}", job.lower())
    if not letters:
        return "The job is empty: say in words what is to be done with each row."
    if _TALK.search(job):
        return (
            "The job wants subtasks to talk with each other while they work. Each subtask sees its"
            " own row and nothing else; ask for separate judgements and a step that merges them."
        )
    for need, granted, pattern in _NEEDS:
        match = pattern.search(job)
        if match and not re.search(rf"^- \S*(?:{granted})", capabilities, re.I | re.M):
            return (
                f"The job needs {need} ({match.group().strip()!r}), and no capability for it is"
                " granted to this run: workers can read their row and answer. Grant one with"
                " --grant, or ask for what can be done with the tables alone."
            )
    known = sum(word in words("stopwords") or word in words("common") for word in letters)
    if not parts_of(job) and known == 0:
        return f"The job {job[:80]!r} does not say what is to be done: name the work in a sentence."
    return ""


# ---- fields and choices

_FIELDS = re.compile(
    r"\b(?:extract|pull out|read out|collect|get|find|fields?(?: named)?)\b:?\s*"
    r"(?:(?:from|for|in|of) (?:each|every|the|all) [\w ]{1,24}?[,:]? )?"
    r"(?P<fields>.*?)(?=\s+(?:of|from|in|for|on|out of|per)\s+(?:each|every|all|the|these|this|\{)"
    r"|\s+as\b|[.;:\n(]|$)",
    re.I | re.S,
)


def fields_in(clause: str) -> list[str]:
    """Names of the fields that a clause lists: ``company, date, address and total``."""
    match = _FIELDS.search(clause)
    pieces = (
        re.split(r",|\band\b|\bor\b|&|\bas well as\b|\bplus\b", match.group("fields"))
        if match
        else []
    )
    names = [slug(piece) for piece in pieces if len(piece.split()) <= 5]
    return list(dict.fromkeys(name for name in names if name))[:20]


def slug(words_said: str) -> str:
    """A field's name from words: without articles, in small letters."""
    plain = re.sub(
        r"\b(the|a|an|its|their|all|any|each|every|both|also|of|for|following|name of)\b", " ",
        words_said.lower(),
    )  # fmt: skip
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:40]


_CHOICES = re.compile(
    r"(?:\b(?:as|into|one of|either|among|between|is|are|labels?|classes|categories"
    r"|whether \w+ is)\b"
    r"|[:(=])\s*(?:one of|either|a|an)?[\s:(]*"
    r"(?P<list>[\w'\"“”/ -]+(?:(?:,| or | and |/|\|)[\w'\"“”/ -]+)+)",
    re.I,
)
_LEAD = re.compile(r"^(?:(?:an?|the|as|is|are|it|they|this|each) )+", re.I)
_COMMON_CHOICES = {
    "tone": ["positive", "negative", "neutral"],
    "sentiment": ["positive", "negative", "neutral"],
    "topic": ["politics", "business", "science", "health", "sport", "travel", "food", "other"],
    "urgency": ["high", "medium", "low"],
    "priority": ["high", "medium", "low"],
}
_LABEL_NAMES = re.compile(
    r"\b(tone|sentiment|topic|urgency|priority|category|kind|type|genre|mood|intent|department)\b",
    re.I,
)


def label_in(clause: str) -> tuple[str, list[str]]:
    """The name of a label and its choices; no choices means yes or no."""
    named = _LABEL_NAMES.search(clause)
    name = named.group().lower() if named else "label"
    for match in _CHOICES.finditer(clause):
        pieces = re.split(r",|\bor\b|\band\b|/|\|", match.group("list"))
        options = [_LEAD.sub("", piece.strip(" '\"“”")) for piece in pieces]
        options = [option for option in dict.fromkeys(options) if option]
        if len(options) > 1 and all(len(option.split()) <= 3 for option in options):
            return name, options
    tone = re.findall(r"\b(positive|negative|neutral|mixed)\b", clause, re.I)
    if len(set(tone)) > 1:
        return ("sentiment" if name == "label" else name), list(dict.fromkeys(map(str.lower, tone)))
    if name in _COMMON_CHOICES:
        return name, _COMMON_CHOICES[name]
    asked = re.search(
        r"\b(?:whether|if)\b (?:it|they|the \w+|each \w+|\w+)?\s*(.*?)(?:[.,;]|$)", clause
    )
    if asked:
        return slug(asked.group(1))[:30] or "holds", []
    return name, _COMMON_CHOICES["topic"]
