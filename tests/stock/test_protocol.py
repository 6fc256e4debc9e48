"""The router seen from plain gRPC stubs, without the Jumpstarter libraries."""

import asyncio
from collections.abc import Awaitable

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from jumpstarter_protocol import router_pb2, router_pb2_grpc

from .tokens import router_token

DEADLINE = 20


def run(test: Awaitable) -> None:
    """Each of these tests is done within seconds or not at all."""
    asyncio.run(asyncio.wait_for(test, DEADLINE))


def channel(lab, token: str | None = None) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(lab.certificate.pem)
    if token:
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    # Without this, two channels with equal arguments may share a connection; the stock peers never do.
    return grpc.aio.secure_channel(lab.router.endpoint, credentials, [("grpc.use_local_subchannel_pool", 1)])


def stream(over: grpc.aio.Channel) -> grpc.aio.StreamStreamCall:
    return router_pb2_grpc.RouterServiceStub(over).Stream()


async def pair(first: grpc.aio.StreamStreamCall, second: grpc.aio.StreamStreamCall) -> None:
    """Returns when data has passed in both directions."""
    await first.write(router_pb2.StreamRequest(payload=b"one"))
    await second.write(router_pb2.StreamRequest(payload=b"two"))
    assert (await first.read()).payload == b"two"
    assert (await second.read()).payload == b"one"


def test_health(lab):
    async def test():
        async with channel(lab) as c:
            stub = health_pb2_grpc.HealthStub(c)
            answer = await stub.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

    run(test())


def test_reflection(lab):
    async def test():
        async with channel(lab) as c:
            stub = reflection_pb2_grpc.ServerReflectionStub(c)
            call = stub.ServerReflectionInfo()
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            answer = await call.read()
            await call.done_writing()
            names = [service.name for service in answer.list_services_response.service]
            assert "jumpstarter.v1.RouterService" in names

    run(test())


def test_half_closes(lab):
    """One direction may end before the other; when both have, both sides see OK."""

    async def test():
        token = router_token(lab.key)
        async with channel(lab, token) as c1, channel(lab, token) as c2:
            first, second = stream(c1), stream(c2)
            await pair(first, second)
            await first.done_writing()
            await second.write(router_pb2.StreamRequest(payload=b"still here"))
            assert (await first.read()).payload == b"still here"
            await second.done_writing()
            assert await first.read() is grpc.aio.EOF
            assert await second.read() is grpc.aio.EOF
            assert await first.code() == await second.code() == grpc.StatusCode.OK

    run(test())


@pytest.mark.parametrize("survivor", ["first", "second"])
def test_peer_cancels(lab, survivor):
    """Stock peers act on the GOAWAY frame only; the status is for logs and for newer peers."""

    async def test():
        token = router_token(lab.key)
        async with channel(lab, token) as c1, channel(lab, token) as c2:
            first, second = stream(c1), stream(c2)
            await pair(first, second)
            stays, goes = (first, second) if survivor == "first" else (second, first)
            goes.cancel()
            frame = await stays.read()
            assert frame.frame_type == router_pb2.FRAME_TYPE_GOAWAY
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stays.read()
            assert error.value.code() != grpc.StatusCode.OK
            assert error.value.details()

    run(test())


def test_refused_token(lab):
    """A token made with another key gets a status at once, and no frame."""

    async def test():
        async with channel(lab, router_token("not the router's key, but long enough")) as c:
            call = stream(c)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call.read()
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED

    run(test())
