"""Checks of statistics, table and plots. All figures here are made up."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import compare
import figures
import render
import table
from plots import Axis, Chart, Point, charts
from processes import Subject, fill, free_port, listens, make_identity
from workloads import GROUPS, WORKLOADS, select


def made_up(router: str, workload: str, number: int, value: float, **more: object) -> figures.Record:
    """A record as if it had been measured."""
    report = {
        "messages_per_second": 1000 * value,
        "mb_per_second": 10 * value,
        "units_per_second": value,
        "router": {"cpu_seconds_per_gb": value, "cpu_us_per_message": value, "cpu_us_per_unit": value},
        "latency": {"count": 5000, "p50_us": value, "p90_us": 2 * value, "p99_us": 3 * value, "p999_us": 4 * value},
        "extra": {"router_rss_kib_per_pair": value},
        "warnings": [],
    }
    return {
        "kind": "measurement",
        "router": router,
        "relay": False,
        "workload": workload,
        "round": number,
        "report": report,
        **more,
    }


def made_up_results() -> list[figures.Record]:
    """Three rounds of everything, of two routers and a relay."""
    machine = {"cpu": "a <made-up> CPU & more", "cores": 2, "cpu_flags": ["aes"], "memory": "1 kB"}
    run: figures.Record = {
        "kind": "run",
        "time": "2001-01-01T00:00:00+00:00",
        "routers": ["upstream", "ours"],
        "machine": machine,
    }
    records: list[figures.Record] = [run]
    for number in (1, 2, 3):
        for workload in WORKLOADS:
            records.append(made_up("upstream", workload, number, 100.0 * number))
            records.append(made_up("ours", workload, number, 10.0 * number))
        relay = {"cpu_per_gb": 9.5 * number, "mb_per_second": 1.0}
        records.append({**made_up("relay", "bulk1", number, 0), "relay": True, "report": relay})
    return records


def gather(records: list[figures.Record]) -> figures.Results:
    results = figures.Results()
    for record in records:
        results.add(record)
    return results


class Statistics(unittest.TestCase):
    def test_ratio_is_of_medians_and_spread_of_rounds(self) -> None:
        found = figures.ratio({1: 1.0, 2: 4.0, 3: 3.0}, {1: 2.0, 2: 4.0, 3: 12.0, 4: 4.0})
        assert found is not None
        self.assertEqual((found.median, found.least, found.most, found.count), (0.75, 0.25, 1.0, 3))

    def test_ratio_without_common_rounds_or_with_zero(self) -> None:
        self.assertIsNone(figures.ratio({}, {1: 1.0}))
        self.assertIsNone(figures.ratio({1: 1.0}, {1: 0.0}))
        found = figures.ratio({1: 1.0}, {2: 2.0})
        assert found is not None
        self.assertEqual((found.median, found.least, found.most), (0.5, 0.5, 0.5))

    def test_failures_are_no_figures(self) -> None:
        results = gather([made_up("ours", "bulk1", 1, 1.0), made_up("ours", "bulk1", 2, 9.0, failure="it broke")])
        summary = results.summary("ours", "bulk1", "cpu_s_per_gb")
        assert summary is not None
        self.assertEqual((summary.median, summary.count), (1.0, 1))
        self.assertEqual(len(results.failures), 1)

    def test_a_workload_in_relation_to_another(self) -> None:
        results = gather([made_up("ours", "pairs1000", 1, 3.0), made_up("ours", "bulk32", 1, 2.0)])
        self.assertEqual(results.values("ours", "pairs1000", "cpu_s_per_gb", "bulk32"), {1: 1.5})

    def test_percentiles_need_samples(self) -> None:
        record = made_up("ours", "mixed", 1, 1.0)
        report = record["report"]
        assert isinstance(report, dict)
        report["latency"]["count"] = 400
        found = figures.metrics(record)
        self.assertIn("p99_us", found)
        self.assertNotIn("p999_us", found)

    def test_a_relay_has_its_own_fields(self) -> None:
        for report in ({"cpu_per_gb": 2}, {"router": {"cpu_seconds_per_gb": 2.0}}):
            self.assertEqual(figures.metrics({"relay": True, "report": report}), {"cpu_s_per_gb": 2.0})


class Table(unittest.TestCase):
    row = table.Row("work", "bulk1", "cpu_s_per_gb", "s", ratio_at_most=0.5)

    def test_digits(self) -> None:
        values = [0, 0.0123, 0.9999, 1, 12.34, 999.6, 12345, 123456, 1234567]
        words = ["0", "0.012", "1.00", "1.00", "12.3", "1000", "12.3 k", "123 k", "1.23 M"]
        self.assertEqual([table.digits(value) for value in values], words)

    def test_goals(self) -> None:
        def summary(median: float, least: float, most: float) -> figures.Summary:
            return figures.Summary(median, least, most, 3)

        self.assertEqual(table.met(self.row, summary(0.4, 0.3, 0.5), None), "yes")
        self.assertEqual(table.met(self.row, summary(0.4, 0.3, 0.6), None), "yes, not in every round")
        self.assertEqual(table.met(self.row, summary(0.6, 0.3, 0.7), None), "**no**")
        self.assertEqual(table.met(self.row, None, None), "unknown")
        both = table.Row("work", "idle200", "rss_kib_per_pair", "KiB", ratio_at_most=0.5, value_at_most=45)
        self.assertEqual(table.met(both, summary(0.4, 0.4, 0.4), summary(46, 44, 47)), "**no**")
        least = table.Row("work", "flood64", "messages_per_second", "1/s", ratio_at_least=3.5)
        self.assertEqual(table.met(least, summary(3.6, 3.5, 4), None), "yes")

    def test_goals_file_names_what_exists(self) -> None:
        rows = table.read_rows(render.GOALS)
        self.assertTrue(rows)
        for row in rows:
            self.assertIn(row.workload, WORKLOADS)
            self.assertIn(row.metric, figures.LOAD_FIELDS)
            self.assertTrue(row.divided_by in ("", *WORKLOADS))

    def test_page(self) -> None:
        records = made_up_results()
        failed = made_up("ours", "mix", 4, 1.0, failure="it broke")
        page = table.render(gather([*records, failed]), table.read_rows(render.GOALS), "upstream")
        wanted = (
            "| 64 KiB messages, 1 pair | CPU s/GB | 20.0 (10.0 to 30.0) | 200 (100 to 300) | 0.100 | 0.100 to 0.100 |"
        )
        self.assertIn(wanted + " at most 0.40 | yes |", page)
        self.assertIn("## ours and relay", page)
        self.assertIn("- ours, mix, 1 times: it broke", page)
        for line in page.splitlines():
            if line.startswith("|"):
                self.assertEqual(line.count("|"), 9, line)

    def test_a_busy_generator_is_told(self) -> None:
        busy = made_up("ours", "flood64", 1, 1.0)
        report = busy["report"]
        assert isinstance(report, dict)
        report["warnings"] = ["the generator used 1.90 of 2 cores: it was the bottleneck"]
        page = table.render(
            gather([busy, made_up("upstream", "flood64", 1, 1.0)]), table.read_rows(render.GOALS), "upstream"
        )
        self.assertIn("messages/s \\*", page)
        self.assertNotIn("CPU µs/message \\*", page)


def drawn(chart: Chart) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "chart.svg"
        chart.draw(path)
        return path.read_text(encoding="utf-8")


def parsed(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(drawn(chart))


class Plots(unittest.TestCase):
    def test_all_are_well_formed_and_labelled(self) -> None:
        all_charts = charts(gather(made_up_results()))
        self.assertEqual(len(all_charts), 5)
        for name, chart in all_charts.items():
            texts = [element.text for element in parsed(chart).iter("{http://www.w3.org/2000/svg}text")]
            for wanted in (chart.title, chart.x.label, chart.y.label, chart.source, "ours", "upstream"):
                self.assertIn(wanted, texts, name)

    def test_least_may_be_nothing_and_a_router_without_points(self) -> None:
        points = [Point(1, 0.0, 0.0, 0.0), Point(2, 7e6, 1.0, 8e6)]
        for log in (False, True):
            parsed(Chart("<&>", Axis("x", log), Axis("y", log), {"a": points, "b": []}, "s"))

    def test_one_value_is_enough(self) -> None:
        for value in (0.5, 1.0, 1000.0):
            points = [Point(value, value, value, value)]
            parsed(Chart("t", Axis("x", True), Axis("y", True), {"a": points}, "s"))

    def test_the_same_data_make_the_same_file(self) -> None:
        chart = charts(gather(made_up_results()))["memory-idle.svg"]
        self.assertEqual(drawn(chart), drawn(chart))

    def test_without_matplotlib_there_is_the_table(self) -> None:
        with tempfile.TemporaryDirectory() as name, mock.patch.object(render, "plots", None):
            directory = Path(name)
            (directory / "raw.jsonl").write_text("".join(json.dumps(record) + "\n" for record in made_up_results()))
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                render.write(directory, "upstream", render.GOALS)
            self.assertIn("matplotlib", said.getvalue())
            self.assertEqual({path.name for path in directory.iterdir()}, {"raw.jsonl", "table.md"})


class Running(unittest.TestCase):
    def test_selection(self) -> None:
        self.assertEqual([w.name for w in select("idle, bulk1")], ["bulk1", *GROUPS["idle"]])
        self.assertEqual(len(select("all")), len(WORKLOADS))
        with self.assertRaises(ValueError):
            select("nonsense")
        self.assertEqual(WORKLOADS["mixed"].pairs(), 9)

    def test_commands_are_filled_word_by_word(self) -> None:
        words = fill("run 'a b' --listen 127.0.0.1:{port} {other}", {"port": 7})
        self.assertEqual(words, ["run", "a b", "--listen", "127.0.0.1:7", "{other}"])

    def test_identity_and_a_process_that_ends_at_once(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            identity = make_identity(Path(directory))
            self.assertTrue(identity.certificate.read_text().startswith("-----BEGIN CERTIFICATE"))
            with self.assertRaisesRegex(Exception, "ended at once"):
                Subject("made up", "false", identity).start()
            self.assertFalse(listens(free_port()))

    def test_raw_data_is_never_overwritten_and_can_be_rendered(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            raw = directory / "raw.jsonl"
            self.assertEqual(compare.first_round(raw, append=False), 1)
            raw.write_text("".join(json.dumps(record) + "\n" for record in made_up_results()))
            with self.assertRaises(ValueError):
                compare.first_round(raw, append=False)
            self.assertEqual(compare.first_round(raw, append=True), 4)
            render.write(directory, "upstream", render.GOALS)
            self.assertTrue((directory / "table.md").exists())
            self.assertEqual(len(list(directory.glob("*.svg"))), 5)


if __name__ == "__main__":
    unittest.main()
