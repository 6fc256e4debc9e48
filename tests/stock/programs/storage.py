"""Writes a file of random bytes to the exporter's storage, has it hashed there, and reads it back."""

import hashlib
import os
import sys
import time
from pathlib import Path

from .session import connected, event


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    folder, size = Path(sys.argv[3]), int(sys.argv[4])
    source, back = folder / "source.bin", folder / "back.bin"
    with source.open("wb") as file:
        for _ in range(size // 2**20):
            file.write(os.urandom(2**20))
    with connected() as client:
        start = time.monotonic()
        client.storage.write_from_path("/big.bin", source)
        written = time.monotonic()
        remote = client.storage.hash("/big.bin", "sha256")
        hashed = time.monotonic()
        client.storage.read_into_path("/big.bin", back)
        read = time.monotonic()
    event(
        "done",
        source=sha256(source),
        remote=remote,
        back=sha256(back),
        write_seconds=round(written - start, 3),
        read_seconds=round(read - hashed, 3),
    )


main()
