"""Blocks in a read of the echo driver for ever, and tells when and how that read ends."""

from .session import connected, event


def main() -> None:
    with connected() as client, client.echo.stream() as stream:
        stream.send(b"hello")
        assert stream.receive() == b"hello"
        event("waiting")
        try:
            how = f"data: {stream.receive()!r}"
        except BaseException as e:
            how = f"{type(e).__name__}: {e}"
        event("ended", how=how)


main()
