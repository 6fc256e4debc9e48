"""The table: medians, spreads, ratios, and whether goals are met."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from figures import RATES, Results, Summary, ratio
from machine import sentence


@dataclass(frozen=True)
class Row:
    """One line of the table, as goals.toml has it."""

    title: str
    workload: str
    metric: str
    unit: str
    divided_by: str = ""
    against: str = ""
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None
    value_at_most: float | None = None


def read_rows(path: Path) -> list[Row]:
    """The rows of goals.toml. A misspelt key would silently be no goal, so it is an error."""
    with path.open("rb") as file:
        tables = tomllib.load(file).get("row", [])
    known = {field.name for field in fields(Row)}
    for number, table in enumerate(tables, 1):
        if unknown := set(table) - known:
            raise ValueError(f"{path.name}, row {number}: unknown {', '.join(sorted(unknown))}")
    return [Row(**table) for table in tables]


def digits(value: float) -> str:
    """Three significant digits, no exponent."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.2f} M"
    if size >= 1e4:
        return f"{value / 1e3:.1f} k" if size < 1e5 else f"{value / 1e3:.0f} k"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.9995 else f"{value:.3f}"


def figure(summary: Summary | None) -> str:
    """Median and spread in one cell."""
    if summary is None:
        return "not measured"
    if summary.count == 1:
        return digits(summary.median)
    return f"{digits(summary.median)} ({digits(summary.least)} to {digits(summary.most)})"


def goal(row: Row) -> str:
    """The goal in words."""
    parts = []
    if row.ratio_at_most is not None:
        parts.append(f"at most {row.ratio_at_most:.2f}")
    if row.ratio_at_least is not None:
        parts.append(f"at least {row.ratio_at_least:.2f}")
    if row.value_at_most is not None:
        parts.append(f"at most {row.value_at_most:g} {row.unit}")
    return " and ".join(parts)


def met(row: Row, relation: Summary | None, own: Summary | None) -> str:
    """Whether the medians meet the goal, and whether each round does."""
    checks: list[tuple[bool, bool]] = []
    for summary, most, least in (
        (relation, row.ratio_at_most, row.ratio_at_least),
        (own, row.value_at_most, None),
    ):
        if most is None and least is None:
            continue
        if summary is None:
            return "unknown"
        if most is not None:
            checks.append((summary.median <= most, summary.most <= most))
        if least is not None:
            checks.append((summary.median >= least, summary.least >= least))
    if not checks:
        return ""
    if not all(middle for middle, _ in checks):
        return "**no**"
    return "yes" if all(always for _, always in checks) else "yes, not in every round"


def _table(results: Results, rows: list[Row], subject: str, reference: str) -> list[str]:
    lines = [
        f"| work | unit | {subject} | {reference} | ratio | rounds | goal | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        of = (row.workload, row.metric, row.divided_by)
        own, other = results.summary(subject, *of), results.summary(reference, *of)
        if own is None and other is None:
            continue
        relation = ratio(results.values(subject, *of), results.values(reference, *of))
        quotient = digits(relation.median) if relation else ""
        spread = f"{digits(relation.least)} to {digits(relation.most)}" if relation and relation.count > 1 else ""
        unit = row.unit
        if row.metric in RATES and (
            results.generator_bound(subject, row.workload) or results.generator_bound(reference, row.workload)
        ):
            unit += " \\*"
        cells = [row.title, unit, figure(own), figure(other), quotient, spread, goal(row), met(row, relation, own)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines if len(lines) > 2 else []


def _failures(results: Results) -> list[str]:
    counts: dict[tuple[str, str, str], int] = {}
    for record in results.failures:
        key = (str(record["router"]), str(record["workload"]), str(record["failure"]))
        counts[key] = counts.get(key, 0) + 1
    if not counts:
        return ["No measurement failed."]
    lines = ["Measurements that failed are not in the figures:", ""]
    for (router, workload, text), count in counts.items():
        lines.append(f"- {router}, {workload}, {count} times: {text}")
    return lines


def render(results: Results, rows: list[Row], reference: str) -> str:
    """The whole page."""
    lines = ["# Results", ""]
    if results.runs:
        last = results.runs[-1]
        machine = last.get("machine")
        if isinstance(machine, dict):
            lines += [f"Machine: {sentence(machine)}.", ""]
        times = [str(run.get("time")) for run in results.runs]
        lines += [f"Begun: {', '.join(times)}.", ""]
        if any(run.get("quick") for run in results.runs):
            lines += ["**Measured with --quick: runs too short for conclusions.**", ""]
    lines += [
        "Median of the rounds, with the least and the most in parentheses. *ratio* is that of the medians, *rounds* "
        "the least and the most of the ratios of single rounds. CPU is that of the router's process, user and system.",
        "",
    ]
    bound = False
    others = list(dict.fromkeys(row.against for row in rows if row.against))
    for subject in results.routers:
        if subject == reference:
            continue
        for other in ["", *others]:
            part = [row for row in rows if row.against == other]
            table = _table(results, part, subject, other or reference)
            # Without a relay, say, there is nothing to compare with.
            if table and any(results.measured(other or reference, row.workload) for row in part):
                lines += [f"## {subject} and {other or reference}", "", *table, ""]
                bound = bound or any("\\*" in line for line in table)
    if bound:
        lines += [
            "\\* The generator was the bottleneck in at least one round, of at least one of the two: the rate is a "
            "lower bound for that router.",
            "",
        ]
    return "\n".join(lines + _failures(results)) + "\n"
