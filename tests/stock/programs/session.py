"""What the client programs share: a connected client from the command line's arguments, and events on stdout."""

import json
import sys
import time
from contextlib import contextmanager

from jumpstarter.config.client import ClientConfigV1Alpha1


def event(kind: str, **fields) -> None:
    """Tell the test something; the monotonic clock is the same in all processes of a machine."""
    print(json.dumps({"event": kind, "at": time.monotonic(), **fields}), flush=True)


@contextmanager
def connected():
    """The stock client of `<program> <client config> <board>`."""
    config, board = sys.argv[1:3]
    with ClientConfigV1Alpha1.from_file(config).lease(selector=f"board={board}") as lease:
        with lease.connect() as client:
            yield client
