"""One router and one process for each language and role, for all tests."""

import os

import pytest
from stock import tokens
from stock.conftest import certificate, pytest_runtest_logfinish, pytest_runtest_makereport  # noqa: F401
from stock.router import Router

from .peers import Peer

# `tests/interop/run` says which others there are.
LANGUAGES = os.environ.get("INTEROP_LANGUAGES", "python tonic").split()


@pytest.fixture(scope="session")
def router(tmp_path_factory, certificate):  # noqa: F811
    router = Router(tmp_path_factory.mktemp("router"), certificate, tokens.new_key())
    router.start()
    yield router
    router.close()


@pytest.fixture(scope="session")
def peers(tmp_path_factory, router, certificate):  # noqa: F811
    folder = tmp_path_factory.mktemp("peers")
    started = {}
    try:
        for language in LANGUAGES:
            for role in ("client", "exporter"):
                started[language, role] = Peer(language, role, router, certificate, folder)
        yield started
    finally:
        for peer in started.values():
            peer.stop()


def pytest_generate_tests(metafunc):
    if {"client", "exporter"} <= set(metafunc.fixturenames):
        pairs = [(client, exporter) for client in LANGUAGES for exporter in LANGUAGES]
        ids = [f"{client}-{exporter}" for client, exporter in pairs]
        metafunc.parametrize(("client", "exporter"), pairs, indirect=True, ids=ids)


@pytest.fixture
def client(peers, request):
    return peers[request.param, "client"]


@pytest.fixture
def exporter(peers, request):
    return peers[request.param, "exporter"]
