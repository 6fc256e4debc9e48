#!/usr/bin/env python3
"""Makes the table and the plots anew from raw data, without measuring."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import figures
import table

try:
    import plots
except ImportError:
    plots = None

GOALS = Path(__file__).with_name("goals.toml")


def write(directory: Path, reference: str, goals: Path) -> None:
    """Reads raw.jsonl of a directory and writes table.md and the plots beside it."""
    results = figures.read(directory / "raw.jsonl")
    page = table.render(results, table.read_rows(goals), reference)
    (directory / "table.md").write_text(page, encoding="utf-8")
    if plots is None:
        print("no plots: matplotlib is not installed (pip install matplotlib)", file=sys.stderr)
        return
    for name, chart in plots.charts(results).items():
        chart.draw(directory / name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where raw.jsonl is, and table and plots go")
    parser.add_argument("--reference", default="upstream", help="the router that others are compared with")
    parser.add_argument("--goals", type=Path, default=GOALS, help="rows of the table and goals")
    options = parser.parse_args()
    try:
        write(options.directory, options.reference, options.goals)
    except (OSError, ValueError) as error:
        print(f"render: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
