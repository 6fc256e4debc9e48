"""The router of the day: in a control group, and with a reader of its log that can stand still."""

import subprocess
import threading
from pathlib import Path

import psutil

from stock.processes import Process, eventually, free_port
from stock.router import Router, router_binary

from .group import Group


class Logged(Process):
    """A process whose standard error is a pipe. What is read of it goes to the usual file."""

    def __init__(self, name: str, argv: list[str], folder: Path, env: dict[str, str]):
        self.name = name
        self.out = folder / f"{name}.out"
        self.err = folder / f"{name}.err"
        with self.out.open("ab") as out:
            self.child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, env=env, cwd=folder
            )
        self.reads = threading.Event()
        self.reads.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self.err.open("ab", buffering=0) as err:
            while self.reads.wait() and (part := self.child.stderr.read1(4096)):
                err.write(part)

    def read_to_the_end(self) -> None:
        """After the process has ended."""
        self.reads.set()
        self._reader.join(10)


class DayRouter(Router):
    """Starts in `group`."""

    def __init__(self, folder, certificate, key, settings, group: Group):
        self.admin_port = free_port()
        settings = {"JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS": f"127.0.0.1:{self.admin_port}", **settings}
        super().__init__(folder, certificate, key, settings)
        self.group = group

    def start(self) -> None:
        argv = self.group.entering([str(router_binary())])
        self.process = Logged("router", argv, self.folder, {"PATH": "/usr/bin:/bin", **self.env})
        eventually("the router answers /readyz with 200", 20, self.ready)

    @property
    def pid(self) -> int:
        return self.process.child.pid

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system
