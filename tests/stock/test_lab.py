"""Stock `jmp` against `lab`, the controller and router in one process."""

import json
import re
import shlex
import shutil
import signal
import time
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf import duration_pb2
from jumpstarter_protocol import client_pb2

from .lab import PARENT, OneProcess, lab_binary
from .processes import Process, eventually
from .router import ROOT

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Shared by the tests that break nothing, with the exporters `x` and `y`."""
    with OneProcess(tmp_path_factory.mktemp("whole")) as lab:
        # Their starts overlap.
        lab.launch_exporter("y")
        lab.start_exporter("x")
        eventually("exporter y is available", 60, lambda: available(lab, "y"), interval=0.1)
        yield lab


@pytest.fixture
def own(tmp_path, request):
    """For the tests that stop something; the `lab_options` mark has options for `lab`."""
    mark = request.node.get_closest_marker("lab_options")
    with OneProcess(tmp_path, *(mark.args if mark else ())) as lab:
        yield lab


def available(lab: OneProcess, board: str) -> bool:
    request = client_pb2.GetExporterRequest(name=f"{PARENT}/exporters/{board}")
    return lab.clients.GetExporter(request, timeout=5).status == 2


def leases(lab: OneProcess):
    """Those that have not ended."""
    return lab.clients.ListLeases(client_pb2.ListLeasesRequest(parent=PARENT), timeout=5).leases


def waiting(lab: OneProcess) -> bool:
    return any(lease.conditions[-1].reason == "NotAvailable" for lease in leases(lab))


def create(lab: OneProcess, name: str, board: str = "x", seconds: int = 600):
    wanted = client_pb2.Lease(selector=f"board={board}", duration=duration_pb2.Duration(seconds=seconds))
    request = client_pb2.CreateLeaseRequest(parent=PARENT, lease_id=name, lease=wanted)
    return lab.clients.CreateLease(request, timeout=5)


def get(lab: OneProcess, name: str):
    return lab.clients.GetLease(client_pb2.GetLeaseRequest(name=f"{PARENT}/leases/{name}"), timeout=5)


def delete(lab: OneProcess, name: str) -> None:
    lab.clients.DeleteLease(client_pb2.DeleteLeaseRequest(name=f"{PARENT}/leases/{name}"), timeout=5)


def out(process: Process) -> str:
    return process.out.read_text()


def error(process: Process) -> str:
    """What `jmp` said, without colours and line breaks."""
    text = process.out.read_text() + process.err.read_text()
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def test_shell(whole):
    """The quick start: no option says where the lab is or who calls."""
    whole.jmp("shell", "-l", "board=x", "--", "j", "power", "on")


def test_get_exporters(whole):
    told = json.loads(out(whole.jmp("get", "exporters", "-o", "json", "--with", "status", "--with", "online")))
    found = {e["name"]: e for e in told["exporters"]}
    # One that is disabled is not shown, one that never came is offline.
    assert set(found) == {"x", "y", "gzip", "insecure"}
    assert found["y"]["labels"] == {"board": "y", "kind": "mock"}
    assert found["y"]["online"] and not found["gzip"]["online"]
    selected = out(whole.jmp("get", "exporters", "-o", "name", "-l", "kind=mock,board notin (y)"))
    assert selected.split() == ["x"]


def test_leases(whole):
    """Create, list, use, change owner, delete."""
    name = out(
        whole.jmp("create", "lease", "-l", "board=y", "--duration", "1h", "--tag", "build=7", "-o", "name")
    ).strip()
    assert get(whole, name).exporter == f"{PARENT}/exporters/y"
    assert name in out(whole.jmp("get", "leases", "-o", "name"))
    whole.jmp("shell", "--", "j", "power", "on", JMP_LEASE=name)
    # It was not released, as the shell had not asked for it.
    assert not get(whole, name).HasField("effective_end_time")
    whole.jmp("update", "lease", name, "--duration", "2h")
    assert get(whole, name).duration.seconds == 7200
    whole.jmp("update", "lease", name, "--to-client", "you")
    foreign = whole.jmp("delete", "leases", name, code=1)
    assert "permission denied: lease" in error(foreign)
    assert name in out(whole.jmp("delete", "leases", "--all", client="you"))
    assert get(whole, name).HasField("effective_end_time")


def test_what_has_passed_of_a_lease_stays(whole):
    """It is not shortened below that. Deleted twice, it is told as upstream's controller tells it."""
    create(whole, "begun", "y")
    time.sleep(2)
    refused = whole.jmp("update", "lease", "begun", "--duration", "1s", code=1)
    assert "cannot shorten lease begun to 1s" in error(refused)
    assert not get(whole, "begun").HasField("effective_end_time")
    whole.jmp("delete", "leases", "begun")
    again = whole.jmp("delete", "leases", "begun", code=1)
    assert f'lease "{PARENT}/leases/begun" has already been released' in error(again)


