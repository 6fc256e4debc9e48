#!/usr/bin/env python3
"""Measures routers side by side, in turns, and writes raw data, a table and plots.

Needs Linux, Python 3.11 or newer and the openssl command. In the commands of routers and of the relay, {port},
{certificate} and {key_file} are replaced; routers also find ROUTER_KEY, GRPC_ROUTER_ENDPOINT, EXTERNAL_CERT_PEM,
EXTERNAL_KEY_PEM and LISTEN in their environment. No shell is involved.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import figures
import render
from machine import SPARE_FILES, describe, raise_file_limit
from measure import measure
from processes import ProcessError, Subject, make_identity
from workloads import GROUPS, WORKLOADS, Workload, select

# Starting a router, and the first handshake with it.
START_ESTIMATE = 0.3

# How the relay of this repository is driven.
DRIVE = "drive --connect 127.0.0.1:{port} --bytes {bytes} --pairs {pairs} --pid {pid}"


def arguments() -> argparse.Namespace:
    names = ", ".join([*GROUPS, *WORKLOADS])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--router", action="append", required=True, metavar="NAME=COMMAND", help="may be repeated")
    parser.add_argument("--load", required=True, metavar="BINARY", help="jumpstarter-router, whose `load` is used")
    parser.add_argument("--relay", metavar="COMMAND", help="a TLS byte relay, the floor for bulk1 and bulk32")
    parser.add_argument(
        "--relay-drive",
        metavar="COMMAND",
        help="the relay's driver, prints JSON; {bytes}, {pairs} and {pid} are replaced as well; by default the relay's "
        "own program with `drive`",
    )
    parser.add_argument("--reference", default="upstream", metavar="NAME", help="compared with this router")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="raw.jsonl, table.md and plots go here")
    parser.add_argument("--append", action="store_true", help="add rounds to the raw data that is there")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--workloads", default="all", metavar="A,B", help=f"of {names}")
    parser.add_argument("--quick", action="store_true", help="a second each, to try things out")
    parser.add_argument("--goals", type=Path, default=render.GOALS, metavar="FILE")
    options = parser.parse_args()
    if options.relay and not options.relay_drive:
        options.relay_drive = f"{shlex.quote(shlex.split(options.relay)[0])} {DRIVE}"
    if shutil.which(options.load) is None:
        parser.error(f"--load: {options.load} is no program")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def subjects(options: argparse.Namespace, directory: Path) -> list[Subject]:
    """What is measured, not yet running."""
    identity = make_identity(directory)
    found: list[Subject] = []
    for text in options.router:
        name, equals, command = text.partition("=")
        if not (name and equals and command) or "/" in name:
            raise ValueError(f"--router takes NAME=COMMAND, not {text}")
        found.append(Subject(name, command, identity))
    if options.relay:
        found.append(Subject("relay", options.relay, identity, is_relay=True))
    names = [subject.name for subject in found]
    if len(set(names)) != len(names):
        raise ValueError("each router needs a name of its own")
    if options.reference not in names:
        raise ValueError(f"the reference {options.reference} is not among the routers: {', '.join(names)}")
    return found


def takes_part(subject: Subject, workload: Workload) -> bool:
    """A relay knows no streams: it can only be asked for bytes."""
    return not subject.is_relay or workload.relay_pairs > 0


def first_round(path: Path, append: bool) -> int:
    """The number of the first new round. Raw data is hard to get, so none is overwritten."""
    if not path.exists():
        return 1
    if not append:
        raise ValueError(f"{path} is there already: use --append, or another directory")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return max((int(line.get("round", 0)) for line in lines), default=0) + 1


def check_files(workloads: list[Workload]) -> None:
    """Too few files would look like errors of the routers."""
    limit = raise_file_limit()
    for workload in workloads:
        needed = workload.pairs() * workload.sockets + SPARE_FILES
        if needed > limit:
            raise ValueError(f"{workload.name} needs {needed} open files, the limit is {limit}: raise ulimit -n")


def announce(options: argparse.Namespace, workloads: list[Workload], everyone: list[Subject]) -> None:
    runs = [workload for workload in workloads for subject in everyone if takes_part(subject, workload)]
    once = sum(workload.estimate(options.quick) + workload.fresh * START_ESTIMATE for workload in runs)
    total = options.rounds * (once + START_ESTIMATE * len(everyone))
    count = options.rounds * len(runs)
    print(f"{count} measurements, about {total / 60:.1f} min", flush=True)


def brief(record: figures.Record) -> str:
    """One measurement in a line, for whoever watches."""
    head = f"round {record['round']}  {record['workload']:<12} {record['router']:<10}"
    if record.get("failure"):
        return f"{head} FAILED: {record['failure']}"
    values = figures.metrics(record)
    return head + "  ".join(f" {name}={value:.4g}" for name, value in values.items() if value)


def rounds(
    options: argparse.Namespace, workloads: list[Workload], everyone: list[Subject], path: Path, first: int
) -> int:
    """Measures all. Gives how many measurements failed."""
    failed = 0
    with path.open("a", encoding="utf-8") as raw:

        def keep(record: figures.Record) -> None:
            raw.write(json.dumps(record, ensure_ascii=False) + "\n")
            raw.flush()

        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        names = [subject.name for subject in everyone if not subject.is_relay]
        keep({"kind": "run", "time": now, "quick": options.quick, "routers": names, "machine": describe()})
        for number in range(first, first + options.rounds):
            # Whoever comes first meets another machine than whoever comes last: all take turns at it.
            turn = number % len(everyone)
            order = everyone[turn:] + everyone[:turn]
            for subject in everyone:
                subject.stop()
            for workload in workloads:
                for subject in order:
                    if not takes_part(subject, workload):
                        continue
                    driver = options.relay_drive if subject.is_relay else options.load
                    record = measure(subject, workload, driver, options.quick, number)
                    keep(record)
                    failed += bool(record.get("failure"))
                    print(brief(record), flush=True)
                    if workload.fresh:
                        # What it holds for so many pairs is not given back at once, and the machine has other use
                        # for it.
                        subject.stop()
    return failed


def run(options: argparse.Namespace) -> int:
    workloads = select(options.workloads)
    if not workloads:
        raise ValueError("no workload is left")
    check_files(workloads)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "raw.jsonl"
    first = first_round(path, options.append)
    with tempfile.TemporaryDirectory(prefix="compare-") as directory:
        everyone = subjects(options, Path(directory))
        announce(options, workloads, everyone)
        try:
            failed = rounds(options, workloads, everyone, path, first)
        finally:
            for subject in everyone:
                subject.stop()
    render.write(options.out, options.reference, options.goals)
    print(f"{options.out / 'table.md'} is written; {failed} measurements failed")
    return 1 if failed else 0


def main() -> int:
    # So that what was started is also ended then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(arguments())
    except (OSError, ValueError, ProcessError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2  # Not 1: nothing was measured to the end.
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
