//! What operators see is what the documents, the dashboard and the alert rules say.

mod exposition;
mod promql;

use std::collections::{BTreeMap, BTreeSet};

use crate::helpers::{
    Pair,
    process::{Process, usual},
    until_async, web,
};
use exposition::{Exposition, Kind};
use jumpstarter_router::client::{Connector, Trust};
use serde::Deserialize;
use serde_json::Value;

const METRICS: &str = include_str!("../../docs/metrics.md");
const LOGS: &str = include_str!("../../docs/logs.md");
const ADMIN: &str = include_str!("../../docs/admin.md");
const DASHBOARD: &str = include_str!("../../deploy/grafana/dashboard.json");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yaml");

/// A process with all that it can expose.
fn exposed() -> Exposition {
    let mut process = Process::start(usual(&[("listen.metrics_address", "127.0.0.1:0")]));
    let line = process.line("serving");
    let address = line["metrics"].as_str().unwrap().parse().unwrap();
    // The stricter of the two formats; that the other says the same is tested beside it.
    let headers = [
        ("Host", "router"),
        ("Accept", "application/openmetrics-text"),
    ];
    Exposition::parse(&web::raw(address, "GET /metrics", &headers, "").body)
}

/// The cells of each row of the first table after `heading`.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = page
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    rows.skip(2).map(cells).collect()
}

/// What stands in backquotes.
fn quoted(cell: &str) -> BTreeSet<String> {
    let parts = cell.split('`').skip(1).step_by(2);
    parts.map(ToOwned::to_owned).collect()
}

#[test]
fn the_page_of_metrics_lists_what_is_exposed() {
    let exposed = exposed();
    let mut listed = BTreeMap::new();
    for row in table(METRICS, "## All metrics") {
        let [name, kind, unit, labels, meaning, _] = &row[..] else {
            panic!("six cells: {row:?}");
        };
        let name = quoted(name).pop_first().unwrap();
        assert!(meaning.ends_with('.'), "{name}: {meaning:?}");
        if name.contains("_bytes") || name.contains("_seconds") {
            assert!(
                name.contains(&**unit) && !unit.is_empty(),
                "{name}: {unit:?}"
            );
        }
        let entry = (kind.clone(), quoted(labels));
        assert!(listed.insert(name.clone(), entry).is_none(), "{name} twice");
    }
    let mut found = BTreeMap::new();
    for (name, family) in &exposed.families {
        let (kind, suffix) = match family.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Histogram => ("histogram", ""),
        };
        let labels = family.labels.keys().cloned().collect();
        found.insert(format!("{name}{suffix}"), (kind.to_owned(), labels));
    }
    assert_eq!(
        listed, found,
        "left: docs/metrics.md, right: what is exposed"
    );
}

