"""A small Jumpstarter controller for tests: exporters, leases and router tokens, all in memory.

It does what the stock client and exporter need and nothing else. In place of a label store, an exporter
has the one label `board`, whose value is its name. Authentication is taken on trust from the metadata.
"""

import argparse
import asyncio
import os
import uuid
from dataclasses import dataclass, field

import grpc
from google.protobuf import empty_pb2
from jumpstarter_protocol import client_pb2, client_pb2_grpc, jumpstarter_pb2, jumpstarter_pb2_grpc, kubernetes_pb2

from .tokens import router_token

# Values of jumpstarter.v1.ExporterStatus.
AVAILABLE, BEFORE_LEASE_HOOK, LEASE_READY, AFTER_LEASE_HOOK = 2, 3, 4, 5


@dataclass
class Exporter:
    name: str
    status: int = 0
    lease: "Lease | None" = None
    # One queue per open Status stream. A queue, because an exporter has to see the end of one lease
    # before the start of the next, however quickly they follow each other.
    watchers: list[asyncio.Queue] = field(default_factory=list)

    def state(self) -> jumpstarter_pb2.StatusResponse:
        if self.lease is None:
            return jumpstarter_pb2.StatusResponse(leased=False)
        client = self.lease.message.client.rsplit("/", 1)[-1]
        return jumpstarter_pb2.StatusResponse(leased=True, lease_name=self.lease.name, client_name=client)

    def tell(self) -> None:
        for watcher in self.watchers:
            watcher.put_nowait(self.state())


@dataclass
class Lease:
    name: str
    message: client_pb2.Lease
    exporter: Exporter | None = None
    # Tokens on their way to the exporter; there is no queue until it listens.
    tokens: asyncio.Queue | None = None

    def condition(self, kind: str, status: str, reason: str) -> None:
        self.message.conditions.append(kubernetes_pb2.Condition(type=kind, status=status, reason=reason))

    @property
    def ended(self) -> bool:
        return self.message.HasField("effective_end_time")


def caller(context) -> str:
    return dict(context.invocation_metadata()).get("jumpstarter-name", "")


