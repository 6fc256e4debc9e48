"""Keeps the processors from halting.

In a virtual machine a processor that halts leaves the guest, and waking it takes tens of microseconds. A loop in the idle
scheduling class on every processor prevents that, and gives way to everything else.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

LOOP = """
import os, sys
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextlib.contextmanager
def awake(wanted: bool) -> Iterator[None]:
    """For as long as this lasts, if `wanted`, no processor halts."""
    loops: list[subprocess.Popen[bytes]] = []
    try:
        if wanted:
            for processor in sorted(os.sched_getaffinity(0)):
                command = [sys.executable, "-c", LOOP, str(processor)]
                loops.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
