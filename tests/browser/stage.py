"""A stand-in for the router's admin address, which shows the page whatever a test wants it to see.

What it answers has the form of the router's own answers; `test_page.py` compares both, so that it cannot drift.
"""

import contextlib
import http.server
import json
import math
import re
import secrets
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PAGE = Path(__file__).parents[2] / "src/admin/page"
DAY = 86_400


def document(nonce: str) -> str:
    """The page as `src/admin/page.rs` puts it together."""
    text = (PAGE / "page.html").read_text()
    text = re.sub(r"\{\{(\w+\.(?:css|js))\}\}", lambda name: (PAGE / name[1]).read_text(), text)
    return text.replace("{{nonce}}", nonce)


class Stage:
    """Serves on a free port until closed. Its fields may be changed at any time."""

    def __init__(self, pairs: int = 3, waiting: int = 1, past: int = 40, names: bool = True, **more):
        self.pairs, self.waiting, self.past, self.names = pairs, waiting, past, names
        self.token = self.read_token = None
        self.silent = self.cluster = False
        self.other: dict | None = None  # Another process at the same address, which gets every second request.
        self.status = 200  # Another one is what a proxy answers for a router that is gone.
        self.limit: int | None = 512 << 20
        self.certificates = [certificate("CN=router.example.com", 61.4)]
        self.process = process()
        self.phase, self.pressure = "ready", "normal"
        self.gone: set[int] = set()
        self.asked: list[tuple[str, str]] = []
        self.born = time.time() - 3_725
        vars(self).update(more)
        stage = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                stage.answer(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def close(self) -> None:
        self.silent = False
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request) -> None:
        while self.silent:
            time.sleep(0.05)
        parts = urlsplit(request.path)
        self.asked.append((request.command, request.path))
        if self.other:
            self.process, self.other = self.other, self.process
        if self.status != 200 and parts.path != "/":
            return reply(request, self.status, "<h1>Bad Gateway</h1>", "text/html")
        if parts.path == "/":
            nonce = secrets.token_hex(8)
            policy = (
                f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; "
                "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
            )
            return reply(request, 200, document(nonce), "text/html; charset=utf-8", policy)
        status, body = self.api(request, parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})
        return reply(request, status, json.dumps(body), "application/json", process=self.process["id"])

    def api(self, request, path: str, query: dict) -> tuple[int, object]:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        access = "full"
        if self.token:
            if given not in (self.token, self.read_token):
                return 401, {"error": "expected the header Authorization: Bearer <admin.token>"}
            access = "full" if given == self.token else "read"
        if request.command == "POST":
            if access == "read":
                return 403, {"error": "this token only reads"}
            return self.act(path)
        if path.startswith("/api/streams/"):
            found = [row for row in self.rows() if str(row["id"]) == path.rsplit("/", 1)[1]]
            return (200, found[0]) if found else (404, {"error": "there is no such stream"})
        answers = {"status": lambda: self.about(access), "streams": lambda: self.listing(query), "history": lambda: self.history(query),
                   "past": lambda: self.ended(query), "config": configuration}  # fmt: skip
        answer = answers.get(path.removeprefix("/api/"))
        return (200, answer()) if answer else (404, {"error": "there is nothing here"})

    def act(self, path: str) -> tuple[int, object]:
        if path == "/api/drain":
            self.phase = "draining"
            return 202, {"phase": "draining", "process": self.process["id"]}
        self.gone.add(int(path.split("/")[3]))
        return 202, {"state": "ending"}

    def about(self, access: str) -> dict:
        now = time.time()
        cluster = {"router": self.process["id"], "address": "10.1.0.7:8084", "bus_connected": self.cluster == "connected", "bus_seconds": 93.4}
        rows = self.rows()
        return {
            "version": "0.1.0", "commit": "6d320552119e", "tls_provider": "aws-lc-rs", "cluster": cluster if self.cluster else None,
            "phase": self.phase, "uptime_seconds": now - self.born, "memory_pressure": self.pressure, "held_bytes": 260_000 * (self.pairs > 0),
            "windows_granted_bytes": 0, "connections": 2 * self.pairs + self.waiting, "waiting": self.waiting, "pairs": self.pairs,
            "stalled": sum(any(p["stalled_seconds"] is not None for p in row["peers"]) for row in rows), "forwarded_rate": 4_000_000,
            "totals": {"streams": 2 * self.pairs + 812, "pairs": self.pairs + 401, "refusals": 12, "forwarded_bytes": 18_400_000_000, "forwarded_messages": 1_200_300},
            "process": self.process, "now_unix_ms": int(now * 1000), "access": access, "memory_used_bytes": 121_000_000,
            "memory_limit_bytes": self.limit, "certificates": self.certificates,
        }  # fmt: skip

    def rows(self) -> list[dict]:
        now = time.time()
        rows = [stream(number, now, self) for number in range(1, self.pairs + self.waiting + 1)]
        return [row for row in rows if row["id"] not in self.gone]

    def listing(self, query: dict) -> dict:
        rows = self.rows()
        wanted = query.get("q", "").lower()
        matching = [row for row in rows if wanted in json.dumps(row).lower()]
        by = {"rate": lambda r: sum(p["rate_in"] for p in r["peers"]), "subject": lambda r: r["subject"],
              "stalled": lambda r: max(p["stalled_seconds"] or 0 for p in r["peers"])}  # fmt: skip
        matching.sort(key=by.get(query.get("sort"), lambda r: r["id"]), reverse=query.get("descending") == "true")
        return {"total": len(rows), "matching": len(matching), "streams": matching[: int(query.get("limit", 500))]}

    def history(self, query: dict) -> dict:
        end = int(time.time())
        seconds = range(end - min(600, int(query.get("seconds", 600))) + 1, end + 1)
        flow = [self.pairs * 9_000_000 * traffic(s) for s in seconds]
        return {"end_unix_s": end, "interval_seconds": 1, "series": {
            "bytes_in": [int(n) for n in flow], "bytes_out": [int(n * 0.97) for n in flow],
            "pairs": [max(0, self.pairs - s // 67 % 3 * (s // 40 % 2)) for s in seconds], "waiting": [self.waiting + s // 31 * 7 % 3 // 2 for s in seconds],
            "refusals": [s * 7_919 % 5 if s % 97 < 4 or s % 211 < 9 else 0 for s in seconds], "memory_bytes": [int(80e6 + 30e6 * traffic(s // 20 * 20)) for s in seconds],
        }}  # fmt: skip

    def ended(self, query: dict) -> dict:
        every = [record(number, self.born, self.names) for number in range(self.past)]
        for number in self.gone:
            every.insert(0, {**record(1, time.time(), self.names), "id": number, "subject": f"lease-{number:04}", "kind": "ended", "cause": "administrator",
                             "ended_by": "router", "status": "ABORTED", "reason": "ended by an administrator", "count": 1})  # fmt: skip
        wanted, kind = query.get("q", "").lower(), query.get("kind")
        matching = [one for one in every if wanted in json.dumps(one).lower() and kind in (None, one["kind"])]
        return {"total": len(every), "matching": len(matching), "streams": matching[: int(query.get("limit", 100))]}


def traffic(second: int) -> float:
    """Now more, now less, with bursts; the same for the same second."""
    noise = second * 2_654_435_761 % 1_000 / 1_000
    return 0.5 + 0.35 * math.sin(second / 70) + 0.07 * noise + (0.8 if second % 173 < 22 else 0)


def reply(request, status: int, body: str, kind: str, policy: str = "default-src 'none'", process: str = "") -> None:
    data = body.encode()
    request.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": len(data), "Content-Security-Policy": policy, "X-Router-Process": process}.items():
        request.send_header(name, str(value))
    request.end_headers()
    # A browser that has stopped waiting does not want it.
    with contextlib.suppress(OSError):
        request.wfile.write(data)


def process(host: str = "lab-host-3") -> dict:
    return {"id": secrets.token_hex(6), "pid": 4711, "host": host, "started_unix_ms": int(time.time() * 1000) - 3_725_000}


def certificate(subject: str, days: float, file: str | None = "/etc/router/tls.crt") -> dict:
    end = int(time.time() + days * DAY)
    return {"file": file, "subject": subject, "names": [subject.removeprefix("CN="), "*.lab.example.com"], "not_after_unix_s": end, "days_left": days}


def stream(number: int, now: float, stage: Stage) -> dict:
    """One row: the last ones wait, each seventh stands still, and the busier ones have larger numbers."""
    paired = number <= stage.pairs
    stalled = 12.5 if paired and number % 7 == 3 else None
    age = 3_000.0 / number + 2
    pace = number % 5 * 1_234_567 * paired

    def peer(side: int) -> dict:
        flow = 0 if stalled else int(pace * (0.4 + 0.6 * abs(math.sin(now / 7 + number + side))))
        moved = int(pace * age) + 71_023 * paired
        return {
            "address": f"10.{side + 1}.{number // 250}.{number % 250 + 1}", "certificate": f"CN=exporter-{number}" if stage.names and side else None,
            "router": None, "bytes_in": moved, "bytes_out": moved, "messages_in": moved // 900, "messages_out": moved // 900,
            "rate_in": flow, "rate_out": flow, "held_bytes": 260_000 if stalled and side else 0, "stalled_seconds": stalled if side else None,
            "window_bytes": 131_072,
        }  # fmt: skip

    names = {"client": f"alice-{number}", "exporter": f"rpi-4-lab-{number}", "lease": f"0193-{number:04}"}
    return {
        "id": number, "subject": f"lease-{number:04}-84b14489-1b08-4e88-ae5f-0c6ce4c9f1f2", "state": "paired" if paired else "waiting",
        "age_seconds": age, "waited_seconds": 0.212 if paired else None, "peers": [peer(0), peer(1)] if paired else [peer(0)],
        "names": names if stage.names and number % 3 else None, "began_unix_ms": int((now - age) * 1000),
        "paired_unix_ms": int((now - age) * 1000) + 212 if paired else None,
    }  # fmt: skip


ENDS = [
    ("completed", None, "OK", ""),
    ("cancelled", "first", "UNAVAILABLE", "the other side cancelled its stream"),
    ("lost", "second", "UNAVAILABLE", "the other side's connection was lost"),
    ("stalled", "router", "DEADLINE_EXCEEDED", "this side took next to nothing for 2m while bytes waited for it (streams.stall_timeout); connect again, and read"),
]  # fmt: skip


def record(number: int, born: float, names: bool) -> dict:
    """One of the past; each fifth was refused."""
    began = int((born - 90 * number) * 1000)
    if number % 5 == 4:
        return {
            "kind": "refused", "id": None, "subject": None, "names": None, "began_unix_ms": began, "ended_unix_ms": began + 60_000, "waited_seconds": None,
            "duration_seconds": 0.0, "peers": [side(number, 0, 0)], "ended_by": "router", "cause": "expired", "status": "UNAUTHENTICATED",
            "reason": "the token has expired: it was valid until 10:41:07, and it is 10:42:09 here", "count": 1 + number,
        }  # fmt: skip
    cause, by, status, reason = ENDS[number % 4]
    called = {"client": f"bob-{number}", "exporter": f"bench-{number}", "lease": None} if names and number % 2 else None
    return {
        "kind": "ended", "id": 1_000 + number, "subject": f"lease-{number:04}-f6f3bb1e", "names": called, "began_unix_ms": began,
        "ended_unix_ms": began + 61_500, "waited_seconds": 0.4, "duration_seconds": 61.5, "peers": [side(number, 0, 7_000), side(number, 1, 9_400_000)],
        "ended_by": by, "cause": cause, "status": status, "reason": reason, "count": 1,
    }  # fmt: skip


def side(number: int, which: int, moved: int) -> dict:
    return {"address": f"10.{which + 1}.0.{number % 250}", "certificate": None, "router": None, "bytes_in": moved, "bytes_out": moved // 2,
            "messages_in": moved // 700, "messages_out": moved // 1400}  # fmt: skip


def configuration() -> dict:
    settings = [
        ("listen.address", '":8083"', "default", True), ("listen.admin_address", '"127.0.0.1:8082"', "environment JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS", True),
        ("tls.certificate", '"/etc/router/tls.crt"', "file /etc/router/config.toml", False), ("tls.client_ca", None, "default", False),
        ("auth.key", '"(hidden)"', "flag --set", False), ("pairing.timeout", '"2m"', "default", False), ("drain.lame_duck", '"0s"', "default", False),
        ("drain.timeout", '"25s"', "default", False), ("cluster.servers", '["nats://bus-1:4222", "nats://bus-2:4222", "nats://bus-3:4222"]', "file /etc/router/config.toml", True),
        ("log.filter", '"info"', "default", False),
    ]  # fmt: skip
    return {"settings": [{"key": key, "value": value, "source": source, "restart": restart} for key, value, source, restart in settings * 8]}
