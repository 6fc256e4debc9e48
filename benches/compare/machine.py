"""The machine: what it is, for the record, and how many files it lets us open."""

from __future__ import annotations

import os
import platform
import resource
import ssl
from pathlib import Path

# Beside the sockets of pairs: logs, listeners, the runtime's own.
SPARE_FILES = 100


def _field(path: str, name: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:
        pass
    return "unknown"


def describe() -> dict[str, object]:
    """What a reader needs to know about the machine. Nothing that names it."""
    flags = set(_field("/proc/cpuinfo", "flags").split())
    interesting = ("aes", "vaes", "avx2", "avx512f", "sha_ni", "hypervisor")
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "cpu_flags": [flag for flag in interesting if flag in flags],
        "memory": _field("/proc/meminfo", "MemTotal"),
        # What follows the version is the builder's own name for it.
        "kernel": platform.release().split("-")[0],
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
    }


def sentence(machine: dict[str, object]) -> str:
    """The same in one line."""
    flags = machine.get("cpu_flags")
    listed = ", ".join(map(str, flags)) if isinstance(flags, list) and flags else "no flags of note"
    return (
        f"{machine.get('cores')} cores, {machine.get('cpu')} ({listed}), memory {machine.get('memory')}, "
        f"Linux {machine.get('kernel')} {machine.get('architecture')}"
    )


def raise_file_limit() -> int:
    """Lifts the limit of open files as far as allowed, for this process and those it starts. Gives the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


def load_average() -> float:
    """Processes that wanted to run in the last minute."""
    return round(os.getloadavg()[0], 2)
