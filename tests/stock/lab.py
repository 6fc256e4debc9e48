"""A whole Jumpstarter installation on loopback: `lab` as the controller, exporters, and the means to run clients.

`Lab` has streams pass a router of its own process, which tests kill, or replace by another (`ROUTER_BIN`), or by several
(`ROUTERS`). `OneProcess` is the lab as people run it, with the router inside.
"""

import os
import shutil
import sys
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import grpc
import yaml
from jumpstarter_protocol import client_pb2, client_pb2_grpc, jumpstarter_pb2_grpc

from . import cluster, tokens
from .certificates import Certificate
from .processes import BIN, Process, clean_environment, eventually, free_port
from .router import built

AVAILABLE = 2
GZIP = {"grpc.default_compression_algorithm": 2}
PARENT = "namespaces/default"

# Everybody who takes part in the tests' labs. Labels are written so that `board=<name>` selects one exporter.
PEOPLE = """
[clients.me]
[clients.you]
[exporters.x]
labels = { board = "x", kind = "mock" }
[exporters.y]
labels = { board = "y", kind = "mock" }
[exporters.gzip]
labels = { board = "gzip" }
[exporters.insecure]
labels = { board = "insecure" }
[exporters.off]
labels = { board = "off" }
enabled = false
"""


def lab_binary() -> Path:
    """`LAB_BIN`, or what cargo has built."""
    if given := os.environ.get("LAB_BIN"):
        path = Path(given).absolute()
        assert path.is_file(), f"LAB_BIN names no file: {path}"
        return path
    return built()


@dataclass(frozen=True)
class Flavour:
    """How a client and its exporter are configured."""

    insecure: bool = False
    grpc_options: dict | None = None


