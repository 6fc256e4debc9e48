"""Every method of every service, between Python's generated code and ours: all fields arrive, in both directions."""

import base64
import subprocess
from collections.abc import Callable
from concurrent import futures

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from .processes import Process, clean_environment, eventually
from .protocol import STOCK, STUBS, answer_class, full, our_services, path, present, request_class, stock_services
from .router import example

# The methods of the stock package are called by and served through its generated code. All of ours, with what is newer than
# the package, go through Python's generic code.
STOCK_METHODS = [method for service in stock_services() for method in service.methods]


def our_methods() -> list[MethodDescriptor]:
    return [method for service in our_services() for method in service.methods]


def samples(message_class: type[Message], count: int = 2) -> list[Message]:
    """Everything set, several times, then only what can be told from "not set", then nothing."""
    return [*(full(message_class, salt) for salt in range(1, count + 1)), present(message_class), message_class()]


def kind(method: MethodDescriptor) -> str:
    sides = ["stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming)]
    return "_".join(sides)


def frames(message_class: type[Message]) -> list[Message]:
    """For the router's own service: every type of frame, and one that nobody knows."""
    return [message_class(payload=bytes([i]) * i * 1000, frame_type=t) for i, t in enumerate([0, 3, 6, 7, 99])]


@pytest.fixture(scope="module")
def channel(tmp_path_factory):
    """To `protocol_echo serve`."""
    folder = tmp_path_factory.mktemp("echo")
    process = Process("echo", [example("protocol_echo"), "serve"], folder, clean_environment(folder, folder))
    try:
        # With its newline, or it might be cut short.
        address = eventually(
            "protocol_echo's address", 10, lambda: (text := process.out.read_text()).endswith("\n") and text.strip()
        )
        with grpc.insecure_channel(address) as channel:
            yield channel
    finally:
        process.kill()


def check_ours_answers(method: MethodDescriptor, call: Callable) -> None:
    """`call` is a stub's method. What our server understood of the request comes back in a header."""
    requests, answers = request_class(method), answer_class(method)
    if method.full_name == "jumpstarter.v1.RouterService.Stream":
        echoed = list(call(iter(frames(requests)), timeout=10))
        assert echoed == frames(answers)
        return
    for request in samples(requests):
        for answer in samples(answers):
            sent = [request, full(requests, 7)] if method.client_streaming else [request]
            wanted = [answer, full(answers, 8)] if method.server_streaming else [answer]
            headers = [("answer-bin", each.SerializeToString()) for each in wanted]
            argument = iter(sent) if method.client_streaming else request
            if method.server_streaming:
                running = call(argument, metadata=headers, timeout=10)
                got = list(running)
            else:
                response, running = call.with_call(argument, metadata=headers, timeout=10)
                got = [response]
            assert got == wanted
            received = [value for key, value in running.initial_metadata() if key == "received-bin"]
            assert [requests.FromString(each) for each in received] == sent


@pytest.mark.parametrize("method", STOCK_METHODS, ids=path)
def test_stock_stub_calls_ours(channel, method):
    module = next(module for module in STOCK if module.DESCRIPTOR is method.containing_service.file)
    stub = getattr(STUBS[module], f"{method.containing_service.name}Stub")(channel)
    check_ours_answers(method, getattr(stub, method.name))


def test_generic_code_calls_ours(channel):
    for method in our_methods():
        call = getattr(channel, kind(method))(
            f"/{path(method)}",
            request_serializer=request_class(method).SerializeToString,
            response_deserializer=answer_class(method).FromString,
        )
        check_ours_answers(method, call)


class Script:
    """What a Python server was sent, and what it has to answer."""

    def __init__(self):
        self.received: list[Message] = []
        self.answers: list[Message] = []

    def handler(self, method: MethodDescriptor) -> Callable:
        def take(request) -> None:
            self.received += list(request) if method.client_streaming else [request]

        def one(request, _):
            take(request)
            return self.answers[0]

        def many(request, _):
            take(request)
            yield from self.answers

        return many if method.server_streaming else one


def check_ours_calls(script: Script, address: str, methods: list[MethodDescriptor]) -> None:
    """`protocol_echo call` prints what it understood of the answers."""

    def encoded(messages: list[Message]) -> str:
        return " ".join(base64.b64encode(message.SerializeToString()).decode() for message in messages)

    with subprocess.Popen(
        [example("protocol_echo"), "call", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        try:
            for method in methods:
                requests, answers = samples(request_class(method)), samples(answer_class(method))
                if method.full_name == "jumpstarter.v1.RouterService.Stream":
                    requests = answers = [None]
                for request in requests:
                    for answer in answers:
                        if request is None:
                            sent, script.answers = frames(request_class(method)), frames(answer_class(method))
                        else:
                            more = [full(request_class(method), 7)] if method.client_streaming else []
                            sent = [request, *more]
                            more = [full(answer_class(method), 8)] if method.server_streaming else []
                            script.answers = [answer, *more]
                        script.received.clear()
                        child.stdin.write(f"{path(method)} {encoded(sent)}\n")
                        line = child.stdout.readline()
                        assert line, f"protocol_echo ended at {path(method)}"
                        words = line.rstrip("\n").split(" ")
                        got = [answer_class(method).FromString(base64.b64decode(word)) for word in words]
                        assert got == script.answers, path(method)
                        assert script.received == sent, path(method)
            child.stdin.close()
            assert child.wait(10) == 0
        finally:
            child.kill()


def test_ours_calls_stock_servicers():
    script = Script()
    with_server = grpc.server(futures.ThreadPoolExecutor(2))
    for module, generated in STUBS.items():
        for service in module.DESCRIPTOR.services_by_name.values():
            base = getattr(generated, f"{service.name}Servicer")
            methods = {method.name: staticmethod(script.handler(method)) for method in service.methods}
            servicer = type(service.name, (base,), methods)()
            getattr(generated, f"add_{service.name}Servicer_to_server")(servicer, with_server)
    serve(with_server, lambda address: check_ours_calls(script, address, STOCK_METHODS))


def test_ours_calls_generic_servers():
    script = Script()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    for service in our_services():
        handlers = {
            method.name: getattr(grpc, f"{kind(method)}_rpc_method_handler")(
                script.handler(method),
                request_deserializer=request_class(method).FromString,
                response_serializer=answer_class(method).SerializeToString,
            )
            for method in service.methods
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    serve(server, lambda address: check_ours_calls(script, address, our_methods()))


def serve(server: grpc.Server, test: Callable[[str], None]) -> None:
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        test(f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait(10)
