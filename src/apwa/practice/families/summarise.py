"""Extractive summaries: sentences ranked by frequent words and place, in the text's order."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from apwa.practice.words import words

_MOST_SENTENCES = 2_000  # of a text that is looked at


@dataclass(frozen=True, slots=True)
class Bound:
    """How long a summary may be."""

    sentences: int = 3
    words: int = 120
    letters: int = 4_000


_COUNTS = {"one": 1, "a single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "ten": 10}
_COUNT = r"(\d+|one|a single|two|three|four|five|six|ten)"


def bound_in(instruction: str, max_letters: int | None = None) -> Bound:
    """The bound that an instruction gives in words (``in at most two sentences``)."""
    said = instruction.lower().replace("-", " ")
    letters = max_letters or 4_000
    sentences = re.search(rf"{_COUNT}(?: or \w+)?(?: \w+)? sentences?\b", said)
    limit = re.search(r"(\d+)(?: or fewer)? words\b", said)
    most = int(limit.group(1)) if limit else 0
    if sentences:
        count = _COUNTS.get(sentences.group(1)) or int(sentences.group(1))
        return Bound(count, most or 45 * count, letters)
    if "page" in said:
        return Bound(14, most or 420, letters)
    if "paragraph" in said:
        return Bound(5, most or 130, letters)
    if most:
        return Bound(max(1, most // 18), most, letters)
    return Bound(letters=letters)


def summarise(text: str, bound: Bound, hint: str = "", skip: int = 0) -> str:
    """The sentences that say most, in order, within the bound; never empty for any words."""
    sentences = split_sentences(text)
    if not sentences:
        return text.strip()[: bound.letters]
    best = sorted(rank(sentences, hint)[skip : skip + bound.sentences])
    share = max(8, bound.words // max(1, len(best)))
    chosen: list[str] = []
    left = bound.words
    for at in best:
        piece = shorten(sentences[at], min(left, share))
        left -= len(piece.split())
        chosen.append(piece)
        if left <= 3:
            break
    return clip(" ".join(chosen), bound.letters)


def rank(sentences: list[str], hint: str = "") -> list[int]:
    """Places of the sentences, the weightiest first."""
    bags = [_content(sentence) for sentence in sentences]
    counts = Counter(word for bag in bags for word in set(bag))
    asked = set(_content(hint))
    scores: list[float] = []
    for at, bag in enumerate(bags):
        weight = sum(counts[word] for word in set(bag)) / (6 + len(bag))
        place = 1.25 if at == 0 else 1.1 if at == len(bags) - 1 else 1.0
        scores.append(place * weight * (1 + 0.3 * len(asked & set(bag))))
    order = sorted(range(len(sentences)), key=lambda at: (-scores[at], at))
    seen: set[str] = set()
    return [at for at in order if not (sentences[at] in seen or seen.add(sentences[at]))]


def split_sentences(text: str) -> list[str]:
    """Sentences or lines of the text, with some letters in each."""
    pieces = re.split(r"(?<=[.!?])[\"'”’)]?\s+(?=[^a-z])|\n\s*\n|\n(?=[ \t]*[-*•])", text)
    cleaned = (re.sub(r"\s+", " ", piece).strip(" -*•\t") for piece in pieces[:_MOST_SENTENCES])
    return [piece for piece in cleaned if re.search(r"\w{2}", piece)]


def shorten(sentence: str, most_words: int) -> str:
    """A sentence of at most so many words, cut at a pause of speech where there is one."""
    parts = sentence.split()
    if len(parts) <= most_words:
        return sentence
    kept = parts[: max(1, most_words)]
    for at in range(len(kept) - 1, len(kept) // 2, -1):
        if kept[at][-1] in ",;:":
            return " ".join(kept[: at + 1]).rstrip(",;:") + "."
    return " ".join(kept).rstrip(",;:") + " …"


def clip(text: str, letters: int) -> str:
    if len(text) <= letters:
        return text
    return text[: max(1, letters - 1)].rsplit(" ", 1)[0] + "…" if letters > 1 else text[:letters]


def _content(text: str) -> list[str]:
    found = re.findall(r"[^\W\d_][\w'’-]{2,}", text.lower())
    return [word for word in found if word not in words("stopwords")]
