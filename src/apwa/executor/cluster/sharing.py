"""Whether another machine sees the same file: a shared disk."""

from __future__ import annotations

from pathlib import Path

Mark = tuple[int, int]
"""What tells a file from another of the same path: its size, and when it was changed (ns)."""

_NOWHERE: Mark = (-1, 0)


def mark_of(file: str | Path) -> Mark:
    """A file's mark; of one that is not there, a mark that no file has."""
    try:
        about = Path(file).stat()
    except OSError:
        return _NOWHERE
    return about.st_size, about.st_mtime_ns


def is_here(file: str | Path, mark: Mark) -> bool:
    """Whether the file with this mark stands under the same path here."""
    return mark != _NOWHERE and mark_of(file) == mark
