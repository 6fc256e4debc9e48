"""Peers in several languages, told what to do line by line.

Each program is started as `<program> <endpoint> <root.pem> <proto or descriptors>` and has one stream at a time. It reads
a JSON object a line and answers each with one:

- `open` calls the router, with `token`, and with `gzip` if it shall compress. Answered at once.
- `exchange` sends the messages in `send`, each a size and a frame type, and at the same time receives `receive` messages.
  Byte i of message m is (seed + 7 m + i) mod 251. The answer's `digest` is SHA-256 over what was received: for each
  message its type and its size as text, each with a space after it, and its bytes.
- `close` half-closes, `cancel` cancels.
- `end` receives until the end. The answer has the `types` of the messages still received, `code` and `message`.
"""

import hashlib
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path

from stock.certificates import Certificate
from stock.processes import clean_environment
from stock.protocol import our_set
from stock.router import ROOT, TARGET, Router, example

HERE = Path(__file__).resolve().parent
# Where `tests/interop/run` puts what it builds.
BUILT = TARGET / "interop"
PATIENCE = 30
PATTERN = bytes(range(251)) * (4 * 1024 * 1024 // 251 + 2)

Frames = list[tuple[int, int]]


def program(language: str, folder: Path) -> tuple[list[str], str]:
    """How to start a peer, and what its last argument has to be."""
    match language:
        case "python":
            return [sys.executable, str(HERE / "python" / "peer.py")], ""
        case "tonic":
            return [example("interop_peer")], ""
        case "go":
            descriptors = folder / "descriptors.bin"
            descriptors.write_bytes(our_set().SerializeToString())
            return [str(BUILT / "go-peer")], str(descriptors)
        case "node":
            return ["node", str(BUILT / "node" / "peer.js")], str(ROOT / "proto")
    raise AssertionError(f"no peer in {language}")


def digest(frames: Frames, seed: int) -> str:
    """What a peer must answer that has received these."""
    result = hashlib.sha256()
    for i, (size, frame_type) in enumerate(frames):
        start = (seed + 7 * i) % 251
        result.update(f"{frame_type} {size} ".encode() + PATTERN[start : start + size])
    return result.hexdigest()


class Peer:
    def __init__(self, language: str, role: str, router: Router, certificate: Certificate, folder: Path):
        self.language = language
        self.name = f"{language} {role}"
        self.errors = folder / f"{language}-{role}.err"
        # Whether it has a stream that was not followed to its end.
        self.busy = False
        command, definition = program(language, folder)
        with self.errors.open("wb") as errors:
            self.child = subprocess.Popen(
                [*command, router.endpoint, str(certificate.cert), definition],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                env=clean_environment(folder, folder),
            )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        for line in self.child.stdout:
            self.answers.put(line)
        self.answers.put("")

    def tell(self, do: str, **arguments) -> None:
        self.busy = True
        self.child.stdin.write(json.dumps({"do": do, **arguments}) + "\n")

    def answer(self, to: str) -> dict:
        try:
            line = self.answers.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"{self.name} has not answered {to} within {PATIENCE} s") from None
        assert line, f"{self.name} ended instead of answering {to}: {self.errors.read_text()}"
        self.busy = to != "end"
        return json.loads(line)

    def do(self, do: str, **arguments) -> dict:
        self.tell(do, **arguments)
        return self.answer(do)

    def stop(self) -> None:
        self.child.kill()
        self.child.wait(10)
