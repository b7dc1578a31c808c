"""What kinds of documents there are, by their endings, and what each needs to be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePath
from typing import Literal

from apwa.vocabulary import Misuse

Split = Literal["", "pages", "records"]
"""What becomes a row: a file, a page of it, or a record in it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        type: What the table calls it.
        reader: What reads it, in the child.
        needs: The modules that must be there.
        pages: Whether it can be split into pages.
        records: Whether it holds records.
        pictures: Whether it may give pictures.
    """

    type: str
    reader: str
    needs: tuple[str, ...] = ()
    pages: bool = False
    records: bool = False
    pictures: bool = False

    def splits(self, split: Split) -> bool:
        """Whether such a file has these parts."""
        return (self.pages and split == "pages") or (self.records and split == "records")


_OFFICE = ("docx", "odt", "rtf", "epub", "doc", "ppt", "xls", "xlsx", "ods")
_KINDS: dict[str, Kind] = {
    ".txt": Kind("txt", "text", records=True),
    ".md": Kind("md", "text", records=True),
    ".html": Kind("html", "html", ("html_to_markdown",)),
    ".htm": Kind("html", "html", ("html_to_markdown",)),
    ".xhtml": Kind("html", "html", ("html_to_markdown",)),
    ".pdf": Kind("pdf", "pdf", ("pypdfium2", "PIL"), pages=True, pictures=True),
    **{f".{name}": Kind(name, "office", ("xberg",)) for name in _OFFICE},
    ".xlsx": Kind("xlsx", "office", ("xberg",), records=True),
    ".pptx": Kind("pptx", "slides", ("xberg",), pages=True),
    ".odp": Kind("odp", "slides", ("xberg",), pages=True),
    ".eml": Kind("eml", "mail", ("html_to_markdown",)),
    ".msg": Kind("msg", "office", ("xberg",)),
    ".mbox": Kind("mbox", "mbox", ("html_to_markdown",), records=True),
    ".png": Kind("png", "image", ("PIL",), pictures=True),
    ".jpg": Kind("jpeg", "image", ("PIL",), pictures=True),
    ".jpeg": Kind("jpeg", "image", ("PIL",), pictures=True),
    ".webp": Kind("webp", "image", ("PIL",), pictures=True),
    ".gif": Kind("gif", "image", ("PIL",), pictures=True),
    ".tif": Kind("tiff", "image", ("PIL",), pages=True, pictures=True),
    ".tiff": Kind("tiff", "image", ("PIL",), pages=True, pictures=True),
}
# Tables by themselves; their rows are records of a folder that holds other things too.
_DATA: dict[str, Kind] = {
    ".csv": Kind("csv", "rows", records=True),
    ".tsv": Kind("tsv", "rows", records=True),
    ".jsonl": Kind("jsonl", "lines", records=True),
    ".ndjson": Kind("jsonl", "lines", records=True),
}
ENDINGS = tuple(_KINDS)


def kind_of(name: str, *, data: bool = False) -> Kind | None:
    """The kind of a file by its name; None for what is no document.

    ``data``: also those that are tables by themselves.
    """
    ending = PurePath(name).suffix.lower()
    return _KINDS.get(ending) or (_DATA.get(ending) if data else None)


def check_installed(kinds: Iterable[Kind], where: str) -> None:
    """Raises Misuse naming the extra, if a reader of these kinds is not installed."""
    lacking = sorted(
        {kind.type for kind in kinds if any(find_spec(module) is None for module in kind.needs)}
    )
    if lacking:
        raise Misuse(
            f"files of the kinds {', '.join(lacking)} need readers that are not installed",
            where,
            "Install them with: pip install 'apwa[docs]'",
        )
