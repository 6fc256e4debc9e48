"""Running the generator, or the relay's driver, once, and what is kept of it."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time

from awake import awake
from machine import load_average
from processes import ProcessError, Subject, fill
from workloads import Workload

# Beyond the time a run should take, before it is given up.
SLACK_SECONDS = 60.0

# What the relay's driver moves in all: a run of about the same length as the routers'.
RELAY_BYTES = 6_000_000_000
RELAY_BYTES_QUICK = 200_000_000

Record = dict[str, object]


def load_options(workload: Workload, quick: bool) -> list[str]:
    """The options of `load` that say what is done; kept with the result."""
    seconds, warmup = workload.timing(quick)
    # Checking every byte would make the generator the bottleneck of what is compared. Length and order are
    # checked of every message all the same.
    common = ["--verify", "sample", "--duration", f"{seconds * 1000:.0f}ms", "--warmup", f"{warmup * 1000:.0f}ms"]
    return [*workload.options, *common]


def measure(subject: Subject, workload: Workload, driver: str, quick: bool, number: int) -> Record:
    """One measurement. A failure is kept like a result."""
    before = load_average()
    begin = time.monotonic()
    record: Record = {
        "kind": "measurement",
        "router": subject.name,
        "relay": subject.is_relay,
        "workload": workload.name,
        "round": number,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "fresh": workload.fresh,
        "load_average": before,
    }
    try:
        if workload.fresh or not subject.running():
            subject.start()
        with awake(workload.awake):
            record |= _drive(subject, workload, driver, quick)
        if not subject.running():
            raise ProcessError(f"{subject.name} ended during the run", subject.last_words())
    except ProcessError as error:
        record["failure"] = str(error)
        if error.words:
            print(error.words, file=sys.stderr)
    record["wall_seconds"] = round(time.monotonic() - begin, 2)
    return record


def _drive(subject: Subject, workload: Workload, driver: str, quick: bool) -> Record:
    identity = subject.identity
    if subject.is_relay:
        values = {
            "port": subject.port,
            "certificate": identity.certificate,
            "key_file": identity.key_file,
            "bytes": RELAY_BYTES_QUICK if quick else RELAY_BYTES,
            "pairs": workload.relay_pairs,
            "pid": subject.pid,
        }
        return _run(fill(driver, values), [], identity.router_key, workload.estimate(quick) + SLACK_SECONDS)
    options = load_options(workload, quick)
    command = [driver, "load", "--router", f"localhost:{subject.port}", "--ca", str(identity.certificate)]
    command += [*options, "--pid", str(subject.pid), "--quiet", "--json", "-"]
    # The generator's own deadline is a minute after the end; it knows better what it waits for.
    return _run(command, options, identity.router_key, workload.estimate(quick) + 2 * SLACK_SECONDS)


def _run(command: list[str], options: list[str], router_key: str, limit: float) -> Record:
    try:
        ended = subprocess.run(
            command,
            env={**os.environ, "ROUTER_KEY": router_key},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessError(f"the generator was not done after {limit:.0f} s") from error
    except OSError as error:
        raise ProcessError(f"the generator cannot be started: {error}") from error
    try:
        report = json.loads(ended.stdout)
    except ValueError as error:
        text = f"the generator gave no report (exit code {ended.returncode})"
        raise ProcessError(text, ended.stderr.strip()[-500:]) from error
    record: Record = {"options": options, "exit_code": ended.returncode, "report": report}
    generator = report.get("generator") or {}
    if generator.get("cores_available"):
        record["generator_cpu_share"] = round(generator["cores"] / generator["cores_available"], 3)
    if ended.returncode != 0:
        errors = report.get("errors") or {"exit code": ended.returncode}
        record["failure"] = "; ".join(f"{text} ({count} times)" for text, count in errors.items())
    return record
