"""What files hold, kept once in the run: their texts, their pictures, why some cannot be read.

One SQLite file beside the listings. Whoever drives the run writes it, anybody reads it, so that a
resume, a later step, ``show`` or ``export`` sees the same bytes even when the sources have gone.
A picture's bytes stand here once, by their hash; tables hold a reference to it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from pyroaring import BitMap

from apwa.vocabulary import Paused

CONTENT = {b"apwa.content": b"file"}
"""Metadata of a column that holds a file's content: results name the file and leave it out."""

IMAGES = {b"apwa.content": b"images"}
"""Metadata of a column that holds references to pictures."""

CONTENT_FILE = "content.db"
"""Its name, beside the listings of a run."""

FILE = "file"
SIZE = "size"
TEXT_COLUMN = "text"
IMAGES_COLUMN = "images"
UNREADABLE = "_unreadable"
"""Column that says why a file could not be read; null where it could."""

IMAGE_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("type", pa.string()),
            pa.field("width", pa.int64()),
            pa.field("height", pa.int64()),
            pa.field("size", pa.int64()),
            pa.field("hash", pa.string()),
        ]
    )
)
FIELDS = {
    TEXT_COLUMN: pa.field(TEXT_COLUMN, pa.string(), metadata=CONTENT),
    IMAGES_COLUMN: pa.field(IMAGES_COLUMN, IMAGE_TYPE, metadata=IMAGES),
    UNREADABLE: pa.field(UNREADABLE, pa.string()),
}
"""The columns of a listing that stand here and not among its own."""

_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 1000
_TABLES = """
CREATE TABLE IF NOT EXISTS parts (
  source TEXT NOT NULL, ordinal INTEGER NOT NULL, text TEXT, images TEXT, reason TEXT,
  PRIMARY KEY (source, ordinal));
CREATE TABLE IF NOT EXISTS again (source TEXT, ordinal INTEGER, PRIMARY KEY (source, ordinal));
CREATE TABLE IF NOT EXISTS images (hash TEXT PRIMARY KEY, data BLOB NOT NULL);
"""


class ImageRef(msgspec.Struct, frozen=True):
    """A picture by its hash, and what can be said of it without its bytes."""

    type: str
    width: int
    height: int
    size: int
    hash: str


class Part(NamedTuple):
    """What a row's file holds. ``text`` None: there are only pictures, or a reason."""

    text: str | None = None
    images: Sequence[ImageRef] = ()
    reason: str | None = None


_NOTHING = Part()


def is_content(field: pa.Field) -> bool:
    """Whether a column holds the content of files, be it text or pictures."""
    return b"apwa.content" in (field.metadata or {})


def is_images(field: pa.Field) -> bool:
    """Whether a column holds pictures."""
    return not IMAGES.items() - (field.metadata or {}).items()


