"""A control group with a memory limit, version 1 or 2."""

import re
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# Version 1 counts sockets only if they have a limit.
SOCKETS = "memory.kmem.tcp.limit_in_bytes"


class Group:
    """Exists from its making until `close`."""

    def __init__(self, name: str, limit: int):
        new = (ROOT / "cgroup.controllers").exists()
        self.path = (ROOT if new else ROOT / "memory") / name
        self.path.mkdir()
        self._write("memory.max" if new else "memory.limit_in_bytes", limit)
        if (self.path / SOCKETS).exists():
            self._write(SOCKETS, 1 << 40)
        self.limit = limit

    def _write(self, name: str, value: int) -> None:
        (self.path / name).write_text(str(value))

    def _first(self, *names: str) -> str:
        return next((self.path / name).read_text() for name in names if (self.path / name).exists())

    def entering(self, argv: list[str]) -> list[str]:
        """The command that runs `argv` in the group."""
        return ["bash", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', str(self.path), *argv]

    def peak(self) -> int:
        """The most it ever held, without the sockets under version 1."""
        return int(self._first("memory.peak", "memory.max_usage_in_bytes"))

    def kills(self) -> int:
        """Processes that the kernel has ended."""
        found = re.search(r"^oom_kill (\d+)$", self._first("memory.events", "memory.oom_control"), re.MULTILINE)
        return int(found[1])

    def close(self) -> None:
        """After its processes have ended."""
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)
