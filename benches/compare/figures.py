"""From raw records to figures: which field is which metric, medians, ratios."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

Record = dict[str, object]

# Where each metric stands in a report of `load`.
LOAD_FIELDS: dict[str, tuple[str, ...]] = {
    "cpu_s_per_gb": ("router", "cpu_seconds_per_gb"),
    "cpu_us_per_message": ("router", "cpu_us_per_message"),
    "cpu_us_per_unit": ("router", "cpu_us_per_unit"),
    "messages_per_second": ("messages_per_second",),
    "mb_per_second": ("mb_per_second",),
    "units_per_second": ("units_per_second",),
    "p50_us": ("latency", "p50_us"),
    "p90_us": ("latency", "p90_us"),
    "p99_us": ("latency", "p99_us"),
    "p999_us": ("latency", "p999_us"),
    "rss_kib_per_pair": ("extra", "router_rss_kib_per_pair"),
    "bytes_held_per_pair": ("extra", "bytes_held_per_pair"),
}

# Where each metric stands in what the relay's driver prints; the first field that is there counts.
RELAY_FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "cpu_s_per_gb": (("cpu_per_gb",), ("cpu_seconds_per_gb",), ("cpu_s_per_gb",), ("router", "cpu_seconds_per_gb")),
    "mb_per_second": (("mb_per_second",),),
}

# So many samples a percentile needs, or it is the luck of a few.
SAMPLES = {"p99_us": 300, "p999_us": 3000}

# The generator shares the machine with the router, so these may be its own limits.
RATES = {"messages_per_second", "mb_per_second", "units_per_second"}


@dataclass(frozen=True)
class Summary:
    """Median and spread of some values."""

    median: float
    least: float
    most: float
    count: int

    @staticmethod
    def of(values: list[float]) -> Summary | None:
        if not values:
            return None
        return Summary(statistics.median(values), min(values), max(values), len(values))


@dataclass
class Results:
    """All measurements of a comparison."""

    runs: list[Record] = field(default_factory=list)
    # In the order of the command line, relays left out.
    routers: list[str] = field(default_factory=list)
    failures: list[Record] = field(default_factory=list)
    _values: dict[tuple[str, str, str], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    _attempts: set[tuple[str, str]] = field(default_factory=set)
    _bound: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, record: Record) -> None:
        """Takes in a line of the raw data."""
        if record.get("kind") == "run":
            self.runs.append(record)
            names = record.get("routers")
            for name in names if isinstance(names, list) else []:
                self._know(str(name))
            return
        router, workload = str(record["router"]), str(record["workload"])
        if not record.get("relay"):
            self._know(router)
        self._attempts.add((router, workload))
        if record.get("failure"):
            self.failures.append(record)
            return
        for metric, value in metrics(record).items():
            self._values[router, workload, metric][int(str(record["round"]))] = value
        report = record.get("report")
        warnings = report.get("warnings") if isinstance(report, dict) else None
        if any("bottleneck" in str(warning) for warning in warnings or []):
            self._bound[router, workload] += 1

    def _know(self, router: str) -> None:
        if router not in self.routers:
            self.routers.append(router)

    def values(self, router: str, workload: str, metric: str, divided_by: str = "") -> dict[int, float]:
        """A metric by round; `divided_by` is a workload whose value of the same round it is put in relation to."""
        values = self._values.get((router, workload, metric), {})
        if not divided_by:
            return values
        return quotients(values, self._values.get((router, divided_by, metric), {}))

    def summary(self, router: str, workload: str, metric: str, divided_by: str = "") -> Summary | None:
        """Median and spread of a metric over the rounds."""
        return Summary.of(list(self.values(router, workload, metric, divided_by).values()))

    def measured(self, router: str, workload: str) -> bool:
        """Whether there was an attempt, be it a failure."""
        return (router, workload) in self._attempts

    def generator_bound(self, router: str, workload: str) -> int:
        """In how many rounds the generator was what limited the rates."""
        return self._bound.get((router, workload), 0)


def quotients(above: dict[int, float], below: dict[int, float]) -> dict[int, float]:
    """Ratios of values of the same round."""
    return {number: value / below[number] for number, value in above.items() if below.get(number, 0) > 0}


def ratio(subject: dict[int, float], reference: dict[int, float]) -> Summary | None:
    """The ratio of the medians, with the least and the most of the rounds' own ratios."""
    if not subject or not reference:
        return None
    below = statistics.median(reference.values())
    if below <= 0:
        return None
    middle = statistics.median(subject.values()) / below
    each = list(quotients(subject, reference).values()) or [middle]
    return Summary(middle, min(each), max(each), len(each))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _at(report: object, path: tuple[str, ...]) -> float | None:
    for name in path:
        if not isinstance(report, dict):
            return None
        report = report.get(name)
    return _number(report)


def metrics(record: Record) -> dict[str, float]:
    """What one measurement says."""
    report = record.get("report")
    if record.get("relay"):
        paths = RELAY_FIELDS
    else:
        paths = {name: (path,) for name, path in LOAD_FIELDS.items()}
    found: dict[str, float] = {}
    samples = _at(report, ("latency", "count")) or 0
    for name, places in paths.items():
        value = next((value for value in (_at(report, place) for place in places) if value is not None), None)
        if value is not None and samples >= SAMPLES.get(name, 0):
            found[name] = value
    return found


def read(path: Path) -> Results:
    """The results in a file of raw data."""
    results = Results()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                results.add(json.loads(line))
            except (ValueError, KeyError) as error:
                raise ValueError(f"{path.name}, line {number}: {error!r}") from error
    return results
