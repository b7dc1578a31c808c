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
        self._process = subprocess.Popen(
            [*self._as, self._binaries / "postgres", "-D", self._folder / "data", "-p",
             str(self.port), "-c", "listen_addresses=127.0.0.1", "-c",
             f"unix_socket_directories={self._folder}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder,
        )  # fmt: skip
        end = time.monotonic() + _WAIT_S
        while not self._answers():
            assert time.monotonic() < end and self._process.poll() is None, "it does not start"
            time.sleep(0.1)

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

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(3)  # at once: sessions that are open are ended
                self._process.wait(10)
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


def binaries() -> Path:
    """Where the server's programs are. In CI they must be there; elsewhere the test is skipped."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if (found and (found[-1] / "initdb").exists()) or shutil.which("initdb"):
        return found[-1] if found else Path(str(shutil.which("initdb"))).parent
    words = "PostgreSQL's server is not installed (Debian: apt-get install postgresql)"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)
