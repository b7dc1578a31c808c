"""The journal's tables, its keys, and what a row's bytes mean, in whatever database.

Results lie in an append-only rowid table; one unique integer index is their key, packed as

    step (10 bits) | ordinal (40 bits) | generation (13 bits)

where the step's number stands for (scope, step). All generations of a row are neighbours, the
highest last, and a span of ordinals is a span of keys. A second index holds the few rows that are
quarantined, with their kinds, so that done-sets are read from two indexes and never from the
rows. (Clustered or hashed keys fall below a third of this table's speed at three million rows.)
"""

from __future__ import annotations

import msgspec

from apwa.journal.seam import StoredResult
from apwa.vocabulary import Attempt, ErrorKind

VERSION = 1

GENERATION_BITS = 13
ORDINAL_BITS = 40
GENERATIONS = 1 << GENERATION_BITS
ORDINALS = 1 << 32  # what a bitmap holds

TABLES = """
CREATE TABLE steps (number {number}, scope TEXT NOT NULL, step TEXT NOT NULL,
    calls BIGINT NOT NULL DEFAULT 0, input_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0, cached_tokens BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens BIGINT NOT NULL DEFAULT 0, cost_nusd BIGINT NOT NULL DEFAULT 0,
    cost_unknown INTEGER NOT NULL DEFAULT 0, UNIQUE (scope, step));
CREATE TABLE results (id {number}, key BIGINT NOT NULL, kind TEXT,
    reuse_key {bytes} NOT NULL, source TEXT NOT NULL, answer {bytes} NOT NULL, raw {words} NOT NULL,
    message {words} NOT NULL, attempts {bytes} NOT NULL, duration_s {real} NOT NULL,
    host TEXT NOT NULL);
CREATE UNIQUE INDEX results_key ON results (key);
CREATE INDEX results_bad ON results (key, kind) WHERE kind IS NOT NULL;
CREATE TABLE transcripts (result BIGINT PRIMARY KEY, transcript {bytes} NOT NULL);
CREATE TABLE blocks (id {number}, holder TEXT NOT NULL, reserved {bytes} NOT NULL, spent {bytes});
CREATE TABLE events (number {number}, at {real} NOT NULL, progress TEXT NOT NULL,
    event {bytes} NOT NULL);
CREATE INDEX events_progress ON events (progress, number) WHERE progress <> '';
CREATE TABLE plans (version {number}, text TEXT NOT NULL, reason TEXT NOT NULL, at {real} NOT NULL);
CREATE TABLE turns (number {number}, message {bytes} NOT NULL, usage {bytes} NOT NULL,
    plan_version INTEGER NOT NULL);
CREATE TABLE commands (number {number}, at {real} NOT NULL, command {bytes} NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, value {bytes} NOT NULL);
INSERT INTO facts VALUES ('epoch', '0');
"""
"""What both databases hold; the types in braces differ."""

RESULT_COLUMNS = "key, kind, reuse_key, source, answer, raw, message, attempts, duration_s, host"
_attempts = msgspec.msgpack.Decoder(list[Attempt])
encode_attempts = msgspec.msgpack.Encoder().encode


def pack_key(step: int, ordinal: int, generation: int) -> int:
    """The integer key of a result; keys of one row are neighbours."""
    if not (0 <= ordinal < ORDINALS and 0 <= generation < GENERATIONS):
        raise ValueError(f"ordinal {ordinal} or generation {generation} is out of bounds")
    return (step << ORDINAL_BITS | ordinal) << GENERATION_BITS | generation


def unpack_key(key: int) -> tuple[int, int]:
    """(ordinal, generation) of a key."""
    return key >> GENERATION_BITS & ((1 << ORDINAL_BITS) - 1), key & (GENERATIONS - 1)


def stored(scope: str, step: str, row: tuple[object, ...], transcript: bytes) -> StoredResult:
    """A row of RESULT_COLUMNS as a result."""
    key, kind, reuse_key, source, answer, raw, message, attempts, duration_s, host = row
    ordinal, generation = unpack_key(key)  # pyright: ignore[reportArgumentType]
    return StoredResult(
        scope, step, ordinal, generation, reuse_key, source,  # pyright: ignore[reportArgumentType]
        None if kind is None else ErrorKind(kind), answer, _text(raw), _text(message),  # pyright: ignore[reportArgumentType]
        _attempts.decode(attempts) if attempts else [],  # pyright: ignore[reportArgumentType]
        duration_s, host, transcript,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def _text(stored: object) -> str:
    return stored.decode() if isinstance(stored, bytes) else str(stored)
