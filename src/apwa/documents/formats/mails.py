"""E-mails and mailboxes: headers and text; what is attached is named, not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from apwa.documents.formats import Unreadable
from apwa.documents.formats.charsets import decoded
from apwa.documents.formats.html import as_markdown
from apwa.documents.messages import BLOCK, MOST_TEXT, Asked, Counted, Item

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_TEXTS = ("text/plain", "text/html")
_FROM = b"From "
_BETWEEN = "\n\n---\n\n"


def read(asked: Asked) -> Iterator[Item]:
    path = Path(asked.path.decode("utf-8", "surrogateescape"))
    with path.open("rb") as file:
        if asked.reader == "mail":
            yield Item(asked.first, _text(file.read(MOST_TEXT + 1)))
            return
        file.seek(asked.offset)
        messages = _messages(file, asked.offset)
        if not asked.parts:
            yield Item(1, _whole(message for _, message in messages))
            return
        for number, (_, message) in enumerate(islice(messages, asked.parts), asked.first):
            try:
                yield Item(number, _text(message))
            except Unreadable as trouble:
                yield Item(number, reason=str(trouble))


def count(asked: Asked) -> Counted:
    with Path(asked.path.decode("utf-8", "surrogateescape")).open("rb") as file:
        offsets = [offset for offset, _ in _messages(file, 0)]
    return Counted(len(offsets), offsets[::BLOCK])


def _whole(messages: Iterator[bytes]) -> str:
    texts: list[str] = []
    size = 0
    for message in messages:
        texts.append(_text(message))
        size += len(texts[-1]) + len(_BETWEEN)
        if size > MOST_TEXT:
            raise Unreadable(
                f"the mailbox has more than {MOST_TEXT:,} characters: read it with --split records"
            )
    return _BETWEEN.join(texts)


def _text(data: bytes) -> str:
    if len(data) > MOST_TEXT:
        raise Unreadable(f"the mail is too large: at most {MOST_TEXT:,} bytes")
    try:
        message = message_from_bytes(data, policy=policy.default)
        if not message.keys():
            raise Unreadable("the file is no e-mail: it begins with no header")
        texts: list[str] = []
        attached: list[str] = []
        for part in _shown(message):
            told = part.get_content_type() in _TEXTS and not part.get_filename()
            if told and not part.is_attachment():
                texts.append(_body(part))
            else:
                attached.append(f"  {_named(part)}")
    except RecursionError as error:
        raise Unreadable("the mail is nested too deeply") from error
    found = ((name, _header(message, name)) for name in _HEADERS)
    heads = [f"{name}: {value}" for name, value in found if value]
    names = ["\n".join(["Attachments:", *attached])] if attached else []
    return "\n\n".join(filter(None, ("\n".join(heads), *texts, *names)))


def _shown(message: EmailMessage) -> Iterator[EmailMessage]:
    """The parts that are no containers; of alternatives the one of plain text, else the best."""
    if not message.is_multipart() or message.get_content_maintype() == "message":
        yield message
        return
    parts = [part for part in message.get_payload() if isinstance(part, EmailMessage)]
    if message.get_content_subtype() == "alternative":
        plain = [part for part in parts if part.get_content_type() == _TEXTS[0]]
        rich = [
            part for part in parts if part.get_content_type() == _TEXTS[1] or part.is_multipart()
        ]
        kept = (plain or rich[-1:])[:1]
        parts = [*kept, *(part for part in parts if part not in plain and part not in rich)]
    for part in parts:
        yield from _shown(part)


def _body(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    text = decoded(payload if isinstance(payload, bytes) else b"", part.get_content_charset(""))
    if part.get_content_subtype() == "html":
        return as_markdown(text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def _named(part: EmailMessage) -> str:
    if part.get_content_maintype() == "message":
        inner = part.get_payload()
        if isinstance(inner, list) and inner and isinstance(inner[0], Message):
            return f"message: {_header(inner[0], 'Subject') or 'without a subject'}"
    payload = part.get_payload(decode=True)
    size = len(payload) if isinstance(payload, bytes) else 0
    return f"{part.get_filename() or part.get_content_type()} ({size:,} bytes)"


def _header(message: Message, name: str) -> str:
    """A header's words; 8-bit letters in it, which are against the rules, as they were meant."""
    for key, value in message.raw_items():
        if key.lower() == name.lower():
            source = decoded(str(value).encode("utf-8", "surrogateescape"))
            try:
                words = str(policy.default.header_fetch_parse(key, source))
            except Exception:  # the parser stumbles over what senders make up
                words = source
            return " ".join(words.split())
    return ""


def _messages(file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes]]:
    """(where it begins, message) of a mailbox; each follows a blank line and begins with From."""
    begun, lines, size, blank = offset, list[bytes](), 0, True
    seen = False
    while line := file.readline(MOST_TEXT):
        if blank and line.startswith(_FROM):
            if seen:
                yield begun, b"".join(lines)
            begun, lines, size, seen = offset, [], 0, True
        elif seen:
            size += len(line)
            if size > MOST_TEXT:
                raise Unreadable(f"a message is larger than {MOST_TEXT:,} bytes")
            lines.append(line[1:] if re.match(rb">+From ", line) else line)
        elif line.strip():
            raise Unreadable("the file is no mailbox: it does not begin with a From line")
        blank = not line.strip()
        offset += len(line)
    if seen:
        yield begun, b"".join(lines)
