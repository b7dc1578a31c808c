"""Finds the files that a source names, and their kind by their endings."""

from __future__ import annotations

import glob
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from apwa.documents import ENDINGS, Split, kind_of
from apwa.vocabulary import BadInput

_KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".txt": "text",
    ".md": "text",
    **{ending: "documents" for ending in ENDINGS if ending not in (".txt", ".md")},
}
_PACKED = ("csv", "json")
_FOREIGN = {  # files of several tables: one file makes one table, and a folder of them none
    **dict.fromkeys((".sqlite", ".sqlite3", ".db", ".db3"), "sqlite"),
    **dict.fromkeys((".duckdb", ".ddb"), "duckdb"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "spreadsheet"),
}
FOREIGN = frozenset(_FOREIGN.values())
_DUCKDB = b"DUCK"  # after a checksum of eight bytes
_PART = re.compile(
    rf"(?P<file>.+(?:{'|'.join(map(re.escape, _FOREIGN))}))#(?P<part>.+)", re.IGNORECASE | re.DOTALL
)
_HELP = (
    "Sources end in " + ", ".join(_KINDS) + " (.csv to .ndjson also packed, as .csv.gz), or are a"
    " folder or glob of such files; documents, pictures and texts may be mixed; or are a database"
    " or spreadsheet (" + ", ".join(_FOREIGN) + "), with #TABLE after it."
)


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one table, all of one kind, in order.

    Attributes:
        base: The folder that file names are told from.
        part: The table of a database, or the sheet of a spreadsheet; empty: the only one.
    """

    kind: str
    files: list[Path]
    base: Path
    left_out: int = 0  # files of a folder that are of no kind that can be read
    part: str = ""


def find_source(source: str | Path, split: Split = "") -> Source:
    """Look up a file, folder or glob. Raises BadInput if there is nothing that can be read.

    ``split``: into what documents are split; rows of data files may then be records among them.
    """
    found = _found(source, split)
    if split and found.kind in ("text", "documents"):
        check_split(split, found.files, str(source))
        return replace(found, kind="documents")
    if split:
        raise BadInput(
            "this is a table already: its rows are rows", str(source), "Leave --split out."
        )
    return found


def _found(source: str | Path, split: Split) -> Source:
    text, part = split_part(str(source))
    path = Path(text).expanduser()
    if path.is_dir():
        inside = [p for p in path.rglob("*") if _is_shown(p, path) and not p.is_dir()]
        known = [p for p in inside if _kind(p) is not None]
        found = _of_one_kind(text, known or inside, path, split)
        return replace(found, left_out=len(inside) - len(known))
    if not path.exists() and glob.has_magic(text):
        base = _fixed_part(path)
        pattern = path.relative_to(base).as_posix()
        found = [p for p in base.glob(pattern) if not p.is_dir() and _is_shown(p, base)]
        return _of_one_kind(text, found, base, split)
    if not path.exists():
        raise BadInput("there is no such file or folder", text, "Check the path.")
    if (foreign := _foreign(path)) is not None:
        return Source(foreign, [path], path.parent, part=part)
    kind = _kind(path)
    if kind is None:
        raise BadInput(f"{path.suffix or 'no ending'!r} is no ending of a source", text, _HELP)
    return Source(kind, [path], path.parent)


def has_known_ending(name: str, *, alone: bool = False) -> bool:
    """Whether a file's name ends as one that is read; ``alone``: one that makes a table alone."""
    path = Path(name)
    return _kind(path) is not None or (alone and path.suffix.lower() in _FOREIGN)


def split_part(source: str) -> tuple[str, str]:
    """``book.xlsx#Sheet2`` as the file and what of it; a file that bears such a name is itself."""
    found = _PART.fullmatch(source)
    if found is None or Path(source).expanduser().exists():
        return source, ""
    return found["file"], found["part"]


def _foreign(path: Path) -> str | None:
    kind = _FOREIGN.get(path.suffix.lower())
    if kind == "sqlite" and path.suffix.lower().startswith(".db"):  # both call their files so
        with path.open("rb") as file:
            return "duckdb" if file.read(12)[8:] == _DUCKDB else kind
    return kind


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz")).suffix
    kind = _KINDS.get(ending)
    return kind if kind in _PACKED or not name.endswith(".gz") else None


def _is_shown(path: Path, base: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(base).parts)


def _fixed_part(path: Path) -> Path:
    """The folders of a glob before its first wildcard."""
    fixed: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed) if fixed else Path()


def _of_one_kind(source: str, files: list[Path], base: Path, split: Split) -> Source:
    if not files:
        raise BadInput("there are no files here", source, _HELP)
    kinds = Counter(_kind(path) for path in files)
    if None in kinds:
        other = min(str(path) for path in files if _kind(path) is None)
        raise BadInput(f"a file is of no kind that can be read: {other}", source, _HELP)
    ordered = sorted(files, key=lambda p: p.as_posix())
    as_documents = split == "records" and kinds.keys() & {"text", "documents"}
    if kinds.keys() == {"text", "documents"} or (
        as_documents and all(kind_of(path.name, data=True) for path in files)
    ):
        return Source("documents", ordered, base)
    tables = kinds.keys() - {"text", "documents"}
    if len(kinds) > 1 and len(tables) < len(kinds):
        odd = min(str(path) for path in files if _kind(path) in tables)
        raise BadInput(
            f"tables are among the documents here: {odd}", source,
            "Leave them out by a glob, or read all by their records: --split records.",
        )  # fmt: skip
    if len(kinds) > 1:
        words = ", ".join(f"{count:,} of {kind}" for kind, count in sorted(kinds.items(), key=str))
        raise BadInput(
            f"files of several kinds are here: {words}",
            source,
            "Name one kind by a glob, such as 'folder/**/*.md'.",
        )
    return Source(str(next(iter(kinds))), ordered, base)


def has_parts(source: str | Path, split: Split) -> bool:
    """Whether a source holds documents with such parts."""
    found = _found(source, "")
    return found.kind in ("text", "documents") and _any_splits(found.files, split)


def _any_splits(files: list[Path], split: Split) -> bool:
    kinds = (kind_of(path.name, data=True) for path in files)
    return any(kind is not None and kind.splits(split) for kind in kinds)


def check_split(split: Split, files: list[Path], source: str) -> None:
    """Raises BadInput where nothing here has such parts."""
    if not _any_splits(files, split):
        raise BadInput(
            f"nothing here can be split into {split}",
            source,
            "Pages: PDF, PPTX, TIFF. Records: lines of text, messages of .mbox, rows of XLSX, and"
            " of CSV and JSONL files that lie among documents.",
        )
