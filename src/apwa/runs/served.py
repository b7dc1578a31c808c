"""Model servers that belong to this process: the practice model, a model file on this machine.

Each runs in a process of its own that ends when its stdin closes, so also when this process is
killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

from apwa.models import local_file, practice_faults
from apwa.vocabulary import Misuse

_KEPT_WORDS = 2000  # of what a server says on stderr; the rest is read and let go


class ModelProcess:
    """A model server in a process of its own.

    Attributes:
        url: Its address, with ``/v1``.
    """

    def __init__(self, process: asyncio.subprocess.Process, url: str, words: _Words) -> None:
        self._process = process
        self._words = words
        self.url = url

    @classmethod
    async def start(
        cls, module: str, arguments: Sequence[str], what: str, where: str
    ) -> ModelProcess:
        """Raises Misuse with the server's own words where it does not start."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, "--port", "0", "--until-eof", *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the driver, which still has calls in flight
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        words = _Words(process.stderr)
        started = cls(process, "", words)
        try:
            started.url = (await process.stdout.readline()).decode().strip()
        except BaseException:  # whoever wanted it has been cancelled, and nobody else knows it
            await started.stop()
            raise
        if not started.url.startswith("http"):
            await process.wait()
            raise Misuse(f"{what} does not start: {await words.all() or started.url}", where)
        return started

    async def stop(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        await self._process.wait()
        await self._words.all()


class _Words:
    """Reads what a server says on stderr, so that it never waits for a reader."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._kept = b""
        self._task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(65536):
            self._kept = (self._kept + chunk)[-_KEPT_WORDS:]

    async def all(self) -> str:
        await self._task
        return self._kept.decode(errors="replace").strip()


class ModelProcesses:
    """The servers of one run, each started when it is first asked for.

    Args:
        practice: Faults of the practice model, where its name gives none.
        context: The context size that the user wants of a model on this machine.
    """

    def __init__(self, practice: str = "", context: int | None = None) -> None:
        self._practice = practice
        self._context = context
        self._running: dict[str, ModelProcess] = {}

    async def url_of(self, spec: str) -> str:
        """The address of the server that a name asks for; empty if it asks for none.

        Raises Misuse: unknown faults, or a model file that cannot be served.
        """
        faults, file = practice_faults(spec), local_file(spec)
        if faults is None and file is None:
            return ""
        if spec not in self._running:
            self._running[spec] = await self._start(faults, file)
        return self._running[spec].url

    async def _start(self, faults: str | None, file: str | None) -> ModelProcess:
        if file is None:
            faults = faults or self._practice
            arguments = ["--faults", faults] if faults else []
            what, where = "the practice model", "--model practice"
            return await ModelProcess.start("apwa.practice", arguments, what, where)
        arguments = [file] if self._context is None else [file, "--context", str(self._context)]
        what = "the model on this machine"
        return await ModelProcess.start("apwa.local", arguments, what, "--model")

    async def close(self) -> None:
        running, self._running = self._running, {}
        for process in running.values():
            await process.stop()
