"""A whole Jumpstarter installation on loopback: controller, router, exporters, and the means to run clients."""

import shutil
import sys
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import grpc
import yaml
from jumpstarter_protocol import client_pb2, client_pb2_grpc, jumpstarter_pb2_grpc

from . import tokens
from .certificates import Certificate
from .processes import BIN, Process, clean_environment, eventually, free_port
from .router import Router

AVAILABLE = 2
GZIP = {"grpc.default_compression_algorithm": 2}


@dataclass(frozen=True)
class Flavour:
    """How a client and its exporter are configured."""

    insecure: bool = False
    grpc_options: dict | None = None


class Lab(AbstractContextManager):
    def __init__(self, folder: Path, certificate: Certificate, settings: dict[str, str] | None = None):
        self.folder = folder
        self.certificate = certificate
        self.key = tokens.new_key()
        self.processes: list[Process] = []
        # Unix socket paths are limited to about 100 bytes, and pytest's own folders can be longer than that.
        self.runtime = Path(tempfile.mkdtemp(prefix="jr-", dir="/tmp"))
        self.home = folder / "home"
        self.home.mkdir()
        self.env = clean_environment(self.home, self.runtime)
        self.router = Router(folder, certificate, self.key, settings)
        self.controller_endpoint = f"localhost:{free_port()}"
        self.channel: grpc.Channel | None = None

    def __enter__(self) -> "Lab":
        try:
            self.start_controller()
            self.router.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self.channel:
            self.channel.close()
        for process in reversed(self.processes):
            process.kill()
        self.router.close()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def start(self, name: str, argv: list[str], cwd: Path | None = None, **env: str) -> Process:
        process = Process(name, argv, self.folder, {**self.env, **env}, cwd)
        self.processes.append(process)
        return process

    def start_controller(self) -> None:
        port = self.controller_endpoint.rsplit(":", 1)[1]
        argv = [sys.executable, "-m", "stock.controller", "--listen", f"127.0.0.1:{port}"]
        argv += ["--router", self.router.endpoint]
        argv += ["--cert", str(self.certificate.cert), "--key", str(self.certificate.key)]
        self.start("controller", argv, ROUTER_KEY=self.key)
        self.channel = grpc.secure_channel(
            self.controller_endpoint, grpc.ssl_channel_credentials(self.certificate.pem)
        )
        self.clients = client_pb2_grpc.ClientServiceStub(self.channel)
        self.dialer = jumpstarter_pb2_grpc.ControllerServiceStub(self.channel)
        grpc.channel_ready_future(self.channel).result(timeout=30)

    def write_config(self, name: str, kind: str, token: str, flavour: Flavour, **more) -> Path:
        path = self.folder / f"{kind}-{name}.yaml"
        config = {
            "apiVersion": "jumpstarter.dev/v1alpha1",
            "kind": kind,
            "metadata": {"namespace": "default", "name": name},
            "endpoint": self.controller_endpoint,
            "tls": {"insecure": True} if flavour.insecure else {"ca": self.certificate.ca, "insecure": False},
            "token": token,
            "grpcOptions": flavour.grpc_options or {},
            **more,
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def client_config(self, flavour: Flavour = Flavour()) -> Path:
        name = f"client-{len(self.processes)}"
        return self.write_config(
            name, "ClientConfig", tokens.client_token(), flavour, drivers={"allow": [], "unsafe": True}
        )

    def start_exporter(self, board: str, flavour: Flavour = Flavour()) -> Process:
        """A stock exporter, up and free to be leased by `board=<name>`."""
        data = self.folder / f"data-{board}"
        data.mkdir(exist_ok=True)
        export = {
            "power": {"type": "jumpstarter_driver_power.driver.MockPower"},
            "storage": {
                "type": "jumpstarter_driver_opendal.driver.Opendal",
                "config": {"scheme": "fs", "kwargs": {"root": str(data)}},
            },
            "echo": {"type": "jumpstarter_driver_network.driver.EchoNetwork"},
        }
        config = self.write_config(board, "ExporterConfig", "exporter-token", flavour, export=export)
        process = self.start(f"exporter-{board}", [str(BIN / "jmp"), "run", "--exporter-config", str(config)])

        def available() -> bool:
            assert process.running, f"exporter {board} ended with code {process.child.returncode}"
            listed = self.clients.ListExporters(client_pb2.ListExportersRequest(), timeout=5).exporters
            return any(e.name.endswith(f"/{board}") and e.online and e.status == AVAILABLE for e in listed)

        eventually(f"exporter {board} is available", 60, available, interval=0.1)
        return process

    def shell(self, board: str, command: list[str], flavour: Flavour = Flavour(), timeout: float = 60) -> Process:
        """Run `command` in `jmp shell` to its end, which has to be a success."""
        config = self.client_config(flavour)
        argv = [str(BIN / "jmp"), "shell", "--client-config", str(config), "-l", f"board={board}", "--", *command]
        process = self.start(f"shell-{len(self.processes)}", argv)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        assert code == 0, f"jmp shell -- {' '.join(command)} ended with code {code}"
        return process

    def program(self, name: str, board: str, *arguments: str, flavour: Flavour = Flavour()) -> Process:
        """Start one of `stock.programs` on a lease of its own."""
        argv = [sys.executable, "-m", f"stock.programs.{name}", str(self.client_config(flavour)), board, *arguments]
        return self.start(f"{name}-{len(self.processes)}", argv)
