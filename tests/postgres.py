"""A PostgreSQL server of one's own, on a free loopback port, for as long as tests want it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

_WAIT_S = 90.0


class Server:
    """A private cluster in a temporary directory. Nobody else can reach its files."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="apwa-pg-"))
        self._as: list[str] = []
        if os.geteuid() == 0:  # the server refuses to be root
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}")
            self._as = ["setpriv", *ids, "--clear-groups"]
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        data = str(self._folder / "data")
        self._call("initdb", "-D", data, "-U", "apwa", "--auth=trust", "-E", "UTF8", "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://apwa@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        end = time.monotonic() + _WAIT_S
        while True:
            process = self._begun()
            while process.poll() is None:
                if self._answers():
                    return
                assert time.monotonic() < end, "it does not start"
                time.sleep(0.1)
            # what is left of one that was killed may be in its way for a while
            assert time.monotonic() < end, "it does not start"
            time.sleep(0.1)

    def _begun(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [*self._as, self._binaries / "postgres", "-D", self._folder / "data", "-p",
             str(self.port), "-c", "listen_addresses=127.0.0.1", "-c",
             f"unix_socket_directories={self._folder}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder,
        )  # fmt: skip
        return self._process

    def kill(self) -> None:
        """End it as a power cut would: all its processes, at once."""
        assert self._process is not None
        children = subprocess.run(
            ["ps", "--ppid", str(self._process.pid), "-o", "pid="], capture_output=True, text=True,
            check=False,
        ).stdout.split()  # fmt: skip
        self._process.kill()
        for child in children:
            subprocess.run(["kill", "-9", child], check=False, capture_output=True)
        self._process.wait()
        end = time.monotonic() + _WAIT_S
        while any(_lives(int(child)) for child in children):
            assert time.monotonic() < end, "a process of it does not end"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(3)  # at once: sessions that are open are ended
                self._process.wait(100)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _call(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as, self._binaries / name, *arguments],
            check=True, capture_output=True, cwd=self._folder,
        )  # fmt: skip


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # has let go of all that it held


def binaries() -> Path:
    """Where the server's programs are. In CI they must be there; elsewhere the test is skipped."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if (found and (found[-1] / "initdb").exists()) or shutil.which("initdb"):
        return found[-1] if found else Path(str(shutil.which("initdb"))).parent
    words = "PostgreSQL's server is not installed (Debian: apt-get install postgresql)"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)
