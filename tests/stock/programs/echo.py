"""Console traffic through the echo driver: one message at a time, then a burst."""

import os
import statistics
import time

from .session import connected, event

# A key press, an escape sequence, a prompt, a line, a screen.
SIZES = (1, 3, 16, 80, 1920)
ROUNDS = 200


def lockstep(stream) -> float:
    """Every message comes back as it was sent; returns the median round trip in milliseconds."""
    times = []
    for i in range(ROUNDS):
        message = os.urandom(SIZES[i % len(SIZES)])
        start = time.monotonic()
        stream.send(message)
        assert stream.receive() == message, f"message {i} came back changed"
        times.append(time.monotonic() - start)
    return statistics.median(times) * 1000


def burst(stream) -> None:
    """Messages sent without waiting come back complete and in order."""
    sent = b"".join(b"line %04d of the console\r\n" % i for i in range(ROUNDS))
    for start in range(0, len(sent), 26):
        stream.send(sent[start : start + 26])
    received = b""
    while len(received) < len(sent):
        received += stream.receive()
    assert received == sent, "the burst came back changed"


def main() -> None:
    with connected() as client, client.echo.stream() as stream:
        median = lockstep(stream)
        burst(stream)
        event("done", median_ms=round(median, 3))


main()
