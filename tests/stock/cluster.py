"""Several routers behind one address, with their bus and a load balancer, in place of one: ROUTERS says how many."""

import os
import shutil
import socket
import sys
import time
from pathlib import Path

from .certificates import Certificate
from .processes import TESTS, Process, eventually, free_port
from .router import Router


def router(folder: Path, certificate: Certificate, key: str, settings: dict[str, str] | None) -> "Router | Cluster":
    """What the peers of a lab pass."""
    count = int(os.environ.get("ROUTERS", "1"))
    return Router(folder, certificate, key, settings) if count == 1 else Cluster(count, folder, certificate, key, settings)


def nats_server() -> str:
    """`NATS_SERVER`, or what is installed."""
    name = os.environ.get("NATS_SERVER", "nats-server")
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert found, f"no {name}: run tests/nats, or set NATS_SERVER"
    return found


class Processes:
    """Several processes as if they were one."""

    def __init__(self, processes: list[Process]):
        self.all = processes

    def kill(self) -> float:
        return min([process.kill() for process in self.all], default=time.monotonic())

    def terminate(self) -> None:
        for process in self.all:
            process.terminate()

    def wait(self, timeout: float) -> int:
        """The worst exit code."""
        end = time.monotonic() + timeout
        return max((process.wait(end - time.monotonic()) for process in self.all), key=abs)


class Cluster:
    """Keeps its ports over a restart. Bus and load balancer stay."""

    def __init__(
        self, count: int, folder: Path, certificate: Certificate, key: str, settings: dict[str, str] | None = None
    ):
        self.folder = folder
        self.key = key
        self.port, self.bus_port = free_port(), free_port()
        self.endpoint = f"localhost:{self.port}"
        settings = {
            **(settings or {}),
            "GRPC_ROUTER_ENDPOINT": self.endpoint,
            "JUMPSTARTER_ROUTER_CLUSTER_SERVERS": f"nats://127.0.0.1:{self.bus_port}",
            "JUMPSTARTER_ROUTER_CLUSTER_ADDRESS": "127.0.0.1:0",
        }
        self.routers = [Router(folder, certificate, key, settings, f"router-{n}") for n in range(count)]
        self.others: list[Process] = []
        self.process = Processes([])

    def start(self) -> None:
        if not self.others:
            nats = [nats_server(), "--addr", "127.0.0.1", "--port", str(self.bus_port)]
            self.run("nats", nats, self.bus_port)
        for router in self.routers:
            router.start()
        self.process = Processes([router.process for router in self.routers])
        eventually("all routers are on the bus", 20, lambda: all(router.metric("cluster_bus_connected") for router in self.routers))
        if len(self.others) == 1:
            ports = [str(port) for port in (self.port, *(router.port for router in self.routers))]
            self.run("balancer", [sys.executable, "-m", "stock.balancer", *ports], self.port)

    def run(self, name: str, argv: list[str], port: int) -> None:
        process = Process(name, argv, self.folder, {"PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"})
        self.others.append(process)

        def listens() -> bool:
            assert process.running, f"{name} ended with code {process.child.returncode}"
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        eventually(f"{name} listens", 20, listens)

    def log(self) -> list[dict]:
        """The logs so far as one."""
        return sorted((line for router in self.routers for line in router.log()), key=lambda line: line["ts"])

    def met_elsewhere(self) -> float:
        """How many pairs were at two routers."""
        return sum(router.metric('cluster_calls_total{result="met"}') for router in self.routers)

    def close(self) -> None:
        if self.process.all and all(process.running for process in self.process.all):
            print(f"{self.met_elsewhere():g} pairs were at two routers")
        for router in self.routers:
            router.close()
        for process in self.others:
            process.kill()
