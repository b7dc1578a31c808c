"""What a careless model does to a redaction: one of the strings that it lists stays in the text."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_TAG = re.compile(r"\[[A-Z][A-Z_ -]*\]")


def slip(answer: str) -> str:
    """The answer with the last tag of its text undone; the same if it is no redaction."""
    try:
        fields: Any = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        return answer
    if not isinstance(fields, dict):
        return answer
    listed = [item for value in fields.values() if isinstance(value, list) for item in value]
    texts = [str(item.get("text", "")) if isinstance(item, dict) else str(item) for item in listed]
    for name, value in fields.items():
        tags = list(_TAG.finditer(value)) if isinstance(value, str) else []
        if tags and texts:
            undone = value[: tags[-1].start()] + texts[-1] + value[tags[-1].end() :]
            return msgspec.json.encode({**fields, name: undone}).decode()
    return answer
