"""The child process that reads files of strangers, one after another.

It can neither write a file nor have more memory or processor time than it is given; it has no key
in its environment. The main thread does nothing but wait for what is asked, so that the end of
stdin, which is the end of the parent, ends this process at once, whatever a reader is doing.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import stat
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from apwa.documents.formats import Unreadable, count, read
from apwa.documents.messages import HEAD, Asked, Ended, Item, asked, framed

_STACK_BYTES = 64 << 20
_LONGEST_WORDS = 400


def _lock(memory_bytes: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # a system may not know one of them
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(OSError):
        os.nice(5)  # the calls to the model go first


def _give_time(cpu_s: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + cpu_s + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _frames(request: Asked) -> Iterator[bytes]:
    try:
        _check(request)
        if request.count:
            yield framed(count(request))
        else:
            for item in read(request):
                yield framed(_clean(item))
        ended = Ended()
    except Unreadable as trouble:
        ended = Ended(str(trouble))
    except MemoryError:
        ended = Ended("its reader needs more memory than it is given", spoiled=True)
    except ImportError as error:  # so it shows, too, that there is no memory for a library
        words = f"its reader cannot be loaded, perhaps for want of memory: {error}"
        ended = Ended(words[:_LONGEST_WORDS], spoiled=True)
    except OSError as error:
        ended = Ended(f"the file cannot be read: {error.strerror or error}")
    except Exception as error:
        ended = Ended(f"its reader failed: {type(error).__name__}: {error}"[:_LONGEST_WORDS])
    except BaseException as error:  # a panic of a library: who knows what it has left behind
        ended = Ended(f"its reader broke: {error}"[:_LONGEST_WORDS], spoiled=True)
    yield framed(ended)


def _check(request: Asked) -> None:
    about = os.stat(request.path)  # noqa: PTH116 the name may be no text
    if not stat.S_ISREG(about.st_mode):
        raise Unreadable("this is no ordinary file")
    if request.changed < 0:
        return
    if about.st_size != request.size or about.st_mtime_ns != request.changed:
        raise Unreadable("the file has changed since it was listed")


def _clean(item: Item) -> Item:
    """What is no text in a text: lone surrogates, and the NUL that databases stumble over."""
    if item.text is None:
        return item
    text = item.text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    return item if text == item.text else msgspec.structs.replace(item, text=text)


def _work(requests: queue.SimpleQueue[bytes], out: BinaryIO) -> None:
    while True:
        request = asked.decode(requests.get())
        _give_time(request.cpu_s)
        for frame in _frames(request):
            out.write(frame)
        out.flush()


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    _lock(int(sys.argv[1]))
    threading.stack_size(_STACK_BYTES)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_work, args=(requests, out), daemon=True).start()
    out.write(framed(Ended()))  # the first word: this process has started
    out.flush()
    source = sys.stdin.buffer
    while len(head := source.read(HEAD.size)) == HEAD.size:
        requests.put(source.read(HEAD.unpack(head)[0]))
    os._exit(0)


if __name__ == "__main__":
    main()
