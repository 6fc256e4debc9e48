"""The day, phase by phase. Goes on after a failure, so that all of them are told."""

import json
import os
import resource
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

import psutil

from stock.lab import Lab
from stock.processes import Process, eventually

from . import scanner
from .certificates import Authority, Mounted
from .group import Group
from .router import DayRouter
from .watch import THRESHOLD, Watch

LIMIT = 512 << 20
DRAIN = 20
# For how long load moves beside the phases, at most. It is told to end before the drain.
LONG = 3600


class Day(Lab):
    """The lab with the router of the day, and those who should be well."""

    def __init__(self, folder: Path, group: Group):
        self.authority = Authority(folder)
        self.mounted = Mounted(folder, self.authority.issue())
        super().__init__(folder, self.authority.issue())
        settings = {"JUMPSTARTER_ROUTER_DRAIN_TIMEOUT": f"{DRAIN}s"}
        self.router = DayRouter(folder, self.mounted.certificate, self.key, settings, group)
        self.group = group
        self.problems: list[str] = []
        self.watch = Watch(self.router)
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def check(self, well: bool, what: str) -> None:
        """Notes a problem and goes on."""
        if not well:
            self.problems.append(f"{self.watch.phase}: {what}")
            self.say(f"PROBLEM: {what}")

    @contextmanager
    def phase(self, name: str, probes: bool = True):
        """What happens inside is told, and so is what the peers that should be well say in the end."""
        self.watch.phase = name
        self.say(f"== {name}")
        try:
            yield
        except Exception as problem:
            self.check(False, f"{type(problem).__name__}: {problem}")
        self.say(self.watch.text(name))
        if probes:
            for probe, failed in self.watch.worst(name).items():
                self.check(failed < THRESHOLD, f"{probe} failed {failed} times in a row")
        self.check(self.router.process.running, "the router has ended")
        for process in self.moving:
            self.check(process.running, f"{process.name} has ended")
        self.check(not self.power.events("failed"), f"the stock client's calls failed: {self.power.events('failed')[:2]}")
        self.check(not self.console.events("ended"), f"the stock console ended: {self.console.events('ended')}")
        # One call takes some milliseconds and there are five a second; a tenth of that will do on a busy machine.
        last = self.power.events("on")[-1]["at"]
        self.check(time.monotonic() - last < 5, f"the stock client's last call was {time.monotonic() - last:.0f} s ago")

    def begin(self) -> None:
        """Everybody arrives."""
        for board in ("x", "y", "gzip"):
            self.start_exporter(board)
        self.power = self.program("power_loop", "x")
        self.console = self.program("echo_wait", "y")
        self.moving = [self.load("pingpong", "--pairs", "2"), self.load("bulk"), self.load("reqresp", "--rate", "200")]
        self.power.event("on", 60)
        self.console.event("waiting", 60)
        self.watch.start()

    def load(self, workload: str, *options: str, duration: int = LONG) -> Process:
        """Pairs that move, checked byte for byte."""
        argv = [os.environ["ROUTER_BIN"], "load", "--router", self.router.endpoint, "--ca", str(self.authority.path)]
        argv += ["--workload", workload, "--duration", f"{duration}s", "--deadline", f"{duration + 60}s", *options]
        name = f"load-{workload}-{len(self.processes)}"
        return self.start(name, argv, ROUTER_KEY=self.key)

    def newcomer(self) -> None:
        """A stock client comes, does its work, and leaves."""
        start = time.monotonic()
        self.shell("gzip", ["j", "power", "on"], timeout=60)
        self.say(f"a new stock client was done in {time.monotonic() - start:.1f} s")

    def trusted(self) -> bool:
        """Whether a new peer accepts the certificate that is shown now."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        context.set_alpn_protocols(["h2"])
        try:
            with socket.create_connection(("localhost", self.router.port), timeout=5) as connection:
                context.wrap_socket(connection, server_hostname="localhost").close()
            return True
        except ssl.SSLCertVerificationError:
            return False

    # The phases, in their order.

    def calm(self) -> None:
        with self.phase("a quiet morning"):
            time.sleep(20)
            self.newcomer()

    def scanned(self) -> None:
        router = self.router
        ports = [router.port, router.health_port, router.metrics_port, router.admin_port]
        with self.phase("a scanner"):
            bodies = b"POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
            with ExitStack() as silent:
                for port in ports:
                    silent.enter_context(closing(scanner.Silent(port, 100)))
                silent.enter_context(closing(scanner.Silent(router.admin_port, 100, bodies)))
                knocks = scanner.scan(ports, 30)
                self.say(f"{knocks} knocks; now a burst")
                before = router.cpu()
                scanner.burst(router.port, 5000)
                time.sleep(3)
                self.say(f"the burst took {router.cpu() - before:.1f} s of the router's time")
                self.newcomer()

    def unread(self) -> None:
        with self.phase("a log that nobody reads"):
            self.router.process.reads.clear()
            # Some hundred pairs a second: more lines than the pipe holds.
            churn = self.load("churn", "--pairs", "4", duration=20)
            try:
                for _ in range(3):
                    self.newcomer()
                self.check(churn.wait(60) == 0, "new pairs failed")
                time.sleep(20)
            finally:
                seen = len(self.router.log())
                self.router.process.reads.set()
        with self.phase("a log that is read again"):
            self.newcomer()
            # What was left out is told by the next line of its kind, or by one of its own if none comes.
            eventually(
                "the log goes on, and says that it has gaps",
                20,
                lambda: any(
                    line["msg"].startswith("log lines were lost") or "left_out" in line for line in self.router.log()[seen:]
                ),
            )

    def expired(self) -> None:
        with self.phase("a certificate that expires"):
            self.mounted.exchange(self.authority.issue(timedelta(seconds=15)))
            eventually("new peers no longer trust the certificate", 40, lambda: not self.trusted(), interval=0.5)
            time.sleep(20)
        with self.phase("a certificate that is renewed"):
            renewed = time.monotonic()
            self.mounted.exchange(self.authority.issue())
            eventually("new peers trust the certificate again", 20, self.trusted, interval=0.2)
            self.say(f"trusted again after {time.monotonic() - renewed:.1f} s")
            self.newcomer()

    def full(self) -> None:
        """Probes may fail here: nothing can be accepted."""
        with self.phase("a full table of descriptors", probes=False):
            soft, hard = resource.prlimit(self.router.pid, resource.RLIMIT_NOFILE)
            used = psutil.Process(self.router.pid).num_fds()
            before, log = self.router.cpu(), len(self.router.log())
            resource.prlimit(self.router.pid, resource.RLIMIT_NOFILE, (used + 5, hard))
            try:
                with closing(scanner.Silent(self.router.port, 200)):
                    time.sleep(15)
                    ready = self.watch.get(self.router.health_port, "/readyz")
            finally:
                resource.prlimit(self.router.pid, resource.RLIMIT_NOFILE, (soft, hard))
            spent, lines = self.router.cpu() - before, len(self.router.log()) - log
            self.check(not ready, "it is ready though nothing can be accepted")
            self.say(f"{used} descriptors; {spent:.1f} s of the router's time and {lines} lines in the log meanwhile")
            # Peers that move are served meanwhile, and knock: 200 lines is what a second of not thinning would bring.
            self.check(lines < 200, f"{lines} lines in the log")
        with self.phase("a table with room again"):
            eventually("the router is ready", 10, self.router.ready)
            self.newcomer()

    def besieged(self) -> None:
        with self.phase("a siege"):
            argv = [os.environ["SIEGE_BIN"], "--router", f"127.0.0.1:{self.router.port}", "--mix", "--duration", "240s"]
            argv += ["--pid", str(self.router.pid), "--group", str(self.group.path)]
            argv += ["--metrics", f"127.0.0.1:{self.router.metrics_port}"]
            siege = self.start("siege", argv, ROUTER_KEY=self.key)
            for _ in range(3):
                time.sleep(50)
                self.newcomer()
            code = siege.wait(300)
            for line in siege.out.read_text().splitlines():
                self.say(f"    {line}")
            self.check(code == 0, "the siege was not held off")
        with self.phase("a quiet afternoon"):
            time.sleep(20)
            self.newcomer()

    def drained(self) -> None:
        self.watch.phase = "a drain"
        self.say("== a drain")
        self.watch.over.set()
        self.power.kill()
        for process in self.moving:
            self.check(process.running, f"{process.name} has ended")
            process.kill()
        begin = time.monotonic()
        self.router.process.child.send_signal(signal.SIGTERM)
        eventually("it is no longer ready", 3, lambda: not self.watch.get(self.router.health_port, "/readyz"))
        told = self.console.event("ended", DRAIN + 5)
        code = self.router.process.wait(DRAIN + 5)
        self.say(f"ended with {code} after {time.monotonic() - begin:.1f} s; the stock console: {told['how']}")
        self.check(code == 0, f"exit code {code}")
        self.router.process.read_to_the_end()
        self.check(not any("panicked" in line["msg"] for line in self.router.log()), "something panicked")

    def whole(self) -> int:
        """Runs the day; gives the exit code."""
        self.begin()
        for phase in (self.calm, self.scanned, self.unread, self.expired, self.full, self.besieged):
            phase()
            if not self.router.process.running:
                break
        else:
            try:
                self.drained()
            except AssertionError as problem:
                self.check(False, str(problem))
        peak, kills = self.group.peak(), self.group.kills()
        self.say(f"most in the group {peak >> 20} MiB of {LIMIT >> 20}, the kernel's kills {kills}")
        self.check(kills == 0 and peak <= LIMIT * 9 // 10, "memory")
        print("well" if not self.problems else "\n".join(["NOT WELL:", *self.problems]))
        return 1 if self.problems else 0


def main() -> int:
    keep = os.environ.get("KEEP")
    folder = Path(keep).absolute() if keep else Path(tempfile.mkdtemp(prefix="day-"))
    folder.mkdir(parents=True, exist_ok=True)
    group = Group(f"jumpstarter-router-day-{os.getpid()}", LIMIT)
    try:
        with Day(folder, group) as day:
            return day.whole()
    finally:
        group.close()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


sys.exit(main())