#[test]
fn the_page_of_metrics_explains_each_value_of_each_label() {
    for (name, family) in &exposed().families {
        // What is running, and which keys there are, may be anything.
        if name.ends_with("build_info") || name.contains("token") {
            continue;
        }
        for (label, values) in &family.labels {
            let heading = format!("### {name}_total");
            let mut listed = BTreeSet::new();
            for row in table(METRICS, &heading) {
                assert_eq!(row.len(), 3, "{heading}: {row:?}");
                listed.extend(quoted(&row[0]));
            }
            assert_eq!(&listed, values, "{heading}: {label}; left: docs/metrics.md");
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    hold: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[test]
fn the_alerts_ask_for_what_is_exposed() {
    let exposed = exposed();
    let rules: Rules = serde_saphyr::from_str(ALERTS).unwrap();
    assert_eq!(rules.groups.len(), 1);
    let group = &rules.groups[0];
    assert_eq!(group.name, "jumpstarter-router");
    let mut names = BTreeSet::new();
    for rule in &group.rules {
        let name = &rule.alert;
        assert!(
            names.insert(name) && name.starts_with("JumpstarterRouter"),
            "{name}"
        );
        let labels =
            promql::check(&exposed, &rule.expr).unwrap_or_else(|why| panic!("{name}: {why}"));
        let severity = &*rule.labels["severity"];
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        if let Some(hold) = &rule.hold {
            assert!(humantime::parse_duration(hold).is_ok(), "{name}: {hold}");
        }
        let keys: Vec<_> = rule.annotations.keys().collect();
        assert_eq!(keys, ["description", "summary"], "{name}");
        for text in rule.annotations.values() {
            for part in text.split("$labels.").skip(1) {
                let label = part
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap();
                assert!(
                    labels.contains(label),
                    "{name}: the result has no label {label}: {labels:?}"
                );
            }
        }
    }
    assert!(names.len() >= 10);
}

#[test]
fn the_dashboard_asks_for_what_is_exposed() {
    let exposed = exposed();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables: BTreeSet<_> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "instance"]));
    let mut ids = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let Some(targets) = panel["targets"].as_array() else {
            assert_eq!(panel["type"], "row", "{title}");
            continue;
        };
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in targets {
            let expr = target["expr"].as_str().unwrap();
            let expr = expr
                .replace("$__rate_interval", "5m")
                .replace("$instance", ".+");
            assert!(!expr.contains('$'), "{title}: {expr}");
            let labels =
                promql::check(&exposed, &expr).unwrap_or_else(|why| panic!("{title}: {why}"));
            for part in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
                let label = part.split("}}").next().unwrap();
                assert!(
                    labels.contains(label),
                    "{title}: no label {label}: {labels:?}"
                );
            }
            asked.extend(promql::metrics(&expr));
        }
    }
    // Nothing that is counted is left to be found by accident.
    for name in exposed.families.keys() {
        assert!(
            asked.iter().any(|metric| metric.starts_with(&**name)),
            "{name} is on no panel"
        );
    }
}