class Controller(jumpstarter_pb2_grpc.ControllerServiceServicer, client_pb2_grpc.ClientServiceServicer):
    def __init__(self, router: str, key: str):
        self.router, self.key = router, key
        self.exporters: dict[str, Exporter] = {}
        self.leases: dict[str, Lease] = {}

    # Leases

    def assign(self) -> None:
        """Give each waiting lease a free exporter that its selector matches."""
        for lease in self.leases.values():
            if lease.exporter or lease.ended:
                continue
            for exporter in self.exporters.values():
                if exporter.watchers and not exporter.lease and lease.message.selector == f"board={exporter.name}":
                    lease.exporter, exporter.lease = exporter, lease
                    lease.message.exporter = f"namespaces/default/exporters/{exporter.name}"
                    lease.message.effective_begin_time.GetCurrentTime()
                    del lease.message.conditions[:]
                    lease.condition("Ready", "True", "Ready")
                    exporter.tell()
                    break

    def end(self, name: str) -> None:
        lease = self.leases.get(name.rsplit("/", 1)[-1])
        if lease is None or lease.ended:
            return
        lease.message.effective_end_time.GetCurrentTime()
        if exporter := lease.exporter:
            exporter.lease = None
            exporter.status = AVAILABLE
            exporter.tell()
        self.assign()

    # jumpstarter.v1.ControllerService, the exporter's side

    async def Register(self, request, context):
        self.exporters.setdefault(caller(context), Exporter(caller(context)))
        return jumpstarter_pb2.RegisterResponse(uuid=str(uuid.uuid4()))

    async def Unregister(self, request, context):
        self.exporters.pop(caller(context), None)
        return jumpstarter_pb2.UnregisterResponse()

    async def ReportStatus(self, request, context):
        exporter = self.exporters[caller(context)]
        exporter.status = request.status
        if request.release_lease and exporter.lease:
            self.end(exporter.lease.name)
        return jumpstarter_pb2.ReportStatusResponse()

    async def Status(self, request, context):
        exporter = self.exporters[caller(context)]
        watcher = asyncio.Queue()
        watcher.put_nowait(exporter.state())
        exporter.watchers.append(watcher)
        self.assign()
        try:
            while True:
                yield await watcher.get()
        finally:
            exporter.watchers.remove(watcher)

    async def Listen(self, request, context):
        lease = self.leases[request.lease_name]
        lease.tokens = tokens = asyncio.Queue()
        try:
            while True:
                yield await tokens.get()
        finally:
            if lease.tokens is tokens:
                lease.tokens = None

    # jumpstarter.v1.ControllerService, the client's side

    async def Dial(self, request, context):
        lease = self.leases.get(request.lease_name)
        if lease is None or lease.ended:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the lease has ended")
        if lease.tokens is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "exporter is not listening")
        if lease.exporter.status not in (BEFORE_LEASE_HOOK, LEASE_READY, AFTER_LEASE_HOOK):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "exporter is not ready")
        token = router_token(self.key)
        lease.tokens.put_nowait(jumpstarter_pb2.ListenResponse(router_endpoint=self.router, router_token=token))
        return jumpstarter_pb2.DialResponse(router_endpoint=self.router, router_token=token)

    async def ReleaseLease(self, request, context):
        self.end(request.name)
        return jumpstarter_pb2.ReleaseLeaseResponse()

    # jumpstarter.client.v1.ClientService

    def describe(self, exporter: Exporter) -> client_pb2.Exporter:
        return client_pb2.Exporter(
            name=f"namespaces/default/exporters/{exporter.name}",
            labels={"board": exporter.name},
            online=bool(exporter.watchers),
            status=exporter.status,
        )

    async def GetExporter(self, request, context):
        exporter = self.exporters.get(request.name.rsplit("/", 1)[-1])
        if exporter is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such exporter")
        return self.describe(exporter)

    async def ListExporters(self, request, context):
        return client_pb2.ListExportersResponse(exporters=map(self.describe, self.exporters.values()))

    async def CreateLease(self, request, context):
        name = request.lease_id or str(uuid.uuid4())
        message = client_pb2.Lease(
            name=f"{request.parent}/leases/{name}",
            selector=request.lease.selector,
            client=f"namespaces/default/clients/{caller(context)}",
        )
        message.duration.CopyFrom(request.lease.duration)
        lease = self.leases[name] = Lease(name, message)
        lease.condition("Pending", "True", "NotAvailable")
        self.assign()
        return message

    async def GetLease(self, request, context):
        lease = self.leases.get(request.name.rsplit("/", 1)[-1])
        if lease is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such lease")
        return lease.message

    async def ListLeases(self, request, context):
        active = [lease.message for lease in self.leases.values() if not lease.ended]
        return client_pb2.ListLeasesResponse(leases=active)

    async def DeleteLease(self, request, context):
        self.end(request.name)
        return empty_pb2.Empty()


async def main() -> None:
    arguments = argparse.ArgumentParser()
    for name in ("listen", "router", "cert", "key"):
        arguments.add_argument(f"--{name}", required=True)
    options = arguments.parse_args()

    # The stock peers ping every 20 s even without calls; grpc's own default would cut them off for that.
    server = grpc.aio.server(
        options=[
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.so_reuseport", 0),
        ]
    )
    controller = Controller(options.router, os.environ["ROUTER_KEY"])
    jumpstarter_pb2_grpc.add_ControllerServiceServicer_to_server(controller, server)
    client_pb2_grpc.add_ClientServiceServicer_to_server(controller, server)
    with open(options.key, "rb") as key, open(options.cert, "rb") as cert:
        credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
    server.add_secure_port(options.listen, credentials)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