class KeptContent:
    """Reads what is kept. What is not there yet is null."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        if path.exists():
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            self._connection.execute("PRAGMA busy_timeout = 30000")

    def close(self) -> None:
        """Safe to call twice."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def have(self, source: str, start: int, stop: int) -> BitMap:
        """The ordinals of a table that are kept."""
        sql = "SELECT ordinal FROM parts WHERE source=? AND ordinal>=? AND ordinal<?"
        return BitMap(n for (n,) in self._all(sql, source, start, stop))

    def broken(self, source: str) -> dict[int, str]:
        """Why rows of a table could not be read, as far as that was tried, by ordinal."""
        sql = "SELECT ordinal, reason FROM parts WHERE source=? AND reason IS NOT NULL"
        return dict(self._all(sql, source))

    def parts(self, source: str, ordinals: Sequence[int]) -> Iterator[Part]:
        """What these rows hold, in the order asked for."""
        span = range(ordinals[0], ordinals[0] + len(ordinals)) if ordinals else range(0)
        if list(span) != list(ordinals):
            for ordinal in ordinals:
                yield from self.parts(source, [ordinal])
            return
        at = span.start
        while at < span.stop:
            some = self._some(source, at, span.stop)
            for ordinal, part in some:
                yield from repeat(_NOTHING, ordinal - at)
                yield part
                at = ordinal + 1
            if not some:
                yield from repeat(_NOTHING, span.stop - at)
                return

    def _some(self, source: str, start: int, stop: int) -> list[tuple[int, Part]]:
        """The first rows that are kept from here on, as many as memory does not feel."""
        found: list[tuple[int, Part]] = []
        size = 0
        with self._lock:
            if self._connection is None:
                return found
            sql = (
                "SELECT ordinal, text, images, reason FROM parts"
                " WHERE source=? AND ordinal>=? AND ordinal<? ORDER BY ordinal"
            )
            with closing(self._connection.execute(sql, (source, start, stop))) as rows:
                for ordinal, text, images, reason in rows:
                    refs = msgspec.json.decode(images, type=list[ImageRef]) if images else []
                    found.append((ordinal, Part(text, refs, reason)))
                    size += len(text or "")
                    if size >= _BATCH_BYTES or len(found) >= _BATCH_ROWS:
                        break
        return found

    def image(self, hash_: str) -> bytes:
        """The bytes of a picture. Raises Paused where they are gone."""
        found = self._all("SELECT data FROM images WHERE hash=?", hash_)
        if not found:
            raise Paused("a picture that the run has kept is gone", "content.db", "Begin it anew.")
        return found[0][0]

    def beside(
        self, batch: pa.RecordBatch, ordinals: Sequence[int], names: Sequence[str], source: str
    ) -> Iterator[pa.RecordBatch]:
        """A listing's rows with what their files hold, the columns as named, bounded by bytes."""
        first, size = 0, 0
        parts: list[Part] = []
        for number, part in enumerate(self.parts(source, ordinals)):
            parts.append(part)
            size += len(parts[-1].text or "") + 64
            if size >= _BATCH_BYTES or len(parts) >= _BATCH_ROWS:
                yield _joined(batch.slice(first, len(parts)), parts, names)
                first, size, parts = number + 1, 0, []
        if parts:
            yield _joined(batch.slice(first, len(parts)), parts, names)

    def _all(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            if self._connection is None:
                return []
            return self._connection.execute(sql, values).fetchall()  # pyright: ignore[reportArgumentType]


class ContentStore(KeptContent):
    """Keeps content as well: one for each run that is driven. Safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.with_name("nothing yet"))
        self._path = path

    def begin(self) -> None:
        """Open the file, made if it is not there."""
        with self._lock:
            if self._connection is not None:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            # what a power cut takes is read once more; a killed process loses nothing
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_TABLES)
            self._connection = connection

    def put(
        self,
        source: str,
        parts: Iterable[tuple[int, Part]],
        images: Iterable[tuple[str, bytes]] = (),
    ) -> None:
        """Keep rows' contents; the first to do so wins. Raises Paused on a full disk."""
        rows = [(source, ordinal, part.text, _refs(part), part.reason) for ordinal, part in parts]
        with self._lock:
            connection = self._connection
            if connection is None:
                return  # closed meanwhile: it is read again when the run goes on
            try:
                with closing(connection.cursor()) as cursor:
                    cursor.execute("BEGIN IMMEDIATE")
                    try:
                        cursor.executemany("INSERT OR IGNORE INTO images VALUES (?, ?)", images)
                        cursor.executemany(
                            "INSERT OR IGNORE INTO parts VALUES (?, ?, ?, ?, ?)", rows
                        )
                        cursor.execute("COMMIT")
                    except BaseException:
                        if connection.in_transaction:
                            cursor.execute("ROLLBACK")
                        raise
            except sqlite3.OperationalError as error:
                raise Paused(
                    f"what files hold cannot be kept: {error}",
                    str(self._path),
                    "Free some space on the disk, then try again: nothing done is lost.",
                ) from error

    def forget_broken(self, source: str, ordinals: BitMap) -> None:
        """Forget why these rows could not be read: they are tried again, as their files are now."""
        broken = "FROM parts WHERE source=? AND ordinal=? AND reason IS NOT NULL"
        rows = [(source, ordinal) for ordinal in ordinals]
        with self._lock:
            assert self._connection is not None
            self._connection.executemany(
                f"INSERT OR IGNORE INTO again SELECT source, ordinal {broken}", rows
            )
            self._connection.executemany(f"DELETE {broken}", rows)

    def again(self, source: str) -> BitMap:
        """The rows whose files are read as they are now, not as they were listed."""
        return BitMap(n for (n,) in self._all("SELECT ordinal FROM again WHERE source=?", source))


def _refs(part: Part) -> str | None:
    return msgspec.json.encode(list(part.images)).decode() if part.images else None


def _joined(batch: pa.RecordBatch, parts: list[Part], names: Sequence[str]) -> pa.RecordBatch:
    columns: list[pa.Array] = []
    fields: list[pa.Field] = []
    for name in names:
        field = FIELDS.get(name)
        if field is None:
            at = batch.schema.get_field_index(name)
            field, column = batch.schema.field(at), batch.column(at)
        else:
            column = pa.array([_value(part, name) for part in parts], field.type)
        fields.append(field)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _value(part: Part, name: str) -> Any:
    if name == TEXT_COLUMN:
        return part.text
    if name == UNREADABLE:
        return part.reason
    return [msgspec.structs.asdict(ref) for ref in part.images] if part.images else None
