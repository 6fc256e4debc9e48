"""The router under test, started with the environment the Jumpstarter operator gives its pod."""

import http.client
import json
import os
from pathlib import Path

from .certificates import Certificate
from .processes import Process, eventually, free_port

ROOT = Path(__file__).resolve().parent.parent.parent


TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()


def router_binary() -> Path:
    """`ROUTER_BIN`, or what cargo has built."""
    if given := os.environ.get("ROUTER_BIN"):
        path = Path(given).absolute()
        assert path.is_file(), f"ROUTER_BIN names no file: {path}"
        return path
    return built()


def built() -> Path:
    """The program that cargo has built."""
    for profile in ("release", "debug"):
        path = TARGET / profile / "jumpstarter-router"
        if path.is_file():
            return path
    raise AssertionError("no router binary: run cargo build, or set ROUTER_BIN")


def example(name: str) -> str:
    """One of the package's examples, which `cargo test` and `cargo build --examples` build."""
    path = TARGET / "debug" / "examples" / name
    assert path.is_file(), f"no {path}: run cargo build --example {name}"
    return str(path)


class Router:
    """Keeps its ports over a restart."""

    def __init__(
        self, folder: Path, certificate: Certificate, key: str, settings: dict[str, str] | None = None, name: str = "router"
    ):
        self.folder = folder
        self.name = name
        self.key = key
        self.port, self.health_port, self.metrics_port = free_port(), free_port(), free_port()
        self.endpoint = f"localhost:{self.port}"
        self.env = {
            "ROUTER_KEY": key,
            "GRPC_ROUTER_ENDPOINT": self.endpoint,
            "EXTERNAL_CERT_PEM": str(certificate.cert),
            "EXTERNAL_KEY_PEM": str(certificate.key),
            "JUMPSTARTER_ROUTER_LISTEN_ADDRESS": f"127.0.0.1:{self.port}",
            "JUMPSTARTER_ROUTER_LISTEN_HEALTH_ADDRESS": f"127.0.0.1:{self.health_port}",
            "JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS": "0",
            "JUMPSTARTER_ROUTER_LISTEN_METRICS_ADDRESS": f"127.0.0.1:{self.metrics_port}",
            **(settings or {}),
        }
        self.process: Process | None = None

    def start(self) -> None:
        self.process = Process(self.name, [str(router_binary())], self.folder, self.env)
        eventually("the router answers /readyz with 200", 20, self.ready)

    def ready(self) -> bool:
        assert self.process.running, f"the router ended with code {self.process.child.returncode}"
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            page = connection.getresponse().read().decode()
        finally:
            connection.close()
        start = f"jumpstarter_router_{name} "
        return next(float(line.removeprefix(start)) for line in page.splitlines() if line.startswith(start))

    def log(self) -> list[dict]:
        """The log so far: one JSON object per line of standard error."""
        # A line still being written has no newline yet.
        lines = self.process.err.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def close(self) -> None:
        if self.process:
            self.process.kill()
