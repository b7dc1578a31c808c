"""Reading a manager's first message: the job, how far to go, tables, capabilities."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Column:
    """A column as its card shows it; token sizes are 0 where none are given."""

    name: str
    kind: str
    usual_tokens: int = 0
    long_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TableBrief:
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def main_text(self, job: str) -> Column | None:
        """The column that the work is about: one that the job names, else the longest text."""
        texts = [c for c in self.columns if c.kind == "text" and c.name not in self.key]
        texts = texts or [c for c in self.columns if c.kind == "text"] or list(self.columns)
        # what stands behind "by" or "per" names a group, not the text to be read
        job = re.sub(
            r"\b(by|per|for each|for every|within each) (the )?[\w-]+", "", job, flags=re.I
        )
        # "each story" may well name a column of numbers of stories: take no short one for a long
        long = max((c.usual_tokens for c in texts), default=0)
        named = [c for c in texts if mentions(job, c.name) and c.usual_tokens * 10 >= long]
        return max(named or texts, key=lambda c: c.usual_tokens, default=None)


@dataclass(frozen=True, slots=True)
class Briefing:
    job: str
    wanted: str
    tables: tuple[TableBrief, ...]
    capabilities: str


def mentions(job: str, name: str) -> bool:
    """Whether the job speaks of a column or table by its name."""
    spoken = re.escape(name).replace("_", "[ _-]")
    return re.search(rf"(?<!\w){spoken}s?(?!\w)", job, re.I) is not None


_JOB = re.compile(r"<job>\n(.*?)\n</job>\n\nWanted: *([^\n]*)", re.S)
_TABLE = re.compile(r"^Table (\S+): [\d,]+ rows?, [\d,]+ columns? \(row key: (.*)\)\.$", re.M)
_NAME = r'"(?:[^"\\]|\\.)*"'
_COLUMN = re.compile(rf"^- ({_NAME}) ([^;\n]+)(.*)$", re.M)
_TOKENS = re.compile(r"tokens: p50 ([\d,]+), p95 ([\d,]+), max ([\d,]+)")


def read_briefing(message: str) -> Briefing:
    """Read the message; what it does not say stays empty."""
    told = _JOB.search(message)
    job, wanted = (told.group(1).strip(), told.group(2)) if told else (message.strip(), "")
    rest = message[told.end() :] if told else ""
    tables_text, _, capabilities = rest.partition("# Capabilities")
    starts = list(_TABLE.finditer(tables_text))
    ends = [*(match.start() for match in starts), len(tables_text)][1:]
    tables = [
        _table(match, tables_text[match.end() : end])
        for match, end in zip(starts, ends, strict=False)
    ]
    return Briefing(job, wanted, tuple(tables), capabilities)


def _table(head: re.Match[str], text: str) -> TableBrief:
    columns: list[Column] = []
    for name, kind, rest in _COLUMN.findall(text):
        sizes = _TOKENS.search(kind + rest)
        usual, long = (_number(sizes.group(1)), _number(sizes.group(2))) if sizes else (0, 0)
        columns.append(Column(_plain(name), kind.strip(), usual, long))
    further = re.search(r"^- further columns: (.*)$", text, re.M)
    columns += [
        Column(_plain(n), "") for n in re.findall(_NAME, further.group(1) if further else "")
    ]
    return TableBrief(
        head.group(1), tuple(columns), tuple(_plain(n) for n in re.findall(_NAME, head.group(2)))
    )


def _plain(quoted: str) -> str:
    return msgspec.json.decode(quoted, type=str)


def _number(text: str) -> int:
    return int(text.replace(",", ""))
