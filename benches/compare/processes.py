"""The processes under test: starting them, seeing that they listen, ending them."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

# A process must listen within this.
START_SECONDS = 15.0

# A process that was asked to end has this long.
STOP_SECONDS = 5.0

# Not a CA: a certificate that claims to be one is refused as that of a server.
CERTIFICATE = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
"""


class ProcessError(Exception):
    """A process did not do what was asked. Its own words are only shown, not kept: they may name places."""

    def __init__(self, text: str, words: str = "") -> None:
        super().__init__(text)
        self.words = words


@dataclass(frozen=True)
class Identity:
    """What all routers of a comparison share: key, certificate and a place for their logs."""

    directory: Path
    router_key: str

    @property
    def certificate(self) -> Path:
        return self.directory / "certificate.pem"

    @property
    def key_file(self) -> Path:
        return self.directory / "key.pem"


def make_identity(directory: Path) -> Identity:
    """A new router key and a new self-signed ECDSA certificate for localhost."""
    identity = Identity(directory, secrets.token_hex(32))
    config = directory / "openssl.cnf"
    config.write_text(CERTIFICATE)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -sha256".split()
    command += ["-config", str(config), "-keyout", str(identity.key_file), "-out", str(identity.certificate)]
    made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise ProcessError(f"openssl could not make a certificate: {made.stderr.strip()}")
    return identity


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fill(template: str, values: dict[str, object]) -> list[str]:
    """The words of a command; only {names} that are known are replaced, in each word by itself."""
    words = shlex.split(template)
    for name, value in values.items():
        words = [word.replace("{" + name + "}", str(value)) for word in words]
    return words


def listens(port: int) -> bool:
    """Whether someone listens, without connecting: a relay might take a probe for a peer."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state = line.split()[:4]
            # 0A is LISTEN.
            if state == "0A" and int(local.rsplit(":", 1)[1], 16) == port:
                return True
    return False


def accepts_tls(port: int, certificate: Path) -> bool:
    """Whether a TLS handshake for HTTP/2 succeeds."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as plain:
            with context.wrap_socket(plain, server_hostname="localhost"):
                return True
    except OSError:
        return False


@dataclass
class Subject:
    """A router, or the relay, and its process while it runs."""

    name: str
    template: str
    identity: Identity
    is_relay: bool = False
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ProcessError(f"{self.name} does not run")
        return self.process.pid

    @property
    def log(self) -> Path:
        return self.identity.directory / f"{self.name}.log"

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts the process anew and waits until it can be used."""
        self.stop()
        self.port = free_port()
        identity = self.identity
        values = {"port": self.port, "certificate": identity.certificate, "key_file": identity.key_file}
        environment = {
            **os.environ,
            "ROUTER_KEY": identity.router_key,
            "GRPC_ROUTER_ENDPOINT": f"localhost:{self.port}",
            "EXTERNAL_CERT_PEM": str(identity.certificate),
            "EXTERNAL_KEY_PEM": str(identity.key_file),
            "LISTEN": f"127.0.0.1:{self.port}",
        }
        command = fill(self.template, values)
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
        except OSError as error:
            raise ProcessError(f"{self.name} cannot be started: {error}") from error
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if not self.running():
                raise ProcessError(f"{self.name} ended at once", self.last_words())
            if listens(self.port) and (self.is_relay or accepts_tls(self.port, self.identity.certificate)):
                return
            time.sleep(0.02)
        words = self.last_words()
        self.stop()
        raise ProcessError(f"{self.name} does not listen after {START_SECONDS:.0f} s", words)

    def last_words(self) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
        except OSError:
            return ""

    def stop(self) -> None:
        """Asks the process to end, then ends it."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
