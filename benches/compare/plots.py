"""Which plots there are."""

from __future__ import annotations

from figures import Results
from svg import Axis, Chart, Point, Series
from workloads import IDLE_PAIRS, ROUND_TRIPS_MS, SIZES


def source(results: Results) -> str:
    """Where the figures are from; stands below each plot."""
    run = results.runs[-1] if results.runs else {}
    machine = run.get("machine")
    cores = f", {machine.get('cores')} cores" if isinstance(machine, dict) else ""
    day = str(run.get("time", ""))[:10]
    note = ", with --quick" if any(run.get("quick") for run in results.runs) else ""
    return f"Median, least and most of the rounds. benches/compare on loopback{cores}, {day}{note}"


def _point(results: Results, router: str, workload: str, metric: str, x: float, factor: float = 1.0) -> list[Point]:
    summary = results.summary(router, workload, metric)
    if summary is None:
        return []
    return [Point(x, summary.median * factor, summary.least * factor, summary.most * factor)]


def _series(results: Results, points: dict[str, list[Point]]) -> list[Series]:
    # A router without a point keeps its place, so that it has the same colour in all plots.
    return [Series(router, points.get(router, [])) for router in results.routers]


def _size(size: int) -> str:
    if size >= 1 << 20:
        return f"{size >> 20} MiB"
    return f"{size >> 10} KiB" if size >= 1 << 10 else f"{size} B"


def cost_by_size(results: Results) -> Chart:
    """CPU per byte against message size."""
    points = {
        router: [point for size in SIZES for point in _point(results, router, f"size{size}", "cpu_s_per_gb", size)]
        for router in results.routers
    }
    return Chart(
        "CPU of the router by message size, one pair",
        Axis("Size of a message", log=True, ticks=tuple((float(size), _size(size)) for size in SIZES)),
        Axis("CPU seconds per GB", log=True),
        _series(results, points),
        source(results),
    )


def latency(results: Results, workload: str, title: str) -> Chart:
    """Percentiles of a round trip."""
    quantiles = (("p50_us", "50 %"), ("p90_us", "90 %"), ("p99_us", "99 %"), ("p999_us", "99.9 %"))
    points = {
        router: [
            point for x, (metric, _) in enumerate(quantiles) for point in _point(results, router, workload, metric, x)
        ]
        for router in results.routers
    }
    return Chart(
        title,
        Axis(
            "Share of round trips that were no slower", ticks=tuple((float(x), q) for x, (_, q) in enumerate(quantiles))
        ),
        Axis("Round trip, µs", log=True),
        _series(results, points),
        source(results),
    )


def memory(results: Results) -> Chart:
    """What idle pairs cost."""
    points = {
        router: [
            point
            for pairs in IDLE_PAIRS
            for point in _point(results, router, f"idle{pairs}", "rss_kib_per_pair", pairs, pairs / 1024)
        ]
        for router in results.routers
    }
    return Chart(
        "Memory of the router for idle pairs, two TLS connections each",
        Axis("Idle pairs", ticks=((0.0, "0"), *((float(pairs), str(pairs)) for pairs in IDLE_PAIRS))),
        Axis("Growth of resident memory, MiB"),
        _series(results, points),
        source(results),
    )


def throughput(results: Results) -> Chart:
    """One stream over a distance."""
    places = [(0, "bulk1"), *((milliseconds, f"delay{milliseconds}") for milliseconds in ROUND_TRIPS_MS)]
    points = {
        router: [point for x, workload in places for point in _point(results, router, workload, "mb_per_second", x)]
        for router in results.routers
    }
    return Chart(
        "Throughput of one stream by distance, 64 KiB messages",
        Axis("Round trip between each peer and the router, ms", ticks=tuple((float(x), str(x)) for x, _ in places)),
        Axis("MB/s"),
        _series(results, points),
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
    return {name: chart for name, chart in every.items() if any(series.points for series in chart.series)}
