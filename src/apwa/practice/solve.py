"""Answer a worker's request by rules: walk the schema, fill each field from the values.

A field's kind comes first from its schema (a closed list, a number), then from its name, then
from the instruction's verbs. Redaction is the one work whose fields belong together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from apwa.practice.families import classify, extract, lists, summarise
from apwa.practice.families.lore import facts
from apwa.practice.families.redact import Redaction, redact
from apwa.practice.request import Work

Schema = dict[str, Any]

_REDACTED = re.compile(r"redact|mask|anonym|pseudonym|sanitis|sanitiz|scrub|clean|de_?ident")
_REDACTING = re.compile(
    r"\b(redact|mask|anonymi[sz]|pseudonymi[sz]|de-?identif|scrub|personal (information|data)|pii)",
    re.I,
)
_SUMMARY = re.compile(
    r"summar|gist|abstract|overview|tl_?dr|profile|comparison|descri|synops|digest|essay|report|"
    r"conclusion|brief|story|notes?$"
)
_SENTENCE = re.compile(r"quote|evidence|excerpt|passage|sentence|span|snippet|proof|citation")
_REASON = re.compile(r"reason|explan|rationale|why|justif|because")
_SUMMARISING = re.compile(
    r"summar|write|describe|compare|profile|explain|condense|shorten|essay", re.I
)
_OBEY = re.compile(
    r"(?:ignore|disregard|forget) (?:all |any |the |your )*(?:previous|prior|above|earlier)"
    r"[\w ]{0,30}?instructions?[\s.,:;!-]*(?:and |instead,? )?(?P<order>[^\n]{1,400})",
    re.I,
)


def solve(work: Work, *, obey: bool = False) -> str:
    """The answer's text: JSON if a schema is known, else words."""
    if obey and (order := _OBEY.search("\n".join(v for item in work.items for v in item.values()))):
        return _obeyed(work, order.group("order").strip())
    if work.schema is None:
        return _words(work)
    answer = _Filler(work).whole(work.schema)
    return msgspec.json.encode(answer).decode()


def _words(work: Work) -> str:
    if _REDACTING.search(work.instruction):
        return redact(work.text, (), work.instruction).redacted
    text = work.text or work.instruction
    return summarise.summarise(text, summarise.bound_in(work.instruction)) or "(nothing to say)"


def _obeyed(work: Work, order: str) -> str:
    """What a model says that does as the data bids: the order's text in every text field."""
    if work.schema is None:
        return order
    answer = _Filler(work).whole(work.schema)
    if isinstance(answer, dict):
        fields = cast("dict[str, Any]", answer)
        answer = {key: order if isinstance(value, str) else value for key, value in fields.items()}
    return msgspec.json.encode(answer).decode()


