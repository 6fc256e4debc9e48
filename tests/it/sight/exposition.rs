//! What a scrape says, as families with their labels and values.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
pub struct Family {
    pub kind: Kind,
    /// Every label with its values; `le` is left out.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
pub struct Exposition {
    /// By name, without the suffixes of series.
    pub families: BTreeMap<String, Family>,
}

impl Exposition {
    pub fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut last = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let kind = match kind {
                    "counter" => Kind::Counter,
                    "gauge" => Kind::Gauge,
                    "histogram" => Kind::Histogram,
                    other => panic!("{other}: {line}"),
                };
                let labels = BTreeMap::new();
                name.clone_into(&mut last);
                families.insert(name.to_owned(), Family { kind, labels });
            } else if let Some((_, labels)) =
                line.split_once('{').filter(|_| !line.starts_with('#'))
            {
                let labels = labels.rsplit_once('}').unwrap().0;
                for label in labels.split(',') {
                    let (name, value) = label.split_once('=').unwrap();
                    if name != "le" {
                        let value = value.trim_matches('"').to_owned();
                        let labels = &mut families.get_mut(&last).unwrap().labels;
                        labels.entry(name.to_owned()).or_default().insert(value);
                    }
                }
            }
        }
        assert!(families.len() > 10, "{text}");
        Self { families }
    }

    /// The family of a series, and whether it only grows.
    pub fn series(&self, name: &str) -> Option<(&Family, bool)> {
        for suffix in ["_total", "_bucket", "_sum", "_count", ""] {
            let Some(base) = name.strip_suffix(suffix) else {
                continue;
            };
            let Some(family) = self.families.get(base) else {
                continue;
            };
            let fits = match family.kind {
                Kind::Counter => suffix == "_total",
                Kind::Gauge => suffix.is_empty(),
                Kind::Histogram => ["_bucket", "_sum", "_count"].contains(&suffix),
            };
            if fits {
                return Some((family, family.kind != Kind::Gauge));
            }
        }
        None
    }
}
