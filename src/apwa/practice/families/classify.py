"""Choose from a closed list: tone words, keywords of well-known labels, shared words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from apwa.practice.families.tone import tone
from apwa.practice.words import words

_GOOD = re.compile(r"^(very )?(positive|pos|good|favou?rable|happy|satisfied|thumbs.?up)$")
_BAD = re.compile(r"^(very )?(negative|neg|bad|unfavou?rable|unhappy|dissatisfied|thumbs.?down)$")
_MIDDLE = re.compile(r"^(neutral|mixed|undecided|none|other|unknown|unclear|medium|average)$")

_KEYWORDS: Mapping[str, str] = {
    "complaint": "complain broken refund terrible late wrong disappointed never damaged",
    "question": "how what when where why who can could which ? help",
    "request": "please need want would like send order change update add",
    "praise": "thank great love excellent wonderful happy",
    "billing": "bill invoice card charge payment refund account price credit bank",
    "technical": "error crash install login password website app software update bug",
    "shipping": "deliver shipping package parcel tracking arrive courier late order",
    "urgent": "urgent asap immediately now emergency critical today",
    "high": "urgent asap immediately emergency critical lost stolen blocked",
    "spam": "free win winner click offer cash prize subscribe unsubscribe buy",
    "politics": "president government election vote congress senate law nation policy",
    "sport": "game team score season win coach player match league cup",
    "business": "company market stock profit sales bank shares price business",
    "science": "research study scientist planet energy theory experiment species",
    "health": "patient doctor pain hospital medicine disease treatment symptom",
    "travel": "flight hotel trip airport train travel visit ticket",
    "food": "restaurant rice chicken coffee tea noodle cafe dinner menu food roast bakery",
    "retail": "shop store trading stationery hardware book supermarket mart",
    "fuel": "petrol fuel diesel litre pump shell petronas",
    "war": "war army enemy peace military soldier defense weapon attack",
    "economy": "economy tax job trade business debt dollar budget growth industry",
}


def choose(text: str, options: Sequence[str], instruction: str = "", again: int = 0) -> str:
    """The option that fits best; ``again`` > 0 takes the next best (a repair round)."""
    ranked = sorted(
        range(len(options)), key=lambda at: (-_score(text, options[at], options, instruction), at)
    )
    return options[ranked[again % len(options)]]


def yes_or_no(text: str, question: str, again: int = 0) -> bool:
    """Whether the text seems to do what a field's name or the instruction asks."""
    good = re.search(r"positive|satisf|happy|recommend|good", question)
    bad = re.search(r"negative|complain|angry|unhappy|bad", question)
    if good or bad:
        answer = tone(text) > 0 if good else tone(text) < 0
    else:
        answer = _overlap(text, question) > 0
    return answer != bool(again % 2)


def _score(text: str, option: str, options: Sequence[str], instruction: str) -> float:
    plain = re.sub(r"[_-]+", " ", option.lower()).strip()
    if _GOOD.match(plain) or _BAD.match(plain):
        score = tone(text) * (1 if _GOOD.match(plain) else -1)
        strong = plain.startswith("very")
        return score - 2 if strong and abs(score) < 4 else score + (0.1 if strong else 0)
    if _MIDDLE.match(plain):
        has_tone = any(_GOOD.match(o.lower()) or _BAD.match(o.lower()) for o in options)
        return 0.3 if not has_tone else 0.6 - abs(tone(text))
    score = 2.0 * _overlap(text, plain)
    for name, keys in _KEYWORDS.items():
        if name in plain or plain.rstrip("s") in name:
            score += _overlap(text, keys)
    return score + 0.5 * _overlap(text, _definition(option, instruction))


def _definition(option: str, instruction: str) -> str:
    """What the instruction says of an option (``urgent: needs an answer today``)."""
    match = re.search(
        rf"\b{re.escape(option)}\b[\"'”]?\s*(?::|=|\(|means|if|when|for)([^;.\n)]*)",
        instruction,
        re.I,
    )
    return match.group(1) if match else ""


def _overlap(text: str, other: str) -> float:
    mine = _stems(text)
    theirs = _stems(other)
    return sum(1.0 for stem in theirs if stem in mine)


def _stems(text: str) -> frozenset[str]:
    found = re.findall(r"[^\W\d_]{3,}|\?", text.lower())
    return frozenset(word[:6].rstrip("s") for word in found if word not in words("stopwords"))
