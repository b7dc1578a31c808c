"""A contract compiled: a model's text in, the canonical answer out, or words for what is wrong.

The plain way is short, for it is walked once a row: decode, validate, encode. All the care for
fences, prose, messages and quotes is taken only where it is needed.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec

from apwa.plan.mapping import resolved, without_null
from apwa.plan.quoting import NotQuoted, QuotePath, Source, clipped, quote_path, replace_at
from apwa.plan.redacting import NotRedacted, redaction
from apwa.plan.shortform import Schema
from apwa.vocabulary import ContractSpec, ErrorKind, Values

_MAX_SAID = 3
_MAX_STARTS = 50
_INT64 = 2**63
_Fix = Callable[[Any], Any]
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode


class ContractBroken(Exception):
    """An answer that is none. ``message`` can be said to the model; ``kind`` CONTRACT or EMPTY."""

    def __init__(self, message: str, kind: ErrorKind = ErrorKind.CONTRACT) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind


def refuse(uri: str) -> Any:
    """No schema is ever fetched."""
    raise ValueError(f"{uri} is outside of the plan")


def validator_of(schema: Schema) -> jsonschema_rs.Validator:
    """A validator that asserts formats, fetches nothing and takes linear time for patterns.

    Raises ValueError or jsonschema_rs.ValidationError for a schema that is none.
    """
    return jsonschema_rs.validator_for(
        schema,
        validate_formats=True,
        retriever=refuse,
        pattern_options=jsonschema_rs.RegexOptions(),
    )


class Contract:
    """What an answer must satisfy, but for its checks. Thread-safe; made once a step.

    Args:
        spec: The contract.
        columns: What the values hold, in order: ``WorkSpec.columns``.
    """

    def __init__(self, spec: ContractSpec, columns: Sequence[str]) -> None:
        self._validator = validator_of(spec.schema)
        top = resolved(spec.schema, spec.schema, ())
        properties: dict[str, Schema] = top.get("properties", {})
        required = top.get("required", [])
        self._texts = [name for name in required if _must_say(properties.get(name), spec.schema)]
        self._fix = _fix_object(top, spec.schema, 0)
        self._quotes = [
            (path, list(columns).index(column))
            for text, column in spec.quotes.items()
            if (path := quote_path(text)) is not None
        ]

        self._redacts = [
            _Redacting(field, path, list(columns).index(redacted.source))
            for field, redacted in spec.redacts.items()
            if (path := quote_path(redacted.replaced)) is not None
        ]

    def parse(self, text: str, values: Values) -> tuple[dict[str, Any], bytes]:
        """The answer in ``text`` as an object and as canonical JSON: schema order, compact.

        Raises ContractBroken.
        """
        try:
            found = _decode(text)
        except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
            found = _found_object(text)
        if not self._validator.is_valid(found):
            raise ContractBroken(self._said(found))
        for name in self._texts:
            if found[name] == "":
                raise ContractBroken(f"the field {name!r} is empty", ErrorKind.EMPTY)
        answer = self._fix(found)
        if self._quotes:
            answer = self._quoted(answer, values)
        for redacting in self._redacts:
            answer = _redacted(answer, redacting, values[redacting.place])
        return answer, _encode(answer)

    def _quoted(self, answer: dict[str, Any], values: Values) -> dict[str, Any]:
        said: list[str] = []
        for path, index in self._quotes:
            source = Source(list(_texts(values[index])))

            def put(where: str, quote: str, source: Source = source) -> str:
                try:
                    return source.find(quote)
                except NotQuoted as wrong:
                    said.append(f"{where}: {wrong}")
                    return quote

            answer = replace_at(answer, path, put)
        if said:
            raise ContractBroken("; ".join(said[:_MAX_SAID]))
        return answer

    def _said(self, found: Any) -> str:
        if not isinstance(found, dict):
            return f"the answer must be one JSON object, not {_kind_of(found)}"
        said: list[str] = []
        for error in self._validator.iter_errors(found):
            said.append(in_words(error))
            if len(said) == _MAX_SAID:
                break
        return "; ".join(said)


class _Redacting(NamedTuple):
    field: str
    replaced: QuotePath
    place: int  # of the source among the values


def _redacted(answer: dict[str, Any], redacting: _Redacting, value: Any) -> dict[str, Any]:
    """The answer with the strings that were replaced, and what was not, in the source's words."""
    text = answer.get(redacting.field)
    if not isinstance(text, str):
        return answer  # the contract lets it be null
    whole = "\n".join(_texts(value))
    source = Source([whole])
    listed: list[str] = []
    said: list[str] = []

    def put(where: str, string: str) -> str:
        try:
            listed.append(source.find(string))
        except NotQuoted as wrong:
            said.append(f"{where}: {wrong}")
            return string
        return listed[-1]

    answer = replace_at(answer, redacting.replaced, put)
    if said:
        raise ContractBroken("; ".join(said[:_MAX_SAID]))
    try:
        return {**answer, redacting.field: redaction(whole, text, listed)}
    except NotRedacted as wrong:
        raise ContractBroken(f"{redacting.field}: {wrong}") from None


def in_words(error: jsonschema_rs.ValidationError) -> str:
    """A validation error as ``field: rule``, with the value clipped."""
    where = ""
    for part in error.instance_path:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    rule = _rule(error)
    return f"{where}: {rule}" if where else rule


_TYPES = {
    "string": "a text", "integer": "a whole number", "number": "a number",
    "boolean": "true or false", "array": "a list", "object": "an object", "null": "null",
}  # fmt: skip


