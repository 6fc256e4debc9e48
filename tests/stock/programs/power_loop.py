"""Calls power.on in a loop with one client object, whatever happens, until it is killed."""

import time

from .session import connected, event


def main() -> None:
    with connected() as client:
        while True:
            start = time.monotonic()
            try:
                client.power.on()
            except Exception as e:
                event("failed", start=start, how=f"{type(e).__name__}: {e}")
            else:
                event("on", start=start)
            time.sleep(0.2)


main()
