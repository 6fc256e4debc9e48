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
def peer(tmp_path_factory, router, certificate):  # noqa: F811
    """Starts peers, and those anew that were left in the middle of a test that failed."""
    folder = tmp_path_factory.mktemp("peers")
    started = {}

    def peer(language: str, role: str) -> Peer:
        if (old := started.get((language, role))) and old.busy:
            old.stop()
        if not old or old.busy:
            started[language, role] = Peer(language, role, router, certificate, folder)
        return started[language, role]

    yield peer
    for each in started.values():
        each.stop()


def pytest_generate_tests(metafunc):
    if {"client", "exporter"} <= set(metafunc.fixturenames):
        pairs = [(client, exporter) for client in LANGUAGES for exporter in LANGUAGES]
        ids = [f"{client}-{exporter}" for client, exporter in pairs]
        metafunc.parametrize(("client", "exporter"), pairs, indirect=True, ids=ids)


@pytest.fixture
def client(peer, request):
    return peer(request.param, "client")


@pytest.fixture
def exporter(peer, request):
    return peer(request.param, "exporter")
