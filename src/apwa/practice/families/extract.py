"""Typed fields by their names: patterns near label words, made for receipts, letters, records."""

from __future__ import annotations

import re
from collections.abc import Callable

from apwa.practice.families.pii import find_personal_data
from apwa.practice.words import lines

_MONTH = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DATES = re.compile(
    r"(?<!\d)(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:20|19)?\d{2}"
    r"|\d{1,2}[ -]?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ ,.-]*(?:20|19)?\d{2}"
    r"|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* \d{1,2},? (?:20|19)\d{2})(?!\d)",
    re.I,
)
_MONEY = re.compile(
    r"(?<![\d.,])\$?\d{1,3}(?:[, ]\d{3})*\.\d{2}(?!\d)|(?<![\d.,])\$?\d+\.\d{2}(?!\d)"
)
_COMPANY = re.compile(
    r"\b(?:sdn\.? ?bhd|bhd|enterprise|trading|s/b|restaurant|restoran|ltd|inc|llc|gmbh|ag|corp"
    r"|company|co|mart|store|stationery|hardware|market|holdings|industries|group)\b\.?",
    re.I,
)
_NO_COMPANY = re.compile(r"invoice|receipt|tel|fax|gst|date|cash bill|www|\bno\b|\*{3}", re.I)
_ADDRESS_WORD = re.compile(
    r"\b(?:jalan|jln|lot|no\.?|lorong|taman|tmn|street|st|road|rd|avenue|ave|floor|block|plaza|"
    r"persiaran|bandar|kawasan|seksyen|selangor|kuala lumpur|johor|penang|melaka|kl|\d{5})\b",
    re.I,
)
_NO_ADDRESS = re.compile(
    r"tel|fax|gst|inv\b|invoice|cashier|date|qty|total|reg\b|receipt|\d+\.\d{2}\b|bill"
    r"|sdn|bhd|roc\b|br no|company no|licensee|formerly|website|www",
    re.I,
)
_REST_OF_ADDRESS = re.compile(r"[A-Z .,'&()-]{3,40}|.*[A-Za-z]{3}.*,")


def extract_text(text: str, name: str) -> str | None:
    """The value of a text field called ``name``; None when nothing is found."""
    for pattern, find in _FINDERS:
        if re.search(pattern, name):
            return find(text, name)
    return labelled(text, name)


def extract_number(text: str, name: str) -> float | None:
    """The value of a number field called ``name``."""
    if re.search(r"total|amount|price|sum|cost|balance|paid|gross", name):
        found = total(text, name)
        return _number(found) if found else None
    if re.search(r"word_?count|n_?words", name):
        return float(len(text.split()))
    if re.search(r"age\b", name):
        match = re.search(r"\b(\d{1,3})[- ]year|aged? (\d{1,3})", text)
        return float(match.group(1) or match.group(2)) if match else None
    if re.search(r"year", name):
        match = re.search(r"\b(1[5-9]\d\d|20\d\d)\b", text)
        return float(match.group(1)) if match else None
    said = labelled(text, name)
    match = re.search(r"-?\d+(?:[.,]\d+)?", said or "")
    return _number(match.group()) if match else None


def labelled(text: str, name: str) -> str | None:
    """What stands behind the field's name and a colon, or on the line that names it."""
    spoken = re.sub(r"[_-]+", " ", name).strip()
    pattern = rf"\b{re.escape(spoken)}\b(?: (?:no|number|id))?\.?\s*[:=#]\s*([^\n]{{1,200}})"
    match = re.search(pattern, text, re.I)
    if not match and " " in spoken:
        last = spoken.split()[-1]
        match = re.search(rf"\b{re.escape(last)}\s*[:=#]\s*([^\n]{{1,200}})", text, re.I)
    return match.group(1).strip() if match else None


def date(text: str, _name: str = "") -> str | None:
    """The date near the word ``date``, else the first."""
    near = re.search(r"date[^\n\d]{0,14}([^\n]{6,24})", text, re.I)
    for part in (near.group(1) if near else "", text):
        found = next((m.group() for m in _DATES.finditer(part) if _can_be_a_date(m.group())), None)
        if found:
            return found
    return None


def _can_be_a_date(said: str) -> bool:
    numbers = [int(number) for number in re.findall(r"\d+", said)]
    if len(numbers) < 3:  # the month is a word
        return True
    day_and_month = numbers[1:] if numbers[0] > 999 else numbers[:2]
    return max(day_and_month) <= 31 and min(day_and_month) <= 12


def iso_date(text: str, day_first: bool = True) -> str | None:
    """The date as YYYY-MM-DD; a day over 12 settles which part is the month."""
    said = date(text)
    if said is None:
        return None
    word = re.search(r"[a-z]{3}", said.lower())
    numbers = [int(part) for part in re.findall(r"\d+", said)]
    if word and len(numbers) == 2:
        day, year = numbers
        month = next((n for n, m in enumerate(_MONTH, 1) if m == word.group()), 0)
    elif numbers[0] > 999:
        year, month, day = numbers
    else:
        day, month, year = numbers if day_first else (numbers[1], numbers[0], numbers[2])
        if month > 12:
            day, month = month, day
    year += 2000 if year < 70 else 1900 if year < 100 else 0
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{year:04d}-{month:02d}-{day:02d}"


