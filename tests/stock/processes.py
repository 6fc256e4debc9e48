"""Child processes with logs in files, deadlines on every wait, and an end by process id."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

# A stock client ends its shell with it; under `nohup` it would be ignored, and children inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

BIN = Path(sys.executable).parent
TESTS = Path(__file__).resolve().parent.parent

# Every process since the start of the running test, so that a failure can show their logs.
STARTED: list["Process"] = []


def free_port() -> int:
    """A port of 127.0.0.1 that is free right now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def eventually(what: str, timeout: float, check: Callable[[], T], interval: float = 0.02) -> T:
    """Poll `check` until it returns something true; fail with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(interval)


def clean_environment(home: Path, runtime: Path, **extra: str) -> dict[str, str]:
    """Nothing of the caller's configuration or proxies may reach the peers, only where programs are found."""
    return {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(TESTS),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        **extra,
    }


class Process:
    """One child process; its output goes to `<folder>/<name>.out` and `.err`."""

    def __init__(self, name: str, argv: list[str], folder: Path, env: dict[str, str], cwd: Path | None = None):
        self.name = name
        self.out = folder / f"{name}.out"
        self.err = folder / f"{name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd or folder
            )
        STARTED.append(self)

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def wait(self, timeout: float) -> int:
        """The exit code; a process that does not end in time fails the test."""
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout:g} s") from None

    def terminate(self) -> None:
        self.child.send_signal(signal.SIGTERM)

    def kill(self) -> float:
        """SIGKILL the process and all its descendants; returns when (monotonic clock)."""
        try:
            tree = [psutil.Process(self.child.pid)]
            tree += tree[0].children(recursive=True)
        except psutil.NoSuchProcess:
            tree = []
        at = time.monotonic()
        for process in tree:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.child.wait(10)
        return at

    def connections_to(self, port: int) -> int:
        """How many established TCP connections to `port` the process and its descendants hold."""
        count = 0
        root = psutil.Process(self.child.pid)
        for process in [root, *root.children(recursive=True)]:
            try:
                for c in process.net_connections(kind="tcp"):
                    count += c.status == psutil.CONN_ESTABLISHED and c.raddr.port == port
            except psutil.NoSuchProcess:
                pass
        return count

    def events(self, kind: str) -> list[dict]:
        """The events of this kind that a client program has printed so far."""
        found = []
        # A line still being written has no newline yet and is left for the next look.
        for line in self.out.read_text().splitlines(keepends=True):
            if line.startswith('{"event"') and line.endswith("\n"):
                event = json.loads(line)
                if event["event"] == kind:
                    found.append(event)
        return found

    def event(self, kind: str, timeout: float) -> dict:
        """The first event of this kind; the program ending without one fails at once."""

        def look() -> dict | None:
            running = self.running
            if found := self.events(kind):
                return found[0]
            assert running, f"{self.name} ended with code {self.child.returncode} before it said {kind!r}"
            return None

        return eventually(f"event {kind!r} of {self.name}", timeout, look)
