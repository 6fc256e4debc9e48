"""What stock peers notice when the other side, or the router, goes away."""

import time

import grpc
import pytest
from google.protobuf import duration_pb2
from jumpstarter_protocol import client_pb2, jumpstarter_pb2

from .lab import Lab
from .processes import Process, eventually

CONNECTED = 60


def waiting_client(lab: Lab) -> Process:
    """A client blocked in a read, on a tunnel gone quiet: any write would notice a broken tunnel without our help."""
    client = lab.program("echo_wait", "x")
    client.event("waiting", CONNECTED)
    time.sleep(1.5)
    return client


def test_exporter_killed(own_lab, own_exporter):
    """A client blocked in a read is told within a second."""
    client = waiting_client(own_lab)
    killed = own_exporter.kill()
    ended = client.event("ended", 10)
    elapsed = ended["at"] - killed
    print(f"the blocked read ended {elapsed * 1000:.0f} ms after the kill: {ended['how']}")
    assert not ended["how"].startswith("data")
    assert elapsed < 1.0


def test_client_killed(own_lab, own_exporter):
    """An idle exporter's connection is closed within a second."""
    client = waiting_client(own_lab)
    port = own_lab.router.port
    # The client's readiness probe is a tunnel of its own, and takes a moment to be gone.
    eventually("the exporter has one tunnel", 10, lambda: own_exporter.connections_to(port) == 1)
    killed = client.kill()
    eventually("the exporter has no tunnel", 10, lambda: own_exporter.connections_to(port) == 0)
    elapsed = time.monotonic() - killed
    print(f"the exporter's connection closed {elapsed * 1000:.0f} ms after the kill")
    assert elapsed < 1.0


def test_router_restarted(own_lab, own_exporter):
    """The same client object works again, once the router is back."""
    client = own_lab.program("power_loop", "x")
    client.event("on", CONNECTED)
    own_lab.router.process.kill()
    own_lab.router.start()
    back = time.monotonic()

    def recovered() -> dict | None:
        return next((e for e in client.events("on") if e["start"] > back), None)

    elapsed = eventually("power.on works again", 30, recovered)["at"] - back
    print(f"power.on worked again {elapsed:.1f} s after the router was ready")


@pytest.mark.router_settings(JUMPSTARTER_ROUTER_PAIRING_TIMEOUT="5s")
def test_discarded_dials(own_lab, own_exporter):
    """An exporter left alone with its tokens gets its connections closed."""
    lease = own_lab.clients.CreateLease(
        client_pb2.CreateLeaseRequest(
            parent="namespaces/default",
            lease=client_pb2.Lease(selector="board=x", duration=duration_pb2.Duration(seconds=600)),
        ),
        timeout=5,
    )
    name = lease.name.rsplit("/", 1)[-1]

    def dialled() -> bool:
        try:
            own_lab.dialer.Dial(jumpstarter_pb2.DialRequest(lease_name=name), timeout=5)
        except grpc.RpcError:
            return False
        return True

    for _ in range(3):
        eventually("the exporter takes a Dial", 30, dialled, interval=0.1)
    last = time.monotonic()
    port = own_lab.router.port
    eventually("the exporter has three tunnels", 4, lambda: own_exporter.connections_to(port) == 3)
    eventually("the exporter has no tunnel", 8, lambda: own_exporter.connections_to(port) == 0)
    elapsed = time.monotonic() - last
    print(f"the lone tunnels were closed {elapsed:.1f} s after the last Dial")
    # Sooner would cut off a client that is merely slow.
    assert elapsed > 4


@pytest.mark.router_settings(JUMPSTARTER_ROUTER_DRAIN_TIMEOUT="5s")
def test_router_terminated(own_lab, own_exporter):
    """The peers are told, and the router is gone by its deadline without complaint."""
    client = waiting_client(own_lab)
    terminated = time.monotonic()
    own_lab.router.process.terminate()
    # Two seconds for a busy machine to schedule everyone.
    code = own_lab.router.process.wait(5 + 2)
    exited = time.monotonic() - terminated
    ended = client.event("ended", 3)
    told = ended["at"] - terminated
    print(f"the client was told after {told:.2f} s, the router exited after {exited:.2f} s: {ended['how']}")
    assert code == 0
    assert not ended["how"].startswith("data")
