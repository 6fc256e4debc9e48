"""What an orchestrator sees: probes every second, the router's own `health`, metrics."""

import http.client
import subprocess
import threading
import time
from collections import defaultdict

from stock.router import router_binary

from .router import DayRouter

# Kubernetes calls a container unhealthy after so many probes in a row have failed.
THRESHOLD = 3
PATIENCE = 2


class Watch(threading.Thread):
    """Asks all day, and notes by phase how the answers were."""

    def __init__(self, router: DayRouter):
        super().__init__(daemon=True)
        self.router = router
        self.phase = "start"
        self.over = threading.Event()
        # By phase and probe: whether each was answered as of a router that is well, and the longest wait.
        self.answers: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self.longest: dict[tuple[str, str], float] = defaultdict(float)

    def run(self) -> None:
        turn = 0
        while not self.over.wait(1):
            self._note("readyz", lambda: self.get(self.router.health_port, "/readyz"))
            self._note("healthz", lambda: self.get(self.router.health_port, "/healthz"))
            if turn % 5 == 0:
                self._note("metrics", lambda: self.get(self.router.metrics_port, "/metrics"))
                self._note("health command", self.health)
            turn += 1

    def _note(self, probe: str, ask) -> None:
        phase, start = self.phase, time.monotonic()
        well = ask()
        key = phase, probe
        self.answers[key].append(well)
        self.longest[key] = max(self.longest[key], time.monotonic() - start)

    def get(self, port: int, path: str) -> bool:
        """Whether the answer is 200."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def health(self) -> bool:
        """What the router's own command says."""
        argv = [str(router_binary()), "health", "--address", f"127.0.0.1:{self.router.health_port}"]
        return subprocess.run(argv, capture_output=True, timeout=30).returncode == 0

    def worst(self, phase: str) -> dict[str, int]:
        """By probe, how many failed in a row."""
        found = {}
        for (of, probe), answers in list(self.answers.items()):
            if of == phase:
                run = most = 0
                for well in answers:
                    run = 0 if well else run + 1
                    most = max(most, run)
                found[probe] = most
        return found

    def text(self, phase: str) -> str:
        """The answers of a phase, in short."""
        parts = []
        for (of, probe), answers in list(self.answers.items()):
            if of == phase:
                parts.append(f"{probe} {sum(answers)}/{len(answers)} (longest {self.longest[of, probe]:.2f} s)")
        return ", ".join(parts)
