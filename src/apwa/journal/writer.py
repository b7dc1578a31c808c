"""The one thread that writes, and its group commit.

The event loop never waits for the disk: it hands over a change and awaits its future. Whatever
has come in while a transaction was on its way to the disk goes into the next one together, so
that a sync is paid once for many. A future is resolved only after the commit; if the commit
fails, all changes of the group are undone and all their futures carry the reason.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from apwa.journal.books import Books
from apwa.journal.schema import words_for
from apwa.vocabulary import Locked

T = TypeVar("T")

Change = Callable[[sqlite3.Connection, Books], T]
"""Writes within an open transaction and gives what the future shall hold."""

_GROUP = 64  # changes of one transaction at most: bounds the wait of the first of them


class Writer:
    """Owns the connection from now on. ``epoch``: the one that this writer may write under."""

    def __init__(self, connection: sqlite3.Connection, path: Path, epoch: int) -> None:
        self._connection = connection
        self._path = path
        self._epoch = epoch
        self._books = Books.load(connection)
        self._waiting: SimpleQueue[tuple[Change[Any], Future[Any]] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="apwa-journal", daemon=True)
        self._thread.start()

    def submit(self, change: Change[T]) -> Future[T]:
        """Hand over a change; its future is resolved when it is durable."""
        if self._closed:
            raise RuntimeError("the journal is closed")
        future: Future[T] = Future()
        self._waiting.put((change, future))
        return future

    def stop(self) -> None:
        """Take no more changes; what is waiting is still written. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)

    def join(self) -> None:
        """Block until all is written and the file is closed, after ``stop``."""
        self._thread.join()

    def _work(self) -> None:
        last = False
        while not last:
            group, last = self._take()
            group = [(c, f) for c, f in group if f.set_running_or_notify_cancel()]
            if group:
                self._commit(group)
        self._end()

    def _take(self) -> tuple[list[tuple[Change[Any], Future[Any]]], bool]:
        """Wait for a change, then take what else is there already."""
        group: list[tuple[Change[Any], Future[Any]]] = []
        item = self._waiting.get()
        while item is not None:
            group.append(item)
            if len(group) == _GROUP:
                return group, False
            try:
                item = self._waiting.get_nowait()
            except Empty:
                return group, False
        return group, True

    def _commit(self, group: list[tuple[Change[Any], Future[Any]]]) -> None:
        books = self._books.fork()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._check_epoch()
            made = [change(self._connection, books) for change, _ in group]
            books.save(self._connection)
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._undo()
            trouble = words_for(error, self._path) if isinstance(error, sqlite3.Error) else error
            trouble.__cause__ = error if trouble is not error else error.__cause__
            for _, future in group:
                future.set_exception(trouble)
            return
        self._books = books.settled()
        for (_, future), result in zip(group, made, strict=True):
            future.set_result(result)

    def _check_epoch(self) -> None:
        (epoch,) = self._connection.execute("SELECT epoch FROM run").fetchone()
        if epoch != self._epoch:
            raise Locked(
                "another driver has taken this run over", str(self._path), "This one must end."
            )

    def _undo(self) -> None:
        # on some errors, a full disk for one, SQLite has rolled back already
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _end(self) -> None:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # a reader is at it, or the disk is full: the log is taken in at the next opening
        finally:
            self._connection.close()
