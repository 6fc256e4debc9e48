"""`jmp shell` and what people run in it."""

import re
import sys

from .lab import Flavour
from .router import router_binary

INSIDE = '''
from jumpstarter_testing.pytest import JumpstarterTest


class TestBoard(JumpstarterTest):
    selector = "board=x"

    def test_power(self, client):
        client.power.on()
        client.power.off()

    def test_echo(self, client):
        with client.echo.stream() as stream:
            stream.send(b"hello")
            assert stream.receive() == b"hello"
'''


def test_one_command(lab):
    lab.shell("x", ["j", "power", "on"])


def test_commands_in_parallel(lab):
    # A bare `wait` would hide the exit codes.
    script = 'pids=; for i in 1 2 3 4 5; do j power on & pids="$pids $!"; done; for p in $pids; do wait $p && echo good; done'
    shell = lab.shell("x", ["bash", "-c", script], timeout=90)
    assert shell.out.read_text().split().count("good") == 5


def test_pytest_inside_the_shell(lab, tmp_path):
    test = tmp_path / "test_board.py"
    test.write_text(INSIDE)
    options = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    shell = lab.shell("x", [sys.executable, "-m", "pytest", *options, str(test)], timeout=90)
    assert re.search(r"\b2 passed\b", shell.out.read_text())


def test_without_verification(lab):
    """Such peers first open a TLS connection without ALPN to fetch the certificate, and drop it."""
    insecure = Flavour(insecure=True)
    seen = len(lab.router.log())
    lab.start_exporter("insecure", insecure)
    lab.shell("insecure", ["j", "power", "on"], insecure)
    bad = [line for line in lab.router.log()[seen:] if line["level"].lower() not in ("trace", "debug", "info")]
    assert not bad


def test_the_routers_own_dial_serves_stock_clients(lab, tmp_path):
    """`dial --listen` puts the exporter of a lease at a socket, and `j` uses it there, several streams at once."""
    socket = lab.runtime / "board.sock"
    config = lab.client_config()
    script = f"""
        {router_binary()} dial --client-config {config} --lease "$JMP_LEASE" --listen unix:{socket} & dial=$!
        trap 'kill $dial' EXIT
        until [ -S {socket} ]; do sleep 0.1; done
        export JUMPSTARTER_HOST={socket} JMP_DRIVERS_ALLOW=UNSAFE
        j power on && j power off && echo good
    """
    shell = lab.shell("x", ["bash", "-c", script], timeout=90)
    assert "good" in shell.out.read_text()
    assert "through" in shell.err.read_text() and "connection 2" in shell.err.read_text()