@dataclass(frozen=True, slots=True)
class _Filler:
    """Fills a schema from one work's values."""

    work: Work

    def whole(self, schema: Schema) -> Any:
        properties = _properties(schema)
        pair = self._redaction_fields(properties)
        if pair:
            return self._redacted(properties, *pair)
        return {name: self.value(part, name) for name, part in properties.items()}

    # ---- redaction: two fields that must agree

    def _redaction_fields(self, properties: dict[str, Schema]) -> tuple[str, str] | None:
        texts = [
            n for n, part in properties.items() if _kind(part) == "string" and "enum" not in part
        ]
        named = [name for name in texts if _REDACTED.search(name)]
        listing = next((n for n, part in properties.items() if _kind(part) == "array"), "")
        if named and (_REDACTING.search(self.work.instruction) or len(texts) == 1):
            return named[0], listing
        if texts and _REDACTING.search(self.work.instruction) and not _asks_more(texts):
            return texts[0], listing
        return None

    def _redacted(self, properties: dict[str, Schema], field: str, listing: str) -> dict[str, Any]:
        items = properties.get(listing, {}).get("items")
        inner = _properties(items) if isinstance(items, dict) else {}
        closed = next((part["enum"] for part in inner.values() if part.get("enum")), ())
        done = redact(self.work.text, [str(tag) for tag in closed], self.work.instruction)
        answer: dict[str, Any] = {}
        for name, part in properties.items():
            if name == field:
                answer[name] = done.redacted or self.work.text
            elif name == listing:
                answer[name] = _listing(done, items if isinstance(items, dict) else {})
            elif _kind(part) in ("integer", "number"):
                answer[name] = len(done.replaced)
            elif _kind(part) == "boolean":
                answer[name] = bool(done.replaced)
            else:
                answer[name] = self.value(part, name)
        return answer

    # ---- one field

    def value(self, schema: Schema, name: str) -> Any:
        """A value that fits ``schema``, for a field called ``name``."""
        schema, nullable = _not_null(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._chosen(schema["enum"])
        match _kind(schema):
            case "boolean":
                question = f"{name} {self.work.instruction}"
                return classify.yes_or_no(self.work.text, question, self.work.rounds)
            case "integer" | "number":
                return self._number(schema, name, nullable)
            case "array":
                return self._array(schema, name)
            case "object":
                return {key: self.value(part, key) for key, part in _properties(schema).items()}
            case "null":
                return None
            case _:
                return self._string(schema, name.lower(), nullable)

    def _chosen(self, options: list[Any]) -> Any:
        texts = [str(option) for option in options]
        work = self.work
        found = classify.choose(work.text, texts, work.instruction, work.rounds)
        return options[texts.index(found)]

    def _number(self, schema: Schema, name: str, nullable: bool) -> Any:
        number = extract.extract_number(self.work.text, name.lower())
        if number is None and nullable and not re.search(r"confiden|score|rating|count", name):
            return None
        low, high = schema.get("minimum"), schema.get("maximum")
        if number is None:
            number = float(low if low is not None else 0)
            if re.search(r"confiden|probab|certain", name):
                number = 0.5
            elif high is not None and low is not None:
                number = (float(low) + float(high)) / 2
        if low is not None:
            number = max(number, float(low))
        if high is not None:
            number = min(number, float(high))
        return round(number) if _kind(schema) == "integer" else number

    def _array(self, schema: Schema, name: str) -> list[Any]:
        items: Schema = schema.get("items") or {}
        most = int(schema.get("maxItems", 8))
        least = int(schema.get("minItems", 0))
        if items.get("enum"):
            options = [str(option) for option in items["enum"]]
            found: list[Any] = [classify.choose(self.work.text, options, self.work.instruction)]
        elif _kind(items) == "string":
            found = list(lists.list_items(self.work.text, name.lower(), most))
        elif _kind(items) == "object" and _properties(items):
            found = [
                self._record(items, text) for text in self._entries(name.lower(), min(most, 5))
            ]
        else:
            found = [self.value(items, name)]
        while len(found) < least:
            found.append(self.value(items, name))
        return found[:most]

    def _entries(self, name: str, most: int) -> list[str]:
        """Pieces of the text that each make one record of a list."""
        return lists.list_items(self.work.text, name, most)

    def _record(self, schema: Schema, text: str) -> dict[str, Any]:
        part = _Filler(Work(self.work.instruction, schema, ({"text": text},)))
        return {key: part.value(inner, key) for key, inner in _properties(schema).items()}

    def _string(self, schema: Schema, name: str, nullable: bool) -> str | None:
        if schema.get("format") in ("date", "date-time"):
            found = extract.iso_date(self.work.text)
            stamp = "T00:00:00Z" if schema["format"] == "date-time" else ""
            return (
                found or (None if nullable else "1970-01-01")
            ) and f"{found or '1970-01-01'}{stamp}"
        found = self._text(schema, name)
        if not found and nullable:
            return None
        return _fitted(found or "unknown", schema)

    def _text(self, schema: Schema, name: str) -> str | None:
        work, text = self.work, self.work.text
        limit = schema.get("maxLength")
        if name in work.fields and not work.reduce and not _SUMMARY.search(name):
            return work.fields[name]
        if _SENTENCE.search(name):
            return _best_sentence(text, work.instruction, work.rounds)
        if _SUMMARY.search(name) or work.reduce:
            return self._summary(limit)
        if _REASON.search(name):
            return summarise.shorten(_best_sentence(text, work.instruction, 0), 25)
        if re.search(r"sentiment|polarity|tone", name):
            return classify.choose(text, ["positive", "negative", "neutral"], work.instruction)
        if re.search(r"language", name):
            return "English"
        found = extract.extract_text(text, name)
        if found is None and re.search(r"title|subject|topic|headline|keyword|theme", name):
            return summarise.shorten(_best_sentence(text, "", 0), 10)
        if found is None and (
            _SUMMARISING.search(work.instruction) or re.search(r"text|answer|output", name)
        ):
            return self._summary(limit)
        return found

    def _summary(self, limit: int | None) -> str:
        work = self.work
        bound = summarise.bound_in(work.instruction, limit)
        known = facts(work.text) if len(work.text) < 80 else ()
        if known:
            return summarise.clip(" ".join(known), bound.letters)
        text = "\n\n".join(_main(item) for item in work.items)
        if len(text) < 80 and text.strip():
            topic = text.strip()
            text = f"{topic} is what this is about. The practice model knows no more of {topic}."
        return summarise.summarise(text, bound, work.instruction, 0)


def _main(item: Any) -> str:
    return max(cast("dict[str, str]", item).values(), key=len, default="")


def _listing(done: Redaction, items: Schema) -> list[Any]:
    if _kind(items) == "string":
        return [piece.text for piece in done.replaced]
    listed: list[Any] = []
    for piece in done.replaced:
        record: dict[str, Any] = {}
        for name, part in _properties(items).items():
            is_tag = bool(part.get("enum")) or re.search(
                r"tag|label|type|kind|category|replace|entity", name
            )
            if is_tag and not re.search(r"text|original|value", name):
                bracket = re.search(r"replacement|placeholder", name) and not part.get("enum")
                record[name] = f"[{piece.tag}]" if bracket else piece.tag
            elif _kind(part) in ("integer", "number"):
                record[name] = 0
            else:
                record[name] = piece.text
        listed.append(record)
    return listed


def _asks_more(texts: list[str]) -> bool:
    return all(_SUMMARY.search(name) or _REASON.search(name) for name in texts)


def _best_sentence(text: str, hint: str, skip: int) -> str:
    sentences = summarise.split_sentences(text)
    if not sentences:
        return text.strip()
    order = summarise.rank(sentences, hint)
    return sentences[order[skip % len(order)]]


def _properties(schema: Schema) -> dict[str, Schema]:
    found = schema.get("properties")
    return cast("dict[str, Schema]", found) if isinstance(found, dict) else {}


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((str(k) for k in cast("list[str]", kind) if k != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "string"


def _not_null(schema: Schema) -> tuple[Schema, bool]:
    """The schema without null among its choices, and whether null was one."""
    kinds = schema.get("type")
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            parts = cast("list[Schema]", schema[word])
            rest = [part for part in parts if part.get("type") != "null"]
            return (rest[0] if rest else {"type": "null"}), len(rest) < len(parts)
    nullable = isinstance(kinds, list) and "null" in kinds
    if nullable and isinstance(schema.get("enum"), list):
        schema = {**schema, "enum": [option for option in schema["enum"] if option is not None]}
    return schema, nullable


def _fitted(text: str, schema: Schema) -> str:
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    if most is not None:
        text = summarise.clip(text, int(most))
    return text if len(text) >= least else text + "." * (least - len(text))