def test_the_log_says_who_has_what_and_who_waits_for_whom(whole):
    create(whole, "theirs", "y")
    waits = whole.start_jmp("shell", "-l", "board=y", "--", "true", client="you")
    log = whole.controller.err
    eventually("it waits", 60, lambda: "you waits for exporter y, which me has" in log.read_text())
    delete(whole, "theirs")
    assert waits.wait(60) == 0
    for line in ("me no longer has exporter y (lease theirs)", "you has got exporter y"):
        assert line in log.read_text()


def test_two_clients_compete(whole):
    """The second waits for the first, and then has its turn."""
    enough = whole.folder / "enough"
    script = f"j power on && echo first in && until [ -e {enough} ]; do sleep 0.1; done"
    first = whole.start_jmp("shell", "-l", "board=x", "--", "sh", "-c", script)
    eventually("the first is in", 60, lambda: "first in" in out(first))
    second = whole.start_jmp("shell", "-l", "board=x", "--", "sh", "-c", "j power on && echo second in", client="you")

    eventually("the second waits", 60, lambda: waiting(whole))
    assert first.running and "second in" not in out(second)
    enough.touch()
    assert first.wait(60) == 0
    assert second.wait(60) == 0
    assert "second in" in out(second)


def test_ten_parallel_shells(whole):
    """All on one lease: ten sessions, each with tunnels of its own."""
    create(whole, "shared", "y")
    shells = [
        whole.start_jmp("shell", "--", "sh", "-c", "j power on && echo good", JMP_LEASE="shared") for _ in range(10)
    ]
    for shell in shells:
        assert shell.wait(180) == 0
        assert "good" in out(shell)
    delete(whole, "shared")


def test_bad_input(whole):
    """What people are told. Each `jmp` takes a while to start, so they run side by side."""
    create(whole, "theirs-not", "gzip", 600)
    create(whole, "gone", "y", 1)
    eventually("it has ended", 10, lambda: get(whole, "gone").HasField("effective_end_time"))
    stranger = whole.folder / "stranger.yaml"
    mine = (whole.lab_folder / "clients" / "me.yaml").read_text()
    # The token of an exporter's file instead of the client's.
    theirs = (whole.lab_folder / "exporters" / "x.yaml").read_text()
    token = re.search(r'^token: .*$', theirs, re.M).group()
    stranger.write_text(re.sub(r"^token: .*$", token, mine, flags=re.M))
    forged = whole.folder / "forged.yaml"
    header, payload, signature = re.search(r'^token: "(.*)"$', mine, re.M).group(1).split(".")
    forged.write_text(re.sub(r"^token: .*$", f'token: "{header}.{payload}.{signature[::-1]}"', mine, flags=re.M))
    shell = ("--", "true")
    cases = [
        (("shell", "-l", "board=none", *shell), {}, "cannot be satisfied: No exporter matches board=none; this lab has"),
        (("shell", "-n", "nobody", *shell), {}, "Requested exporter nobody was not found"),
        (("shell", "-n", "off", *shell), {}, "is disabled"),
        (("shell", "-l", "board in x", *shell), {}, 'expected (, found "x"'),
        (("shell", *shell), {"JMP_LEASE": "no-such-lease"}, "not found"),
        (("shell", *shell), {"JMP_LEASE": "gone"}, "the lease is invalid: The lease has expired"),
        (("delete", "leases", "no-such-lease"), {}, 'leases.jumpstarter.dev "no-such-lease" not found'),
        (("create", "lease", "-l", "board=x", "--duration", "1h", "--lease-id", "gone"), {}, "already exists"),
        (("get", "exporters", "--client-config", str(forged)), {}, "invalid bearer token: it is not of this lab"),
        (("get", "exporters", "--client-config", str(stranger)), {}, "the token is for namespaces/default/exporters/x"),
    ]
    processes = [(whole.start_jmp(*arguments, **env), arguments, part) for arguments, env, part in cases]
    exporter = whole.folder / "forged-exporter.yaml"
    exporter.write_text(theirs.replace(token, token[:-4] + 'AAA"'))
    unknown = whole.start_jmp("run", "--exporter-config", str(exporter))
    foreign = whole.start_jmp("shell", *shell, client="you", JMP_LEASE="theirs-not")
    processes.append((foreign, ("a foreign lease",), "belongs to client 'me'"))
    for process, arguments, part in processes:
        code = process.wait(90)
        assert code != 0, f"{arguments} succeeded: {error(process)}"
        assert part in error(process), f"{arguments}: {error(process)}"
    eventually("the exporter says why it is not let in", 30, lambda: "it is not of this lab" in error(unknown))
    # It tries again for a while.
    unknown.kill()
    delete(whole, "theirs-not")


def test_token_rotation(own):
    """`jmp auth rotate` writes to the file that the lab reads."""
    file = own.lab_folder / "clients" / "me.yaml"
    before = file.read_text()
    own.jmp("auth", "rotate", "--client", "me")
    after = file.read_text()
    assert before != after
    own.jmp("get", "exporters")
    assert "Valid" in out(own.jmp("auth", "status", "--client", "me"))


