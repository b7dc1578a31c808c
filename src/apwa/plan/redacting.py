"""Redactions: a field that must be a source's text with the listed strings replaced, no more.

Theory: where each listed string stands in the source is known, so what must be left between these
places is known too. The answer must hold these parts in order, with nothing but the replacements
between them, and no listed string anywhere. So a string that was missed at its second place, one
that was replaced and not listed, and text that was changed or added by the way are all found.

Texts are compared as quotes are (``quoting.fold``). A string counts where it stands as words of its
own: ``Ann`` is not in ``Annual``, and ``12`` is not in ``12.5``. Capitals make no difference, since
``JOHN SMITH`` tells as much as ``John Smith``; but one capitalised word is not taken for the same
word in small letters, which is mostly another word (a Will who will, a May in which one may).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apwa.plan.quoting import clipped, fold

_LONG_ENOUGH = 4  # below, a string stands in too many words by chance
_LONGEST = 48  # characters of a replacement, beside twice what it stands for
_SHOWN = 60

_Span = tuple[int, int]


class NotRedacted(Exception):
    """A text that is no redaction of its source; says why."""


def redaction(source: str, text: str, listed: Sequence[str]) -> str:
    """The redacted text, what is left of the source in the source's own words.

    Args:
        source: What was redacted.
        text: The redaction.
        listed: The strings that were replaced; each stands in the source.

    Raises NotRedacted.
    """
    folded_source, source_places = fold(source)
    folded_text, text_places = fold(text)
    lower_source, lower_text = _lower(folded_source), _lower(folded_text)
    hidden: list[_Span] = []
    for string in dict.fromkeys(listed):
        folded = fold(string)[0].strip()
        places = list(_places(folded, folded_source, lower_source))
        words = any(_is_word(place, folded_source) for place in places)
        for place in _places(folded, folded_text, lower_text):
            if not words or _is_word(place, folded_text):
                raise NotRedacted(
                    f"{clipped(string)} still stands in it: replace it wherever it stands"
                )
        # inside of longer words it may be replaced or not, unless it is only there
        hidden += [
            place
            for place in places
            if not words or len(folded) >= _LONG_ENOUGH or _is_word(place, folded_source)
        ]
    kept = _kept(folded_source, sorted(hidden))
    found = _matched(folded_source, folded_text, kept)
    pieces: list[str] = []
    source_end = text_end = 0
    for (start, stop), at in zip(kept, found, strict=True):
        source_at, text_at = source_places[start], text_places[at]
        pieces.append(_spaced(source[source_end:source_at], text[text_end:text_at]))
        source_end = source_places[stop - 1] + 1
        pieces.append(source[source_at:source_end])
        text_end = text_places[at + (stop - start) - 1] + 1
    return "".join(pieces) + _spaced(source[source_end:], text[text_end:])


def _spaced(hole: str, replacement: str) -> str:
    """What stands for a hole in the source, with the source's white space at its ends."""
    words = replacement.strip()
    if not words:
        return replacement if hole.strip() else hole
    return f"{hole[: len(hole) - len(hole.lstrip())]}{words}{hole[len(hole.rstrip()) :]}"


def _lower(folded: str) -> str:
    lower = folded.lower()
    return lower if len(lower) == len(folded) else folded


def _places(string: str, text: str, lower: str) -> Iterator[_Span]:
    """Where a string stands in a text, both folded, also inside of words."""
    wanted = string.lower() if lower is not text else string
    one_name = string[:1].isupper() and string.isalpha()
    at = lower.find(wanted) if wanted else -1
    while at >= 0:
        end = at + len(wanted)
        if not (one_name and text[at:end].islower()):
            yield at, end
        at = lower.find(wanted, at + 1)


def _is_word(place: _Span, text: str) -> bool:
    """Whether what stands there is a word, or words, of its own, or a number."""
    start, stop = place
    head, before = text[start], text[max(0, start - 2) : start]
    tail, after = text[stop - 1], text[stop : stop + 2]
    if before and _of_word(head) and _of_word(before[-1]):
        return False
    if after and _of_word(tail) and _of_word(after[0]):
        return False
    if head.isdigit() and len(before) == 2 and before[0].isdigit() and before[1] in ".,":
        return False
    return not (tail.isdigit() and len(after) == 2 and after[0] in ".," and after[1].isdigit())


def _of_word(character: str) -> bool:
    # folding sets accents apart
    return character.isalnum() or character == "_" or "\u0300" <= character <= "\u036f"


def _kept(source: str, hidden: Sequence[_Span]) -> list[_Span]:
    """What lies between the hidden places, without white space at its ends."""
    kept: list[_Span] = []
    at = 0
    for start, stop in [*hidden, (len(source), len(source))]:
        part = source[at:start] if start > at else ""
        if part.strip():
            lead = len(part) - len(part.lstrip())
            kept.append((at + lead, at + len(part.rstrip())))
        at = max(at, stop)
    return kept


def _matched(source: str, text: str, kept: Sequence[_Span]) -> list[int]:
    """Where each kept part stands in the text, in order. Raises NotRedacted."""
    places: list[int] = []
    at = before = 0
    final = len(source.rstrip())
    for start, stop in kept:
        part = source[start:stop]
        first, last = not source[:start].strip(), stop == final
        limit = at + _LONGEST + 2 * (start - before)
        if last:  # at the end, so that no tag that looks like it is taken for it
            place = len(text.rstrip()) - len(part)
            if place < at or not text.startswith(part, place):
                place = -1
        else:
            place = text.find(part, at)
        if place < 0 or place > limit or (first and text[:place].strip()):
            raise NotRedacted(_said(source, start, part, before))
        places.append(place)
        at, before = place + len(part), stop
    if len(text.rstrip()) - at > _LONGEST + 2 * (final - before):
        raise NotRedacted(f"it goes on after {clipped(source[:before][-_SHOWN:])}")
    if not kept and not final and text.strip():
        raise NotRedacted("there is text in it, and the source has none")
    return places


def _said(source: str, start: int, part: str, before: int) -> str:
    """What differs, in words for the model."""
    wanted = clipped(part, _SHOWN)
    where = f"after {clipped(source[before:start].strip())} was replaced" if before < start else ""
    where = where if before else "at its beginning"
    return (
        f"{where}, it should hold {wanted} unchanged: leave all else as it is, and list all that"
        " you replace"
    )