def total(text: str, name: str = "total") -> str | None:
    """The amount that the text calls its total."""
    asked = "sub" if "sub" in name else "tax" if re.search(r"tax|gst|vat", name) else "total"
    best: tuple[int, str] | None = None
    rows = text.splitlines()
    for at, line in enumerate(rows):
        weight = _total_weight(line.lower(), asked)
        if weight <= 0:
            continue
        amounts = _MONEY.findall(line)
        if not amounts and at + 1 < len(rows) and not re.search(r"[a-z]{4}", rows[at + 1].lower()):
            amounts = _MONEY.findall(rows[at + 1])
        if not amounts:
            continue
        # of lines that say the same, a tax table's totals are the smaller ones
        if best is None or (weight, _number(amounts[-1])) >= (best[0], _number(best[1])):
            best = (weight, amounts[-1])
    if best:
        return best[1]
    amounts = _MONEY.findall(text)
    return max(amounts, key=_number, default=None)


def _total_weight(line: str, asked: str) -> int:
    if asked == "sub":
        return 3 if re.search(r"sub.?total", line) else 0
    if asked == "tax":
        return 3 if re.search(r"\b(gst|tax|vat|sst)\b", line) and "excl" not in line else 0
    if "total" not in line and "amount due" not in line:
        return 0
    if re.search(
        r"sub.?total|qty|quantity|item|saving|discount|total (?:gst|tax)|change|exclu"
        r"|paid|tender",
        line,
    ):
        return 1
    if re.search(r"round|nett?|grand|due|inclusive|payable|after", line):
        return 4
    return 3


def company(text: str, _name: str = "") -> str | None:
    """The first line of the head that looks like a company's name."""
    head = [line.strip() for line in text.splitlines()[:8] if line.strip()]
    named = [line for line in head if _COMPANY.search(line) and not _NO_COMPANY.search(line)]
    plain = [
        line
        for line in head
        if re.search(r"[A-Za-z]{3}", line)
        and not _NO_COMPANY.search(line)
        and not _ADDRESS_WORD.search(line)
    ]
    found = next(iter(named or plain or head), None)
    if found is None or len(found) > 160:
        spans = [s for s in find_personal_data(text[:20_000]) if s.label == "ORGANIZATION"]
        return text[spans[0].start : spans[0].end] if spans else None
    return found


def address(text: str, _name: str = "") -> str | None:
    """Lines of the head that look like an address, joined; else the first address found."""
    kept: list[str] = []
    for line in [line.strip() for line in text.splitlines()[:14]][1:]:
        rest = kept and _REST_OF_ADDRESS.fullmatch(line)
        if (rest or _ADDRESS_WORD.search(line)) and not _NO_ADDRESS.search(line):
            kept.append(line)
        elif kept:  # only lines that follow each other can be found in the text again
            break
    if kept:
        return " ".join(kept)
    return _span("ADDRESS", "LOCATION")(text, "")


def _span(*labels: str) -> Callable[[str, str], str | None]:
    def find(text: str, _name: str) -> str | None:
        spans = [s for s in find_personal_data(text[:20_000]) if s.label in labels]
        return text[spans[0].start : spans[0].end] if spans else None

    return find


def _country(text: str, _name: str) -> str | None:
    found = re.findall(r"[^\W\d_][^\W\d_ ]+(?: [A-Z][^\W\d_]+)?", text)
    return next((word for word in found if word.lower() in lines("places")), None)


def _currency(text: str, _name: str) -> str | None:
    for mark, code in (("RM", "MYR"), ("€", "EUR"), ("EUR", "EUR"), ("£", "GBP"), ("$", "USD")):
        if mark in text:
            return code
    return None


def _labelled_or_id(text: str, name: str) -> str | None:
    match = re.search(
        r"\b(?:invoice|order|doc|receipt|ref\w*)\b[^\n:#\d]{0,12}[:#]\s*([\w/-]{3,})", text, re.I
    )
    return match.group(1) if match else labelled(text, name)


_FINDERS: tuple[tuple[str, Callable[[str, str], str | None]], ...] = (
    (r"date|(?<![a-z])day(?![a-z])", date),
    (r"total|amount|price|cost|sum\b|tax|balance", total),
    (r"company|shop|store|merchant|vendor|seller|supplier|business", company),
    (r"address", address),
    (r"e-?mail", _span("EMAIL")),
    (r"phone|tel\b|mobile|fax", _span("PHONE")),
    (r"url|website|link", _span("URL")),
    (r"iban", _span("IBAN")),
    (r"card", _span("CARD")),
    (r"organi[sz]ation|employer", _span("ORGANIZATION")),
    (r"country|city|place|location", _country),
    (r"currency", _currency),
    (r"invoice|receipt|order|reference", _labelled_or_id),
    (r"name|person|who|customer|speaker|president|author", _span("PERSON")),
)


def _number(text: str) -> float:
    plain = re.sub(r"[^\d.,-]", "", text)
    if re.search(r",\d{2}$", plain):
        plain = plain.replace(".", "").replace(",", ".")
    return float(plain.replace(",", "") or 0)
