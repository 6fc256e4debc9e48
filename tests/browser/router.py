"""A router as a process, load on it, and peers whose subjects a test chooses."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

KEY = "a test's signing key, 32 bytes or more"
PATIENCE = 20

# The in-band GOAWAY frame: a gRPC message of two bytes, frame_type 7.
GOAWAY = bytes([0, 0, 0, 0, 2, 0x10, 7])


class Router:
    """Serves gRPC without TLS and its admin page, on free ports."""

    def __init__(self, **settings: str):
        self.log = Path(tempfile.mkstemp(suffix=".log")[1])
        first = {
            "auth.key": KEY, "listen.address": "127.0.0.1:0", "listen.health_address": "0",
            "listen.admin_address": "127.0.0.1:0", "tls.plaintext": "true", "log.format": "json",
        }  # fmt: skip
        token = settings.get("admin.token")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        command = [os.environ["ROUTER_BIN"]]
        for name, value in {**first, **settings}.items():
            command += ["--set", f"{name}={value}"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={})
        line = self.line("serving")
        self.address = line["address"]
        self.admin = line["admin"]
        self.url = f"http://{self.admin}/"
        self.loads: list[subprocess.Popen] = []

    def lines(self) -> list[dict]:
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def line(self, message: str, **fields) -> dict:
        """The first line of the log with this message and these fields, once it is there."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for line in self.lines():
                if line["msg"] == message and all(line.get(name) == value for name, value in fields.items()):
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no line {message!r} with {fields}: {self.log.read_text()}")

    def get(self, path: str) -> dict:
        connection = http.client.HTTPConnection(self.admin, timeout=PATIENCE)
        connection.request("GET", path, headers=self.headers)
        body = connection.getresponse().read()
        connection.close()
        return json.loads(body)

    def wait_for_pair(self, subject: str) -> None:
        """Both calls are answered before the second one has come, so this is asked for."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            streams = self.get("/api/streams")["streams"]
            if any(stream["subject"] == subject and stream["state"] == "paired" for stream in streams):
                return
            time.sleep(0.02)
        raise AssertionError(f"no pair {subject!r}: {streams}")

    def load(self, *options: str) -> None:
        """Pairs that do something for as long as the test lasts."""
        command = [os.environ["ROUTER_BIN"], "load", "--router", self.address, "--plaintext", "--quiet", "--key", KEY]
        command += options if "--duration" in options else ["--duration", "10m", *options]
        null = subprocess.DEVNULL
        self.loads.append(subprocess.Popen(command, stdin=null, stdout=null, stderr=null))

    def put(self, path: str, body: dict) -> int:
        connection = http.client.HTTPConnection(self.admin, timeout=PATIENCE)
        connection.request("PUT", path, json.dumps(body), {**self.headers, "Content-Type": "application/json"})
        status = connection.getresponse().status
        connection.close()
        return status

    def kill(self) -> None:
        """As the kernel does when memory has run out: nothing is said to anybody."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        for process in [*self.loads, self.process]:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        self.log.unlink()


def token(subject: str) -> str:
    """As the controller signs it."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    now = int(time.time())
    claims = {
        "iss": "https://jumpstarter.dev/stream", "aud": ["https://jumpstarter.dev/router"], "sub": subject,
        "iat": now, "nbf": now, "exp": now + 600, "jti": subject,
    }  # fmt: skip
    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{head}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.new(KEY.encode(), signed.encode(), hashlib.sha256).digest())}"


class Peer:
    """One call of RouterService/Stream over hand-made HTTP/2 (RFC 9113) without TLS."""

    def __init__(self, router: Router, subject: str, bearer: str | None = None):
        host, port = router.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        headers = {
            ":method": "POST", ":scheme": "http", ":path": "/jumpstarter.v1.RouterService/Stream",
            ":authority": router.address, "content-type": "application/grpc", "te": "trailers",
            "authorization": f"Bearer {bearer or token(subject)}",
        }  # fmt: skip
        block = b"".join(b"\0" + text(name) + text(value) for name, value in headers.items())
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 4, 1, block))

    def send(self, payload: bytes) -> None:
        """A data frame, as a gRPC message."""
        assert len(payload) < 128
        message = bytes([0x0A, len(payload)]) + payload
        self.socket.sendall(frame(0, 0, 1, struct.pack("!BI", 0, len(message)) + message))

    def read_to_the_end(self) -> bytes:
        """All message bytes until the router ends the stream."""
        got = b""
        while True:
            length, kind, flags, _ = struct.unpack("!IBBI", b"\0" + self.exactly(9))
            payload = self.exactly(length)
            if kind == 0:
                got += payload
            elif kind == 4 and not flags & 1:
                self.socket.sendall(frame(4, 1, 0))
            if kind in (0, 1) and flags & 1:
                return got
            assert kind != 3, "the stream was reset"

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "the connection ended"
            data += part
        return data

    def close(self) -> None:
        self.socket.close()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def text(string: str) -> bytes:
    """A literal of HPACK (RFC 7541, 5.2) without Huffman coding."""
    data = string.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    length, rest = b"\x7f", len(data) - 127
    while rest >= 128:
        length += bytes([rest % 128 | 128])
        rest //= 128
    return length + bytes([rest]) + data
