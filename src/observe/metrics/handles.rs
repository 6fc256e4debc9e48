//! Counters split by a label, with every child made in advance.

use std::{
    fmt::{self, Debug},
    marker::PhantomData,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
};

type Counters = Family<[(&'static str, &'static str); 1], Counter>;

/// Lists the values of one label, as an enum without fields.
pub trait Label: Copy + Debug + Send + Sync + 'static {
    /// Names the label.
    const KEY: &'static str;
    /// Lists all values, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// Gives the value as it is shown.
    fn as_str(self) -> &'static str;
    /// Gives the position in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Has one counter for each value of a label.
#[derive(Clone, Debug)]
pub struct ByLabel<L> {
    family: Counters,
    children: Box<[Counter]>,
    label: PhantomData<L>,
}

impl<L: Label> Default for ByLabel<L> {
    fn default() -> Self {
        let family = Counters::default();
        let child = |value: &L| family.get_or_create_owned(&[(L::KEY, value.as_str())]);
        Self {
            children: L::ALL.iter().map(child).collect(),
            family,
            label: PhantomData,
        }
    }
}

impl<L: Label> EncodeMetric for ByLabel<L> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.family.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl<L: Label> ByLabel<L> {
    /// Counts one.
    pub fn inc(&self, value: L) {
        self.children[value.index()].inc();
    }

    /// Gives the count so far.
    pub fn count(&self, value: L) -> u64 {
        self.children[value.index()].get()
    }
}

/// Has one counter for each of a list of names, and one for all other names.
#[derive(Clone, Debug)]
pub struct ByName {
    family: Counters,
    /// Sorted by name.
    children: Box<[(&'static str, Counter)]>,
    other: Counter,
}

impl EncodeMetric for ByName {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.family.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl ByName {
    /// Names what counts all unknown names.
    pub const OTHER: &'static str = "other";

    pub(super) fn new(key: &'static str, values: &[&'static str]) -> Self {
        let family = Counters::default();
        let child = |value| family.get_or_create_owned(&[(key, value)]);

        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        Self {
            children: values.iter().map(|value| (*value, child(value))).collect(),
            other: child(Self::OTHER),
            family,
        }
    }

    /// Finds the counter for `name`. Hold a clone of it where one name is counted often.
    pub fn get(&self, name: &str) -> &Counter {
        match self
            .children
            .binary_search_by(|(known, _)| (*known).cmp(name))
        {
            Ok(at) => &self.children[at].1,
            Err(_) => &self.other,
        }
    }

    /// Sums up the counts of all names.
    pub fn sum(&self) -> u64 {
        let known = self.children.iter().map(|(_, counter)| counter.get());
        known.sum::<u64>() + self.other.get()
    }

    /// Counts one.
    pub fn inc(&self, name: &str) {
        self.get(name).inc();
    }
}

/// Holds one unit of a gauge, and gives it back on drop, so that no way out of a function can forget it.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    /// Adds one to `gauge` until dropped.
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