def _rule(error: jsonschema_rs.ValidationError) -> str:
    value = clipped(error.instance)
    detail: Mapping[str, Any] = error.kind.as_dict()
    limit = next(iter(detail.values()), None)
    match error.kind.name:
        case "type":
            names = limit if isinstance(limit, list) else [limit]
            wanted = " or ".join(_TYPES.get(str(name), str(name)) for name in names)
            return f"must be {wanted}, not {_kind_of(error.instance)} ({value})"
        case "required":
            return f"the field {limit!r} is missing"
        case "enum":
            options = limit if isinstance(limit, list) else []
            shown = ", ".join(json.dumps(o, ensure_ascii=False) for o in options[:30])
            return f"must be one of {shown}; it is {value}"
        case "additionalProperties":
            names = ", ".join(clipped(name) for name in list(limit or [])[:5])
            return f"has fields that are not allowed: {names}"
        case "format":
            form = {"date": " (YYYY-MM-DD)", "date-time": " (YYYY-MM-DDTHH:MM:SSZ)"}
            return f"must be a valid {limit}{form.get(str(limit), '')}, and {value} is none"
        case "minLength" | "maxLength" | "minItems" | "maxItems":
            least = "at least" if error.kind.name.startswith("min") else "at most"
            unit = "characters" if error.kind.name.endswith("Length") else "items"
            return f"must have {least} {limit} {unit}; it is {value}"
        case "minimum" | "maximum":
            least = "at least" if error.kind.name == "minimum" else "at most"
            return f"must be {least} {limit}; it is {value}"
        case _:
            return clipped(error.message, 300)


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kind, words in ((str, "a text"), (int, "a number"), (float, "a number"), (list, "a list")):
        if isinstance(value, kind):
            return words
    return "an object"


# ---- finding the object


def _found_object(text: str) -> Any:
    """The one JSON object in a text that is not pure JSON."""
    if not text.strip():
        raise ContractBroken("the answer is empty", ErrorKind.EMPTY)
    try:
        found = _objects(text)
    except RecursionError:
        raise ContractBroken("the JSON is nested too deeply") from None
    if len(found) == 1:
        return found[0]
    if found:
        raise ContractBroken(f"the answer must be one JSON object; there are {len(found)}")
    if "{" not in text:
        raise ContractBroken(f"the answer must be one JSON object; it is {clipped(text)}")
    raise ContractBroken(f"the answer is no valid JSON: {_why(text, text.find('{'))}")


def _objects(text: str) -> list[Any]:
    found: list[Any] = []
    at = starts = 0
    while starts < _MAX_STARTS and (start := text.find("{", at)) >= 0:
        starts += 1
        try:
            _, end = _reader.raw_decode(text, start)
            found.append(_decode(text[start:end]))
            at = end
        except (ValueError, msgspec.MsgspecError):
            if _OBJECT.match(text, start):  # cut off or broken: what it holds is no answer
                raise ContractBroken(f"the answer is no valid JSON: {_why(text, start)}") from None
            at = start + 1
    return found


_reader = json.JSONDecoder(strict=True)
_OBJECT = re.compile(r'\{\s*"')


def _why(text: str, start: int) -> str:
    try:
        _reader.raw_decode(text, start)
    except json.JSONDecodeError as error:
        before = text[max(start, error.pos - 40) : error.pos]
        return f"{error.msg} after {clipped(before)}"
    except (ValueError, RecursionError):
        pass
    return "a number or a character that JSON does not allow"


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if value is None:
        return []
    return [_encode(value).decode()]


# ---- the canonical form


def _must_say(schema: Any, root: Schema) -> bool:
    """Whether a required property is a text that may be neither null nor empty."""
    if not isinstance(schema, dict):
        return False
    part, may_be_null = without_null(resolved(schema, root, ()))
    empty = part.get("minLength") == 0 or "" in part.get("enum", [])
    return part.get("type") == "string" and not may_be_null and not empty


def _fix_object(schema: Schema, root: Schema, depth: int) -> _Fix:
    """Brings an object's keys into schema order, and whole numbers and dates into range."""
    fixes: dict[str, _Fix | None] = {
        name: _fix_value(part, root, depth + 1)
        for name, part in schema.get("properties", {}).items()
    }
    if not any(fixes.values()):
        names = list(fixes)

        def order(value: Any) -> Any:
            if list(value) == names:
                return value
            return {name: value[name] for name in names if name in value}

        return order

    def fix(value: Any) -> Any:
        fixed: dict[str, Any] = {}
        for name, change in fixes.items():
            if name in value:
                inner = value[name]
                fixed[name] = inner if change is None or inner is None else change(inner)
        return fixed

    return fix


def _fix_value(schema: Any, root: Schema, depth: int) -> _Fix | None:
    if depth > 20:
        return None
    part, _ = without_null(resolved(schema, root, ()))
    part = resolved(part, root, ())
    for key in ("anyOf", "oneOf", "allOf"):
        if "type" not in part and isinstance(part.get(key), list) and part[key]:
            return _fix_value(part[key][0], root, depth + 1)
    match part.get("type"):
        case "integer":
            return _whole
        case "string":
            return _date if part.get("format") == "date" else None
        case "array":
            inner = _fix_value(part.get("items", {}), root, depth + 1)
            if inner is None:
                return None
            return lambda items: [None if item is None else inner(item) for item in items]
        case "object" if "properties" in part:
            return _fix_object(part, root, depth + 1)
        case _:
            return None


def _whole(value: Any) -> int:
    number = int(value)
    if not -_INT64 <= number < _INT64:
        raise ContractBroken(f"{clipped(value)} is out of the range of whole numbers")
    return number


def _date(value: str) -> str:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        raise ContractBroken(f"{value!r} is no date of the calendar") from None
    return value
