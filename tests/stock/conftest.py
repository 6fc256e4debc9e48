"""Fixtures, and the logs of every process when a test fails."""

import pytest

from . import processes
from .certificates import make_certificate
from .lab import Lab


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory, certificate):
    """Shared by the tests that break nothing, with the exporter `board=x`."""
    with Lab(tmp_path_factory.mktemp("lab"), certificate) as lab:
        lab.start_exporter("x")
        yield lab


@pytest.fixture
def settings(request):
    """Settings of the router in `own_lab`: the argument of the test's `router_settings` mark."""
    mark = request.node.get_closest_marker("router_settings")
    return dict(mark.kwargs) if mark else {}


@pytest.fixture
def own_lab(tmp_path, certificate, settings):
    """For the tests that kill something."""
    with Lab(tmp_path, certificate, settings) as lab:
        yield lab


@pytest.fixture
def own_exporter(own_lab):
    return own_lab.start_exporter("x")


def pytest_configure(config):
    config.addinivalue_line("markers", "router_settings(**environment): settings of the router in own_lab")
    config.addinivalue_line("markers", "lab_options(*arguments): options of `lab` in test_lab.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for process in processes.STARTED:
            for path in (process.out, process.err):
                lines = path.read_text(errors="replace").splitlines()[-60:] if path.exists() else []
                if lines:
                    report.sections.append((f"end of {path.name}", "\n".join(lines)))
    return report


def pytest_runtest_logfinish():
    processes.STARTED[:] = [p for p in processes.STARTED if p.running]
