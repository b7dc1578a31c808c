"""``python -m apwa.local``: load a model, say where it is, serve until told to end."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apwa.local.gguf import NoModel, read_head
from apwa.local.sizing import Sizes, fit, free_memory


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; the exit code. What cannot be served ends with 2 and a sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m apwa.local",
        description="Serve a GGUF file with llama.cpp over the OpenAI protocol on loopback.",
    )
    parser.add_argument("file", type=Path, help="the model file")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--context", type=int, help="tokens; default: what fits the memory")
    parser.add_argument("--until-eof", action="store_true", help="end when stdin closes")
    options = parser.parse_args(argv)
    try:
        sizes = fit(read_head(options.file), free_memory(), _cores(), options.context)
        server = _server(options.file, sizes, options.port)
    except (NoModel, OSError) as problem:
        print(f"{options.file}: {problem}", file=sys.stderr)  # noqa: T201
        return 2
    print(f"{server.listening_address}/v1", flush=True)  # noqa: T201
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if options.until_eof:
        threading.Thread(target=_watch_stdin, args=(ended,), daemon=True).start()
    ended.wait()
    os._exit(0)  # the server's own end waits for answers that nobody wants any more


def _server(path: Path, sizes: Sizes, port: int) -> Any:
    """Raises NoModel with the reason in words."""
    try:
        llama: Any = importlib.import_module("xllamacpp")
    except ImportError as missing:
        raise NoModel(f"to serve it, xllamacpp is needed: {missing}") from None
    settings = llama.CommonParams()
    settings.model.path = str(path)
    settings.model_alias = {path.stem}
    settings.hostnames, settings.port = ["127.0.0.1"], port
    settings.n_ctx, settings.n_parallel = sizes.context * sizes.slots, sizes.slots
    # Its threads wait for each other by spinning: with none to spare for apwa, one that is held
    # up holds up all the others, and answers take ten times as long.
    threads = max(1, _cores() - 1)
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.ui = False
    settings.offline = True
    settings.use_jinja = True  # tools are part of the model's own template
    settings.verbosity = -1
    try:
        return llama.Server(settings)
    except (RuntimeError, ValueError) as error:
        words = f"llama.cpp does not load it, so it is broken or of an unknown kind ({error})"
        raise NoModel(words) from None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def _watch_stdin(ended: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    ended.set()
