//! Alerts and panels lead to pages that say what to do, and what happened is marked in all panels.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

use super::{ALERTS, DASHBOARD, Rules, exposed, promql};

const PAGE: &str = include_str!("../../../docs/alerts.md");

fn rules() -> Rules {
    serde_saphyr::from_str(ALERTS).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Where pages are read by those who have only an alert or a panel before them.
fn pages() -> String {
    concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/").to_owned()
}

/// The parts of a page by what a link calls them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || ['-', '_', ' '].contains(c);
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// Fails unless the address is one of a page in `docs/`, and of a part of it that there is.
fn leads_somewhere(url: &str, from: &str) {
    let rest = url.strip_prefix(&pages());
    let rest = rest.unwrap_or_else(|| panic!("{from}: {url}"));
    let (file, part) = rest.split_once('#').unwrap_or((rest, ""));
    let path = format!("{}/docs/{file}", env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(path).unwrap_or_else(|why| panic!("{from}: {url}: {why}"));
    assert!(
        part.is_empty() || anchors(&page).contains(part),
        "{from}: {url}"
    );
}

#[test]
fn each_alert_leads_to_what_can_be_done() {
    let mut explained = BTreeMap::new();
    for part in PAGE.split("\n### ").skip(1) {
        let (name, text) = part.split_once('\n').unwrap();
        let text = text.split("\n## ").next().unwrap();
        assert!(
            explained.insert(name.to_owned(), text).is_none(),
            "{name} twice"
        );
    }
    for rule in rules().groups.iter().flat_map(|group| &group.rules) {
        let name = &rule.alert;
        let url = &rule.annotations["runbook_url"];
        assert!(
            url.ends_with(&format!("/alerts.md#{}", name.to_lowercase())),
            "{url}"
        );
        leads_somewhere(url, name);
        let text = explained.remove(name);
        let text = text.unwrap_or_else(|| panic!("docs/alerts.md has no {name}"));
        let starts: Vec<_> = text.lines().filter(|line| line.starts_with("- ")).collect();
        let wanted = ["- **Symptom:** ", "- **Look at:** ", "- **Do:** "];
        assert_eq!(starts.len(), wanted.len(), "{name}: {starts:?}");
        for (line, wanted) in starts.iter().zip(wanted) {
            assert!(line.starts_with(wanted), "{name}: {line}");
        }
    }
    assert!(
        explained.is_empty(),
        "no such alerts: {:?}",
        explained.keys()
    );
}

/// Also those of all other pages.
#[test]
fn links_between_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    let docs = fs::read_dir(root.join("docs")).unwrap();
    pages.extend(docs.map(|entry| entry.unwrap().path()));
    pages.retain(|path| path.extension().is_some_and(|end| end == "md"));
    assert!(pages.len() > 20);
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap();
            if target.contains(char::is_whitespace) || target.starts_with("http") {
                continue;
            }
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() {
                page.clone()
            } else {
                page.with_file_name("").join(file)
            };
            let from = page.display();
            assert!(there.exists(), "{from}: {target}");
            if !part.is_empty() {
                let anchors = anchors(&fs::read_to_string(there).unwrap());
                assert!(anchors.contains(part), "{from}: {target}");
            }
        }
    }
}

/// The command of the page, as it stands there.
#[test]
fn the_rules_become_those_of_the_prometheus_operator() {
    let (_, block) = PAGE.split_once("```sh\n").unwrap();
    let block = block.split("```").next().unwrap();
    let (command, apply) = block.split_once(" >prometheusrule.yaml\n").unwrap();
    assert!(apply.starts_with("kubectl "), "{apply}");
    let mut shell = Command::new("bash");
    shell
        .args(["-ec", command])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let made = shell.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_saphyr::from_str(str::from_utf8(&made.stdout).unwrap()).unwrap();
    assert_eq!(made["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(made["kind"], "PrometheusRule");
    let rules: Value = serde_saphyr::from_str(ALERTS).unwrap();
    assert_eq!(made["spec"], rules);
}

#[test]
fn panels_say_what_they_show_and_lead_on() {
    let dashboard = dashboard();
    let (mut stats, mut links) = (0, list(&dashboard["links"]).to_vec());
    assert!(links.len() >= 3);
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap();
        if panel["type"] == "row" {
            continue;
        }
        let text = panel["description"].as_str().unwrap();
        assert!(text.len() > 10 && text.ends_with('.'), "{title}: {text:?}");
        if panel["type"] == "stat" {
            stats += 1;
            let steps = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"];
            assert!(!list(steps).is_empty(), "{title} has no thresholds");
        }
        links.extend(list(&panel["links"]).iter().cloned());
    }
    assert!(stats >= 12);
    assert!(links.len() >= 15);
    for link in links {
        let title = link["title"].as_str().unwrap();
        leads_somewhere(link["url"].as_str().unwrap(), title);
    }
}

/// The words for levels of memory pressure are those of as many levels as there are.
#[test]
fn each_level_of_memory_pressure_has_a_word() {
    let metrics = super::METRICS.lines();
    let mut row = metrics.filter(|line| line.starts_with("| `jumpstarter_router_memory_pressure`"));
    let row = row.next().unwrap();
    let highest = (0..9)
        .rev()
        .find(|level| row.contains(&format!(", {level} ")));
    let mut panels = 0;
    for panel in list(&dashboard()["panels"]) {
        let mappings = list(&panel["fieldConfig"]["defaults"]["mappings"]);
        if panel["title"] != "Memory pressure" {
            continue;
        }
        panels += 1;
        let words: BTreeSet<_> = mappings[0]["options"].as_object().unwrap().keys().collect();
        let levels: Vec<_> = (0..=highest.unwrap())
            .map(|level| level.to_string())
            .collect();
        assert_eq!(words, levels.iter().collect());
    }
    assert_eq!(panels, 2);
}

#[test]
fn starts_drains_and_reloads_are_marked() {
    let exposed = exposed();
    let dashboard = dashboard();
    let mut asked = BTreeMap::new();
    for mark in list(&dashboard["annotations"]["list"]) {
        let name = mark["name"].as_str().unwrap();
        assert_eq!(mark["datasource"]["uid"], "${datasource}", "{name}");
        assert_eq!(mark["enable"], true, "{name}");
        let expr = mark["expr"].as_str().unwrap().replace("$instance", ".+");
        let labels = promql::check(&exposed, &expr).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(labels.contains("instance"), "{name}");
        // A time that is a value is one in milliseconds.
        let in_value = expr.contains("_seconds{");
        assert_eq!(in_value, mark["useValueForTime"] == "on", "{name}");
        assert!(!in_value || expr.contains("* 1000"), "{name}");
        asked.insert(name.to_owned(), promql::metrics(&expr));
    }
    for (name, metric) in [
        ("Starts", "process_start_time_seconds"),
        ("Drains", "jumpstarter_router_draining"),
        (
            "Reloads",
            "jumpstarter_router_last_reload_success_timestamp_seconds",
        ),
        ("Refused reloads", "jumpstarter_router_reloads_total"),
    ] {
        assert!(asked[name].contains(metric), "{name}: {asked:?}");
    }
}
