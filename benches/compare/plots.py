"""Which plots there are, and how they look. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from figures import Results
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from workloads import IDLE_PAIRS, ROUND_TRIPS_MS, SIZES

# Told apart by colour, by the shape of the points and by the dashes of the line.
STYLES = [("#2a6fd6", "o", "-"), ("#c2500c", "s", "--"), ("#0d7d5a", "D", ":"), ("#8a3fc4", "^", "-.")]

# Texts as text, and the same file from the same data.
FILE = {"svg.fonttype": "none", "svg.hashsalt": "benches/compare", "font.size": 9}


@dataclass(frozen=True)
class Point:
    """A median with its spread."""

    x: float
    y: float
    least: float
    most: float


@dataclass(frozen=True)
class Axis:
    """What an axis shows."""

    label: str
    log: bool = False
    # Where there are marks, with their texts; chosen by the values if empty.
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass
class Chart:
    """A chart before it is drawn."""

    title: str
    x: Axis
    y: Axis
    # By router. One without points keeps its place, so that each has the same colour in all plots.
    series: dict[str, list[Point]]
    source: str

    def draw(self, path: Path) -> None:
        """Writes the SVG file."""
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for (name, points), (colour, mark, dashes) in zip(self.series.items(), cycle(STYLES)):
            spread = [[point.y - point.least for point in points], [point.most - point.y for point in points]]
            across, up = [point.x for point in points], [point.y for point in points]
            axes.errorbar(across, up, spread, label=name, color=colour, marker=mark, linestyle=dashes, capsize=2)
        axes.set(title=self.title, xlabel=self.x.label, ylabel=self.y.label)
        axes.set_xscale("log" if self.x.log else "linear")
        if self.x.ticks:
            axes.set_xticks([value for value, _ in self.x.ticks], [text for _, text in self.x.ticks])
        if self.y.log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.minorticks_off()
        axes.grid(axis="y", alpha=0.4)
        axes.legend()
        figure.supxlabel(self.source, x=0.01, ha="left", fontsize=7, color="#57606a")
        with rc_context(FILE):
            figure.savefig(path, format="svg", metadata={"Date": None})


def source(results: Results) -> str:
    """Where the figures are from; stands below each plot."""
    run = results.runs[-1] if results.runs else {}
    machine = run.get("machine")
    cores = f", {machine.get('cores')} cores" if isinstance(machine, dict) else ""
    day = str(run.get("time", ""))[:10]
    note = ", with --quick" if any(run.get("quick") for run in results.runs) else ""
    return f"Median, least and most of the rounds. benches/compare on loopback{cores}, {day}{note}"


def _series(results: Results, metrics: Iterable[tuple[float, str, str, float]]) -> dict[str, list[Point]]:
    """Each router's points. Of a point: where it is across, workload, metric, and what the metric is multiplied by."""
    series: dict[str, list[Point]] = {router: [] for router in results.routers}
    for x, workload, metric, factor in metrics:
        for router, points in series.items():
            if summary := results.summary(router, workload, metric):
                points.append(Point(x, *(factor * value for value in (summary.median, summary.least, summary.most))))
    return series


def _size(size: int) -> str:
    if size >= 1 << 20:
        return f"{size >> 20} MiB"
    return f"{size >> 10} KiB" if size >= 1 << 10 else f"{size} B"


def cost_by_size(results: Results) -> Chart:
    """CPU per byte against message size."""
    return Chart(
        "CPU of the router by message size, one pair",
        Axis("Size of a message", log=True, ticks=tuple((float(size), _size(size)) for size in SIZES)),
        Axis("CPU seconds per GB", log=True),
        _series(results, ((size, f"size{size}", "cpu_s_per_gb", 1) for size in SIZES)),
        source(results),
    )


def latency(results: Results, workload: str, title: str) -> Chart:
    """Percentiles of a round trip."""
    quantiles = (("p50_us", "50 %"), ("p90_us", "90 %"), ("p99_us", "99 %"), ("p999_us", "99.9 %"))
    return Chart(
        title,
        Axis(
            "Share of round trips that were no slower", ticks=tuple((float(x), q) for x, (_, q) in enumerate(quantiles))
        ),
        Axis("Round trip, µs", log=True),
        _series(results, ((x, workload, metric, 1) for x, (metric, _) in enumerate(quantiles))),
        source(results),
    )


def memory(results: Results) -> Chart:
    """What idle pairs cost."""
    return Chart(
        "Memory of the router for idle pairs, two TLS connections each",
        Axis("Idle pairs", ticks=((0.0, "0"), *((float(pairs), str(pairs)) for pairs in IDLE_PAIRS))),
        Axis("Growth of resident memory, MiB"),
        _series(results, ((pairs, f"idle{pairs}", "rss_kib_per_pair", pairs / 1024) for pairs in IDLE_PAIRS)),
        source(results),
    )


def throughput(results: Results) -> Chart:
    """One stream over a distance."""
    places = [(0, "bulk1"), *((milliseconds, f"delay{milliseconds}") for milliseconds in ROUND_TRIPS_MS)]
    return Chart(
        "Throughput of one stream by distance, 64 KiB messages",
        Axis("Round trip between each peer and the router, ms", ticks=tuple((float(x), str(x)) for x, _ in places)),
        Axis("MB/s"),
        _series(results, ((x, workload, "mb_per_second", 1) for x, workload in places)),
        source(results),
    )


def charts(results: Results) -> dict[str, Chart]:
    """All plots for which there is something to show, by file name."""
    every = {
        "cost-by-size.svg": cost_by_size(results),
        "latency-pingpong.svg": latency(results, "pingpong", "Round trip of 64 B, one pair alone"),
        "latency-mixed.svg": latency(results, "mixed", "Round trip of 64 B beside 8 bulk pairs"),
        "memory-idle.svg": memory(results),
        "throughput-by-distance.svg": throughput(results),
    }
    return {name: chart for name, chart in every.items() if any(chart.series.values())}