/// The checks themselves, against what goes wrong in practice.
#[test]
fn expressions_that_are_wrong_are_found() {
    let exposed = exposed();
    for (expr, why) in [
        ("jumpstarter_router_stream_total", "no such series"),
        ("rate(jumpstarter_router_streams[5m])", "no such series"),
        ("rate(jumpstarter_router_streams_paired[5m])", "no counter"),
        ("jumpstarter_router_streams_total[5m]", "a range"),
        (
            r#"jumpstarter_router_streams_total{reason="idle"}"#,
            "no label",
        ),
        (
            r#"jumpstarter_router_stream_ends_total{reason="idel"}"#,
            "no value",
        ),
        (
            r#"jumpstarter_router_stream_ends_total{reason=~"id|x"}"#,
            "no value",
        ),
        (
            "sum by (cause) (jumpstarter_router_stream_ends_total)",
            "no label",
        ),
        (
            "histogram_quantile(0.5, sum(rate(jumpstarter_router_stream_bytes_bucket[5m])))",
            "le",
        ),
        (
            "histogram_quantile(0.5, jumpstarter_router_stream_bytes)",
            "no such series",
        ),
        ("sum(jumpstarter_router_streams_paired", ""),
    ] {
        let error = promql::check(&exposed, expr).expect_err(expr);
        assert!(error.contains(why), "{expr}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_log_lines_lists_the_fields_of_the_record() {
    // Ended by the router: had the peers gone, a half-close might be seen first, which has no detail.
    let settings = [("streams.idle_timeout", "100ms")];
    let mut process = Process::start(usual(&settings));
    let connector = Connector::new(&process.address(), Trust::Insecure).unwrap();
    let pair = Pair::open(&connector, "two records").await;
    let fields: BTreeSet<_> = process
        .line("stream ended")
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let common = ["ts", "level", "msg", "component"].map(ToOwned::to_owned);
    let own: BTreeSet<_> = fields.difference(&common.into()).cloned().collect();
    let rows = table(LOGS, "## The record of a stream: `stream ended`");
    let mut listed: BTreeSet<_> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    // These peers show none; tests/client_certificates.rs has some that do.
    assert!(listed.remove("certificate"));
    // There are few.
    assert!(listed.remove("left_out"));
    // Nobody has told any.
    for name in ["client", "exporter", "lease"] {
        assert!(listed.remove(name));
    }
    // Both halves are here; tests/it/cluster/sight.rs has a pair at two routers.
    assert!(listed.remove("other_router") && listed.remove("other_router_address"));
    assert_eq!(listed, own, "left: docs/logs.md");
    drop(pair);
}

/// The examples in the page have the fields that are sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_api_shows_what_is_sent() {
    let mut process = Process::start(usual(&[("listen.admin_address", "127.0.0.1:0")]));
    let line = process.line("serving");
    let connector = Connector::new(line["address"].as_str().unwrap(), Trust::Insecure).unwrap();
    let admin = line["admin"].as_str().unwrap().parse().unwrap();
    let pair = Pair::open(&connector, "shown").await;
    let sent = web::aside(move || web::get(admin, "/api/streams").json()).await;
    let id = sent["streams"][0]["id"].clone();
    let path = format!("/api/streams/{id}/end");
    web::aside(move || web::send(admin, "POST", &path, "{}")).await;
    let mut past = Value::Null;
    until_async("the end", async || {
        past = web::aside(move || web::get(admin, "/api/past").json()).await;
        past["total"] == 1
    })
    .await;
    let history = web::aside(move || web::get(admin, "/api/history").json()).await;
    let examples = ADMIN.split("```json\n").skip(1).map(|rest| {
        let (example, _) = rest.split_once("```").unwrap();
        serde_json::from_str::<Value>(example).unwrap()
    });
    let examples: Vec<_> = examples.collect();
    let [example, of_past, of_history] = &examples[..] else {
        panic!("{} examples", examples.len())
    };
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let sent = &sent["streams"][0];
    assert_eq!(keys(example), keys(sent));
    assert_eq!(keys(&example["peers"][1]), keys(&sent["peers"][1]));
    let sent = &past["streams"][0];
    assert_eq!(keys(of_past), keys(sent));
    assert_eq!(keys(&of_past["peers"][0]), keys(&sent["peers"][0]));
    assert_eq!(keys(&of_past["names"]), keys(&example["names"]));
    assert_eq!(keys(of_history), keys(&history));
    assert_eq!(keys(&of_history["series"]), keys(&history["series"]));
    drop(pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_api_lists_every_request() {
    let mut process = Process::start(usual(&[("listen.admin_address", "127.0.0.1:0")]));
    let line = process.line("serving");
    let connector = Connector::new(line["address"].as_str().unwrap(), Trust::Insecure).unwrap();
    let admin = line["admin"].as_str().unwrap().parse().unwrap();
    // The drain, which is one of the requests, waits for it.
    let pair = Pair::open(&connector, "stays").await;
    let shown = table(ADMIN, "### What runs");
    let status = web::aside(move || web::get(admin, "/api/status").json()).await;
    for name in shown.iter().flat_map(|row| quoted(&row[0])) {
        assert!(
            !status[&name].is_null() || name == "cluster" || name == "memory_limit_bytes",
            "{name}"
        );
    }
    let paths = jumpstarter_router::inside::admin::api::paths().filter(|path| *path != "/");
    let documented = table(ADMIN, "## The API")
        .into_iter()
        .flat_map(|row| quoted(&row[0]));
    let documented: BTreeSet<_> = documented
        .filter_map(|request| Some(request.split_once(' ')?.1.to_owned()))
        .collect();
    assert_eq!(documented, paths.map(ToOwned::to_owned).collect());
    for row in table(ADMIN, "## The API") {
        let request = quoted(&row[0]).pop_first().unwrap();
        let target = request.replace("{id}", "4711").replace("{subject}", "s");
        let status = web::aside(move || {
            let (method, path) = target.split_once(' ').unwrap();
            let body = if method == "GET" { "" } else { "{}" };
            web::send(admin, method, path, body).status
        })
        .await;
        let expected = match &*request {
            "GET /api/streams/{id}" | "POST /api/streams/{id}/end" => 404,
            "PUT /api/names/{subject}" => 204,
            "PUT /api/log-filter" => 422,
            "POST /api/drain" => 202,
            _ => 200,
        };
        assert_eq!(status, expected, "{request}");
    }
    drop(pair);
}
