#!/usr/bin/env python3
"""Measures what it costs that the two sides of a pair are at two routers, beside one router in the same run.

Needs Linux, nats-server, openssl and a release build. In each round each workload runs in three places, in turns: at a
router that is alone, at one of a cluster with both peers at it, and with the peers at two routers of that cluster. CPU time is
that of all routers together, for each unit of work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import Identity, ProcessError, Subject, free_port, listens, make_identity

ROUTER = "{binary} --listen 127.0.0.1:{{port}} --health-address 0 --set listen.admin_address=0"
CLUSTER = " --set cluster.servers=nats://127.0.0.1:{bus} --set cluster.address=127.0.0.1:0"

# The name, the options of `load`, what one unit is, and how many of them CPU time is given for.
WORKLOADS = {
    "bulk": ("--workload bulk --pairs 1", "bytes", 1e9),
    "pingpong": ("--workload pingpong --pairs 1", "units", 1e6),
    "new pairs": ("--workload churn", "units", 1e3),
    "new streams": ("--workload churn --connections shared", "units", 1e3),
    "idle": ("--workload idle --pairs 500", "pairs", 1),
}
PLACES = ("alone", "home", "apart")


def ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(binary: str, identity: Identity, options: str, at: list[Subject], seconds: float) -> dict[str, float]:
    """One run; the second of two routers is where second peers connect."""
    command = [binary, "load", "--router", f"127.0.0.1:{at[0].port}", "--ca", str(identity.certificate), "--quiet"]
    command += ["--json", "-", "--verify", "sample", "--warmup", "1s", "--duration", f"{seconds}s", *options.split()]
    if len(at) == 2:
        command += ["--second-router", f"127.0.0.1:{at[1].port}"]
    before, held = sum(ticks(one.pid) for one in at), sum(resident(one.pid) for one in at)
    environment = {**os.environ, "ROUTER_KEY": identity.router_key}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    # Idle pairs are there by now, and hold what they hold.
    time.sleep(1 + seconds * 0.7)
    grown = sum(resident(one.pid) for one in at) - held
    out, _ = process.communicate(timeout=120)
    report = json.loads(out)
    if report["errors"]:
        raise ProcessError(f"{options}: {report['errors']}")
    # The warmup's work counts on both sides of the ratio: it is a fixed part of the time.
    cpu = sum(ticks(one.pid) for one in at) - before
    latency = report["latency"] or {}
    return {"cpu": cpu, "grown": grown, "generator": report["generator"]["cores"], **figures(report, latency)}


def figures(report: dict, latency: dict) -> dict[str, float]:
    kept = {"bytes": report["bytes"], "units": report["units"], "pairs": 500, "rate": report["mb_per_second"] or 0.0}
    for name in ("p50", "p99"):
        kept[name] = next((value for key, value in latency.items() if key.startswith(name)), 0.0)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="jumpstarter-router")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        identity = make_identity(Path(directory))
        bus = free_port()
        nats = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(bus), "-l", f"{directory}/nats.log"])
        try:
            while not listens(bus):
                time.sleep(0.05)
            alone = ROUTER.format(binary=options.binary)
            member = alone + CLUSTER.format(bus=bus)
            subjects = [Subject(name, text, identity) for name, text in
                        (("alone", alone), ("one", member), ("two", member))]
            return measure(options, identity, subjects)
        finally:
            nats.terminate()
            nats.wait()


def measure(options: argparse.Namespace, identity: Identity, subjects: list[Subject]) -> int:
    alone, one, two = subjects
    places = {"alone": [alone], "home": [one], "apart": [one, two]}
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    try:
        for _ in range(options.rounds):
            for name, (load, _, _) in WORKLOADS.items():
                for place in PLACES:
                    for subject in places[place]:
                        subject.start()
                    time.sleep(0.5)
                    got = run(options.binary, identity, load, places[place], options.seconds)
                    rows.setdefault((name, place), []).append(got)
                    for subject in places[place]:
                        subject.stop()
    finally:
        for subject in subjects:
            subject.stop()
    show(rows)
    return 0


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):10.4g} ({min(values):.4g} to {max(values):.4g})"


def show(rows: dict[tuple[str, str], list[dict[str, float]]]) -> None:
    for name, (_, unit, many) in WORKLOADS.items():
        for place in PLACES:
            got = rows[name, place]
            base = rows[name, "alone"]
            what = {"cpu s": lambda run: run["cpu"] / max(run[unit], 1) * many,
                    "p50": lambda run: run["p50"], "p99": lambda run: run["p99"],
                    "MB/s": lambda run: run["rate"], "grown kB a pair": lambda run: run["grown"] / 500 / 1024}
            for label, of in what.items():
                if (label == "grown kB a pair") != (name == "idle") or not any(of(run) for run in got):
                    continue
                ratios = [of(mine) / of(theirs) for mine, theirs in zip(got, base) if of(theirs)]
                print(f"{name:11} {place:6} {label:16} {spread([of(run) for run in got])}   ratio {spread(ratios)}")


if __name__ == "__main__":
    sys.exit(main())