def test_lease_expires_in_a_shell(whole):
    """The shell and its command end, and the exporter is free again."""
    started = time.monotonic()
    script = "j power on && echo at first; sleep 60; echo at last"
    shell = whole.start_jmp("shell", "-l", "board=x", "--duration", "6s", "--", "sh", "-c", script)
    eventually("it holds a lease", 30, lambda: any(lease.exporter for lease in leases(whole)))
    eventually("no lease is left", 40, lambda: not leases(whole))
    assert time.monotonic() - started > 6
    shell.wait(20)
    assert "at first" in out(shell) and "at last" not in out(shell)
    whole.jmp("shell", "-l", "board=x", "--", "j", "power", "on", client="you")


def test_exporter_restarted(own):
    """Its lease is still there, and works with the new process, which is started as the lab says."""
    exporter = own.start_exporter("x")
    create(own, "kept")
    own.jmp("shell", "--", "j", "power", "on", JMP_LEASE="kept")
    exporter.kill()
    eventually("it is seen to be gone", 10, lambda: not available(own, "x"))
    own.start_jmp("run", "--exporter", "x")
    own.jmp("shell", "--", "j", "power", "on", JMP_LEASE="kept", timeout=90)


def restart(lab: OneProcess) -> None:
    lab.controller.kill()
    lab.start_controller()


def test_lab_restarted(own):
    """Killed without a warning, with a session open and another client waiting: all goes on."""
    own.start_exporter("x")
    first = own.program("power_loop", "x")
    first.event("on", 60)
    second = own.start_jmp("shell", "-l", "board=x", "--", "sh", "-c", "j power on && echo second in", client="you")
    eventually("the second waits", 30, lambda: waiting(own))
    before = [lease.name for lease in leases(own)]
    restart(own)
    back = time.monotonic()
    again = eventually(
        "power.on works again", 60, lambda: next((e for e in first.events("on") if e["start"] > back), None)
    )
    print(f"power.on worked again {again['at'] - back:.1f} s after the lab was back")
    assert [lease.name for lease in leases(own)] == before
    assert waiting(own) and second.running
    first.kill()
    delete(own, next(lease.name for lease in leases(own) if lease.exporter).rsplit("/", 1)[-1])
    assert second.wait(90) == 0
    assert "second in" in out(second)


@pytest.mark.lab_options("--no-state")
def test_lab_restarted_without_state(own):
    """Its leases are gone, which everybody is told; files and tokens still work."""
    own.start_exporter("x")
    create(own, "forgotten")
    restart(own)
    with pytest.raises(grpc.RpcError) as lost:
        get(own, "forgotten")
    assert "not found" in lost.value.details()
    own.jmp("shell", "-l", "board=x", "--", "j", "power", "on", timeout=90)


def documented(page: str, after: str) -> str:
    """The first block of shell commands behind these words."""
    text = (ROOT / page).read_text()
    assert text.count(after) == 1, f"{page} says {after!r} {text.count(after)} times"
    return text.split(after)[1].split("```sh\n")[1].split("```")[0]


@pytest.fixture
def empty(tmp_path):
    """A directory with no lab in it, and a free port."""
    with OneProcess(tmp_path) as lab:
        lab.controller.kill()
        shutil.rmtree(lab.lab_folder)
        yield lab


def test_quick_start(empty):
    """The two commands of README, as they are but for the port and the build: the lab, and a shell to type into."""
    start, shell = [line.split(" #")[0].strip() for line in documented("README.md", "Two commands give").splitlines()]
    assert start == "cargo run --release -- lab"
    started = empty.start("quick", [str(lab_binary()), "lab", "--listen", f"127.0.0.1:{empty.port}"])
    eventually("it says what to type", 20, lambda: "Ctrl-C" in out(started))
    said = next(line.strip() for line in out(started).splitlines() if "jmp shell" in line)
    assert said == shell.replace("$PWD", str(empty.folder))
    script = f"echo 'j power on && echo it is on' | {shell}"
    typed = empty.start("quick-shell", ["bash", "-c", script], SHELL="/bin/bash")
    assert typed.wait(90) == 0
    assert "it is on" in out(typed)
    mock = empty.folder / "lab" / "exporters" / "mock.log"
    assert "power on" in mock.read_text()
    # Ctrl-C ends the exporter, too.
    started.child.send_signal(signal.SIGINT)
    assert started.wait(20) == 0
    assert not any(str(mock.with_suffix(".yaml")) in (p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))
    environment, install, build = documented("README.md", "Both are made once").splitlines()
    assert environment == "python3 -m venv venv && . venv/bin/activate"
    assert build == "cargo build --release"
    named = install.removeprefix("pip install ").split()
    tested = {line.split("==")[0] for line in (HERE / "requirements.txt").read_text().splitlines()}
    assert set(named) <= tested


def test_documented_for_ci(empty):
    """The script of docs/lab.md, as it is but for the port."""
    script = documented("docs/lab.md", "## In CI")
    command = shlex.join([str(lab_binary()), "lab", "ci", "--listen", f"127.0.0.1:{empty.port}"])
    script = script.replace("jumpstarter-router lab ci", command).replace("pytest", "j power on")
    done = empty.start("ci", ["bash", "-euc", script])
    assert done.wait(90) == 0
    assert "power on" in (empty.folder / "ci" / "exporters" / "mock.log").read_text()
