"""What people do first with a lab, by peers of any version: `versions` runs this with those that it is told."""

import json
import shutil
import time
import urllib.request

import pytest

from .lab import OneProcess, lab_binary
from .processes import eventually, free_port
from .test_lab import error, out

# Streams that nobody joins end soon, so that the tests need not wait long for it.
PAIRING = 5


@pytest.fixture
def whole(tmp_path):
    """The lab as people start it, with an exporter that it runs."""
    with OneProcess(tmp_path) as lab:
        lab.controller.kill()
        shutil.rmtree(lab.lab_folder)
        lab.page = free_port()
        argv = [str(lab_binary()), "lab", str(lab.lab_folder), "--listen", f"127.0.0.1:{lab.port}"]
        argv += ["--set", f"listen.admin_address=127.0.0.1:{lab.page}", "--set", f"pairing.timeout={PAIRING}s"]
        lab.controller = lab.start("whole", [*argv, "--log-filter", "warn,jumpstarter_router=info"])
        eventually("the exporter is connected", 60, lambda: "exporter mock is connected" in log(lab))
        yield lab
        lab.controller.terminate()
        assert lab.controller.wait(20) == 0


def log(lab) -> str:
    return lab.controller.err.read_text()


def streams(lab) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{lab.page}/api/streams", timeout=5) as answer:
        return json.load(answer)["total"]


def is_calm(text: str) -> bool:
    return not any(word in text.lower() for word in ("warning", "error", "traceback", "exception"))


def test_shells_one_after_the_other(whole):
    """Exporters of 0.6 end after each lease; the lab starts them again."""
    for _ in range(3):
        whole.jmp("shell", "-l", "board=mock", "--", "j", "power", "on", timeout=90)
    assert (whole.lab_folder / "exporters" / "mock.log").read_text().count("power on") >= 3
    assert log(whole).count("me has got exporter mock") == 3
    assert log(whole).count("me no longer has exporter mock") == 3


def test_nothing_is_left_of_a_dial_that_comes_to_nothing(whole):
    """Clients since 0.10 dial once more than they use: the exporter waits at the router, for nobody."""
    script = f"j power on && sleep {PAIRING + 3} && j power off"
    whole.jmp("shell", "-l", "board=mock", "--", "sh", "-c", script, timeout=90)
    eventually("no stream is left", PAIRING + 10, lambda: streams(whole) == 0)
    time.sleep(1)
    for text in (log(whole), (whole.lab_folder / "exporters" / "mock.log").read_text()):
        assert is_calm(text), text
    whole.jmp("shell", "-l", "board=mock", "--", "j", "power", "on", timeout=90)


def test_a_lease_of_ones_own(whole):
    name = out(whole.jmp("create", "lease", "-l", "board=mock", "--duration", "01:00:00", "-o", "name")).split()[-1]
    whole.jmp("shell", "--", "j", "power", "on", JMP_LEASE=name, timeout=90)
    whole.jmp("delete", "leases", name)
    again = whole.jmp("delete", "leases", name, code=1)
    assert "has already been released" in error(again)
