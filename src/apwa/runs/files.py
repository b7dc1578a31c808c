"""Files for people that appear whole or not at all, whatever stops the one who writes them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from apwa.vocabulary import Misuse, named

_BEGUN = ".begun"


def check_place(path: Path, *, force: bool) -> None:
    """Raises Misuse where no file can be put, or one is there already, before anything is spent."""
    if path.is_dir():
        raise Misuse("this is a directory", str(path), "Name a file in it.")
    if not path.absolute().parent.is_dir():
        raise Misuse("its directory does not exist", str(path), "Make it, or name another.")
    if path.exists() and not force:
        raise Misuse("the file exists", str(path), "Name another, or give --force.")
    trial = _beside(path)
    try:  # no other question is answered truly for every user and every file system
        trial.touch()
    except OSError as error:
        raise Misuse(
            f"it cannot be written: {error.strerror}", str(path), "Name another."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Generator[Path]:
    """Gives a file beside ``path`` to write to, which takes its place if the block ends well.

    Whoever writes holds a lock on it. So what a killed process has left is known, and removed by
    the next who writes the same file. Raises Paused if the disk is full.
    """
    _sweep(path)
    begun = _beside(path)
    try:
        with begun.open("xb") as held:
            _is_free(held)
            yield begun
            os.fsync(held.fileno())
        begun.replace(path)
    except OSError as error:
        raise named(error, path) from error
    finally:
        begun.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a short file whole. Raises Paused if the disk is full."""
    with whole(path) as begun:
        begun.write_text(text)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_BEGUN}")


def _sweep(path: Path) -> None:
    for left in path.absolute().parent.iterdir():
        if left.name.startswith(f".{path.name}.") and left.suffix == _BEGUN:
            with contextlib.suppress(OSError), left.open("rb") as file:
                if _is_free(file):
                    left.unlink()


def _is_free(file: BinaryIO) -> bool:
    """Take the file's lock, if nobody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is held, or this file system has no locks
        return False
    return True
