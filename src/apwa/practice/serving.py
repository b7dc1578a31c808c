"""``python -m apwa.practice``: start the server, say where it is, serve until told to end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from apwa.practice.chairs import ByHand, Chair, Recorder, Replay, Rules
from apwa.practice.costumes import COSTUMES
from apwa.practice.faults import RATES, Dice, Faults
from apwa.practice.server import PracticeServer
from apwa.practice.wire import count_tokens


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; the exit code. Faults or folders that are not understood end with 2."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        dice = Dice(Faults.parse(options.faults), options.seed)
        server = PracticeServer(_chair(options), dice)
    except ValueError as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return 2
    asyncio.run(_serve(server, options.port, until_eof=options.until_eof))
    return 0


def _parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {name:14} {words}" for name, words in RATES.items())
    costumes = "\n".join(f"  {name:14} {worn.words}" for name, worn in COSTUMES.items() if name)
    parser = argparse.ArgumentParser(
        prog="python -m apwa.practice",
        description="The practice model: an OpenAI-protocol endpoint whose answers are made by "
        "rules. It plays a language model and is none.",
        epilog=f"faults, each with =SHARE and @SECONDS:\n{faults}\n"
        "  latency=MS~JITTER, retry_after=S, slots=N, after=N, until=N, marker=TEXT,\n"
        f"  refuse_param=NAME\ncostume=NAME, one of:\n{costumes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--until-eof", action="store_true", help="end when stdin closes")
    parser.add_argument("--faults", default="", metavar="SPEC", help="what goes wrong, see below")
    parser.add_argument("--seed", type=int, default=1, help="for the faults' draws")
    parser.add_argument("--by-hand", type=Path, metavar="DIR", help="a person answers by files")
    parser.add_argument("--replay", type=Path, metavar="DIR", help="answer from recordings")
    parser.add_argument("--record", type=Path, metavar="DIR", help="keep each exchange as a file")
    return parser


def _chair(options: argparse.Namespace) -> Chair:
    if options.by_hand and options.replay:
        raise ValueError("--by-hand and --replay: only one can sit in the chair")
    chair: Chair = Rules()
    if options.by_hand:
        chair = ByHand(options.by_hand)
    elif options.replay:
        chair = Replay(options.replay)
    return Recorder(chair, options.record) if options.record else chair


async def _serve(server: PracticeServer, port: int, *, until_eof: bool) -> None:
    # A caller who gives up must not leave its handler behind.
    runner = web.AppRunner(server.app(), handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096, shutdown_timeout=1.0)
    await site.start()
    bound = runner.addresses[0][1]
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    print(f"http://127.0.0.1:{bound}/v1", flush=True)  # noqa: T201
    threading.Thread(target=count_tokens, args=("",), daemon=True).start()  # loads the tokeniser
    if until_eof:
        threading.Thread(target=_watch_stdin, args=(loop, ended), daemon=True).start()
    await ended.wait()
    await runner.cleanup()


def _watch_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    # A thread, since the event loop cannot wait on every kind of stdin (a file, /dev/null); and
    # os.read, since a buffered reader's lock, held at exit, would abort the interpreter.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has closed
        loop.call_soon_threadsafe(ended.set)
