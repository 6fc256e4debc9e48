"""A port scanner, and whoever else knocks without meaning to come in."""

import os
import socket
import ssl
import threading
import time

PATIENCE = 2
HELLO_TLS_1_0 = bytes.fromhex("1603010031010000 2d0301".replace(" ", "")) + os.urandom(32) + bytes.fromhex("0000060035002f000a0100")

WORDS = [
    b"",
    b"x",
    b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * RTSP/1.0\r\n\r\n",
    b"SSH-2.0-scanner\r\n",
    b"EHLO scanner\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    HELLO_TLS_1_0,
    b"\x16\x03\x01\x02\x00",
    bytes(4096),
]


def _open(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    except OSError:
        return None


def knock(port: int, words: bytes) -> None:
    """Says something and goes without waiting for the answer."""
    if connection := _open(port):
        try:
            connection.sendall(words)
        except OSError:
            pass
        connection.close()


def look(port: int) -> None:
    """A TLS handshake without ALPN, and goes."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if connection := _open(port):
        try:
            context.wrap_socket(connection).close()
        except OSError:
            connection.close()


class Silent:
    """Connections that say nothing more; each comes again when it was closed, until `close`."""

    def __init__(self, port: int, count: int, words: bytes = b""):
        self.port, self.words = port, words
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._stay, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _stay(self) -> None:
        while not self.over.is_set():
            if not (connection := _open(self.port)):
                self.over.wait(0.5)
                continue
            with connection:
                try:
                    connection.sendall(self.words)
                    while not self.over.is_set() and not self._closed(connection):
                        pass
                except OSError:
                    pass

    def _closed(self, connection: socket.socket) -> bool:
        connection.settimeout(0.5)
        try:
            return not connection.recv(4096)
        except TimeoutError:
            return False

    def close(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE + 1)


def scan(ports: list[int], seconds: float) -> int:
    """Knocks at all ports with all words for a while; gives how often."""
    end, knocks = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for port in ports:
            for words in WORDS:
                knock(port, words)
            look(port)
            knocks += len(WORDS) + 1
    return knocks


def burst(port: int, count: int) -> None:
    """One byte each, as fast as one can."""
    for _ in range(count):
        knock(port, b"x")
