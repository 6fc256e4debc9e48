"""What is measured: one entry for each run of the load generator."""

from __future__ import annotations

from dataclasses import dataclass

# Sizes of the sweep, bytes.
SIZES = [64 << (2 * step) for step in range(8)]

# Numbers of idle pairs.
IDLE_PAIRS = [50, 200, 1000]

# Round trips between a peer and the router, milliseconds. The generator is told half of it, one way.
ROUND_TRIPS_MS = [10, 50, 150]


@dataclass(frozen=True)
class Workload:
    """One run of the generator against one router."""

    name: str
    title: str
    # Options of `load`, without what is the same for all.
    options: tuple[str, ...]
    # Seconds to measure, and before that.
    seconds: float = 8.0
    warmup: float = 1.0
    # What setting up and ending take besides, for the estimate of the total.
    overhead: float = 0.7
    # Memory is only comparable in a process that has done nothing before.
    fresh: bool = False
    # Pairs of the relay's driver; 0 if a relay has no part in this workload.
    relay_pairs: int = 0
    # Whether --quick may shorten it to a second.
    shorten: bool = True
    # Whether the processors are kept from halting meanwhile; see awake.py.
    awake: bool = False
    # Sockets of each pair on the side that has more of them.
    sockets: int = 2

    def timing(self, quick: bool) -> tuple[float, float]:
        """Seconds to measure and of warm-up."""
        if not quick:
            return self.seconds, self.warmup
        return (1.0, min(self.warmup, 0.5)) if self.shorten else (self.seconds, self.warmup)

    def pairs(self) -> int:
        """How many pairs there are at the same time."""
        count = 1
        for option, value in zip(self.options, self.options[1:]):
            if option == "--pairs":
                count = int(value)
        for option, value in zip(self.options, self.options[1:]):
            if option in ("--bulk-pairs", "--stalled-pairs"):
                count += int(value)
        return count

    def estimate(self, quick: bool) -> float:
        """Seconds that one run takes."""
        return sum(self.timing(quick)) + self.overhead


def _workloads() -> list[Workload]:
    def entry(name: str, title: str, options: str, **more: object) -> Workload:
        return Workload(name, title, tuple(options.split()), **more)  # type: ignore[arg-type]

    entries = [
        entry("bulk1", "64 KiB messages, 1 pair", "--workload bulk --pairs 1 --size 64KiB", relay_pairs=1),
        entry("bulk32", "64 KiB messages, 32 pairs", "--workload bulk --pairs 32 --size 64KiB", relay_pairs=32),
        entry("mix", "Messages as stock peers send them, 4 pairs", "--workload mix --pairs 4"),
        entry("flood1000", "1000 B flood, 1 pair", "--workload flood --pairs 1 --size 1000"),
        entry("flood64", "64 B flood, 1 pair", "--workload flood --pairs 1 --size 64"),
        entry("pingpong", "64 B ping-pong, 1 pair", "--workload pingpong --pairs 1 --size 64"),
        entry(
            "pingpong-awake",
            "64 B ping-pong, 1 pair, processors kept from halting",
            "--workload pingpong --pairs 1 --size 64",
            awake=True,
        ),
    ]
    for pairs in IDLE_PAIRS:
        entries.append(
            entry(
                f"idle{pairs}",
                f"{pairs} idle pairs, two TLS connections each",
                f"--workload idle --pairs {pairs}",
                seconds=2.0,
                overhead=1.0 + pairs / 150,
                fresh=True,
                shorten=False,
            )
        )
    for name, each, text in (("stall32k", "32KiB", "32 KiB"), ("stall20", "20", "20 B")):
        entries.append(
            entry(
                name,
                f"200 pairs stalled after a flood of {text} messages",
                f"--workload stall --pairs 200 --size {each}",
                seconds=2.0,
                overhead=5.0,
                fresh=True,
                shorten=False,
            )
        )
    entries += [
        entry("churn-tls", "New pairs on two new TLS connections each", "--workload churn --pairs 8"),
        entry("churn-open", "New pairs on open connections", "--workload churn --pairs 8 --connections shared"),
    ]
    for milliseconds in ROUND_TRIPS_MS:
        entries.append(
            entry(
                f"delay{milliseconds}",
                f"One stream, {milliseconds} ms from each peer to the router and back",
                f"--workload bulk --pairs 1 --size 64KiB --delay {milliseconds * 500}us",
                # Windows need some round trips to grow; the steady state is what is compared.
                warmup=5.0,
                overhead=1.5,
                sockets=6,
            )
        )
    entries += [
        entry(
            "pairs1000",
            "64 KiB messages, 1000 pairs",
            "--workload bulk --pairs 1000 --size 64KiB",
            seconds=10.0,
            warmup=3.0,
            overhead=8.0,
        ),
        entry(
            "mixed",
            "64 B ping-pong beside 8 bulk pairs",
            "--workload mixed --pairs 1 --size 64 --bulk-pairs 8 --stalled-pairs 0",
            # Beside bulk there are few round trips, and a percentile needs many.
            seconds=20.0,
        ),
    ]
    for size in SIZES:
        entries.append(
            entry(
                f"size{size}",
                f"{size} B messages, 1 pair",
                f"--workload bulk --pairs 1 --size {size}",
                seconds=4.0,
                warmup=0.5,
            )
        )
    return entries


WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in _workloads()}

# Names for several at once.
GROUPS: dict[str, list[str]] = {
    "all": list(WORKLOADS),
    "sizes": [f"size{size}" for size in SIZES],
    "idle": [f"idle{pairs}" for pairs in IDLE_PAIRS],
    "stall": ["stall32k", "stall20"],
    "churn": ["churn-tls", "churn-open"],
    "delay": [f"delay{milliseconds}" for milliseconds in ROUND_TRIPS_MS],
}


def select(names: str) -> list[Workload]:
    """The workloads of a list with commas, in the order of the table above."""
    wanted: set[str] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name not in GROUPS and name not in WORKLOADS:
            known = ", ".join([*GROUPS, *WORKLOADS])
            raise ValueError(f"there is no workload {name}; there are {known}")
        wanted.update(GROUPS.get(name, [name]))
    return [workload for name, workload in WORKLOADS.items() if name in wanted]
