"""Child processes that read files: a few, one file at a time each, replaced when they die.

A child is bounded by the system in memory and processor time, and by a timer here. What ends a
child in the middle of a file is that file's reason, unless the child had read others before: what
those left behind may be to blame, so the file is tried once more in a fresh one.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from apwa.documents.messages import HEAD, MOST_FRAME, Asked, Ended, Said, framed, said

_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")  # never a key
_QUIET = {  # libraries that would take all cores, and address space for each
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKIO_WORKER_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
_MOST_READERS = 4
_START_S = 60.0
_FILES_A_CHILD = 2000  # libraries that leak do so in bounds


@dataclass(frozen=True, slots=True)
class Limits:
    """What the reading of one file, or of one block of its parts, may take."""

    memory_bytes: int = 1 << 30
    cpu_s: int = 60
    seconds: float = 120.0


class Closed(Exception):
    """The readers were closed while a file was being read."""


class _Died(Exception):
    """The child ended, or was ended, in the middle of a file; the words say why."""

    def __init__(self, words: str, *, late: bool = False) -> None:
        super().__init__(words)
        self.late = late


class Readers:
    """A pool of children. ``read`` may be called from as many threads as there are children."""

    def __init__(self, limits: Limits | None = None, count: int | None = None) -> None:
        self.limits = limits or Limits()
        self.count = count or min(os.cpu_count() or 1, _MOST_READERS)
        self._free: queue.LifoQueue[_Child] = queue.LifoQueue()
        self._children = [_Child(self.limits) for _ in range(self.count)]
        self._closed = False
        for child in self._children:
            self._free.put(child)

    def read(self, asked: Asked, take: Callable[[Said], None]) -> str:
        """Hand each part to ``take`` as it comes; the reason why not all of them came, or "".

        Parts may come again from the start where a child had to be replaced. Raises Closed.
        """
        asked = msgspec.structs.replace(asked, cpu_s=self.limits.cpu_s)
        child = self._free.get()
        try:
            while True:
                if self._closed:
                    raise Closed
                seasoned = child.files > 0
                try:
                    ended = child.read(asked, take)
                except _Died as died:
                    if self._closed:
                        raise Closed from None
                    if seasoned and not died.late:
                        continue
                    return str(died)
                if ended.spoiled:
                    child.end()
                    if seasoned:
                        continue
                return ended.reason
        finally:
            if self._closed:
                child.end()
            self._free.put(child)

    def close(self) -> None:
        """End the children, whatever they are doing. Safe to call twice."""
        self._closed = True
        for child in self._children:
            child.kill()
        idle: list[_Child] = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        for child in idle:  # those at work are ended by whoever waits for them
            child.end()
            self._free.put(child)

    @property
    def pids(self) -> list[int]:
        """The children's process ids."""
        return [child.pid for child in self._children if child.pid]


class _Child:
    """One process at a time; started when first needed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._there = False
        self.files = 0

    @property
    def pid(self) -> int:
        process = self._process
        return 0 if process is None else process.pid

    def read(self, asked: Asked, take: Callable[[Said], None]) -> Ended:
        process = self._started()
        try:
            self.files += 1
            deadline = time.monotonic() + self._limits.seconds
            assert process.stdin is not None
            process.stdin.write(framed(asked))
            process.stdin.flush()
            while True:
                message = said.decode(self._message(process, deadline))
                if isinstance(message, Ended):
                    break
                take(message)
        except (EOFError, BrokenPipeError, msgspec.DecodeError):
            raise _Died(self._why(self._wait(process))) from None
        except TimeoutError:
            self.end()
            words = f"reading it took longer than {self._limits.seconds:g} s"
            raise _Died(words, late=True) from None
        except BaseException:
            self.end()  # what comes of this file must not be taken for the next
            raise
        if self.files >= _FILES_A_CHILD:
            self.end()
        return message

    def _begun(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "apwa.documents.child", str(self._limits.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment | _QUIET,
                start_new_session=True,  # an interrupt at the terminal is the parent's to handle
            )
        return self._process

    def _started(self) -> subprocess.Popen[bytes]:
        """A process that has said its first word. That there is none is no file's fault."""
        try:
            process = self._begun()
            if not self._there:
                self._message(process, time.monotonic() + _START_S)
                self._there = True
        except TimeoutError:
            self.end()
            words = f"no process to read it had started within {_START_S:g} s"
            raise _Died(words, late=True) from None
        except (OSError, EOFError) as error:
            self.end()
            words = str(error) or f"it ended at once; it has {self._limits.memory_bytes >> 20:,} MB"
            raise _Died(f"no process to read it could be started: {words}", late=True) from None
        return process

    def _message(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        assert process.stdout is not None
        at = process.stdout.fileno()
        (size,) = HEAD.unpack(_exactly(at, HEAD.size, deadline))
        if size > MOST_FRAME:
            raise EOFError
        return _exactly(at, size, deadline)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)  # its pipe is closed: it is about to end
        self.end()
        return process.returncode

    def _why(self, code: int) -> str:
        if code == -signal.SIGXCPU:
            return f"reading it took more than {self._limits.cpu_s:,} s of processor time"
        megabytes = self._limits.memory_bytes >> 20
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return f"its reader broke off ({name}), perhaps for want of memory: it has {megabytes:,} MB"

    def kill(self) -> None:
        """End the process from another thread: whoever waits for it finds it dead."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()

    def end(self) -> None:
        process, self._process = self._process, None
        self.files, self._there = 0, False
        if process is None:
            return
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


def _exactly(at: int, size: int, deadline: float) -> bytes:
    ready = select.poll()  # select knows no number above 1023, and a run has many sockets
    ready.register(at, select.POLLIN)
    parts: list[bytes] = []
    while size:
        left = deadline - time.monotonic()
        if left <= 0 or not ready.poll(left * 1000):
            raise TimeoutError
        part = os.read(at, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