class OneProcess(AbstractContextManager):
    """The lab with its router inside."""

    def __init__(self, folder: Path, *options: str):
        self.folder = folder
        self.options = options
        self.processes: list[Process] = []
        # Unix socket paths are limited to about 100 bytes, and pytest's own folders can be longer than that.
        self.runtime = Path(tempfile.mkdtemp(prefix="jr-", dir="/tmp"))
        self.home = folder / "home"
        self.home.mkdir()
        self.env = clean_environment(self.home, self.runtime)
        self.port = free_port()
        self.endpoint = f"localhost:{self.port}"
        self.lab_folder = folder / "lab"
        self.lab_folder.mkdir()
        (self.lab_folder / "lab.toml").write_text(PEOPLE)
        self.controller: Process | None = None
        self.channel: grpc.Channel | None = None

    def __enter__(self):
        try:
            self.start_controller()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self.channel:
            self.channel.close()
        for process in reversed(self.processes):
            process.kill()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def start(self, name: str, argv: list[str], cwd: Path | None = None, **env: str) -> Process:
        process = Process(name, argv, self.folder, {**self.env, **env}, cwd)
        self.processes.append(process)
        return process

    def start_controller(self, *options: str, **env: str) -> None:
        argv = [str(lab_binary()), "lab", str(self.lab_folder), "--no-run"]
        argv += ["--listen", f"127.0.0.1:{self.port}", "--endpoint", self.endpoint]
        argv += ["--set", "listen.admin_address=0", *self.options, *options]
        self.controller = self.start("lab", argv, **env)
        if self.channel:
            self.channel.close()
        # It writes the files before it listens; what an earlier run wrote is as good.
        me = self.lab_folder / "clients" / "me.yaml"
        eventually("the lab has written its files", 20, lambda: self.running() and me.exists())
        self.channel = self.channel_of("me")
        self.clients = client_pb2_grpc.ClientServiceStub(self.channel)
        self.dialer = jumpstarter_pb2_grpc.ControllerServiceStub(self.channel)
        grpc.channel_ready_future(self.channel).result(timeout=30)

    def running(self) -> bool:
        assert self.controller.running, f"the lab ended with code {self.controller.child.returncode}"
        return True

    def channel_of(self, client: str) -> grpc.Channel:
        token = yaml.safe_load((self.lab_folder / "clients" / f"{client}.yaml").read_text())["token"]
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials((self.lab_folder / "tls.crt").read_bytes()),
            grpc.access_token_call_credentials(token),
        )
        return grpc.secure_channel(self.endpoint, credentials, [("grpc.use_local_subchannel_pool", 1)])

    def config(self, kind: str, name: str, flavour: Flavour, **more) -> Path:
        """A configuration file that the lab has written, as it is, or with what a test needs."""
        source = self.lab_folder / kind / f"{name}.yaml"
        if flavour == Flavour() and not more:
            return source
        config = yaml.safe_load(source.read_text())
        if flavour.insecure:
            config["tls"] = {"insecure": True}
        config["grpcOptions"] = flavour.grpc_options or {}
        path = self.folder / f"{kind}-{name}-{len(self.processes)}.yaml"
        path.write_text(yaml.safe_dump({**config, **more}))
        return path

    def client_config(self, flavour: Flavour = Flavour(), client: str = "me") -> Path:
        return self.config("clients", client, flavour)

    def launch_exporter(self, board: str, flavour: Flavour = Flavour()) -> Process:
        """A stock exporter, on its way."""
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
        config = self.config("exporters", board, flavour, export=export)
        return self.start(f"exporter-{board}", [str(BIN / "jmp"), "run", "--exporter-config", str(config)])

    def start_exporter(self, board: str, flavour: Flavour = Flavour()) -> Process:
        """A stock exporter, up and free to be leased by `board=<name>`."""
        process = self.launch_exporter(board, flavour)

        def available() -> bool:
            assert process.running, f"exporter {board} ended with code {process.child.returncode}"
            request = client_pb2.ListExportersRequest(parent=PARENT)
            listed = self.clients.ListExporters(request, timeout=5).exporters
            return any(e.name.endswith(f"/{board}") and e.online and e.status == AVAILABLE for e in listed)

        eventually(f"exporter {board} is available", 60, available, interval=0.1)
        return process

    def jmp(self, *arguments: str, client: str = "me", timeout: float = 60, code: int | None = 0, **env: str) -> Process:
        """Run `jmp` to its end, as a client whose configuration it finds by itself."""
        process = self.start_jmp(*arguments, client=client, **env)
        try:
            ended = process.wait(timeout)
        finally:
            process.kill()
        if code is not None:
            assert ended == code, f"jmp {' '.join(arguments)} ended with code {ended}, expected {code}"
        return process

    def start_jmp(self, *arguments: str, client: str = "me", **env: str) -> Process:
        # The client that is taken when none is named is `me`, from the lab's own files.
        if client != "me":
            words = 1 if arguments[0] == "shell" else 2
            arguments = (*arguments[:words], "--client", client, *arguments[words:])
        argv = [str(BIN / "jmp"), *arguments]
        name = f"jmp-{arguments[0]}-{len(self.processes)}"
        return self.start(name, argv, JMP_CLIENT_CONFIG_HOME=str(self.lab_folder), **env)

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


class Lab(OneProcess):
    """The lab with a router beside it."""

    def __init__(self, folder: Path, certificate: Certificate, settings: dict[str, str] | None = None):
        super().__init__(folder)
        self.certificate = certificate
        self.key = tokens.new_key()
        self.router = cluster.router(folder, certificate, self.key, settings)
        # Peers trust one certificate for both.
        shutil.copy(certificate.cert, self.lab_folder / "tls.crt")
        shutil.copy(certificate.key, self.lab_folder / "tls.key")

    def start_controller(self, *options: str, **env: str) -> None:
        super().start_controller("--router", self.router.endpoint, *options, ROUTER_KEY=self.key, **env)

    def __enter__(self):
        # The lab tries it before anything else.
        try:
            self.router.start()
        except BaseException:
            self.__exit__()
            raise
        return super().__enter__()

    def __exit__(self, *_) -> None:
        super().__exit__()
        self.router.close()
