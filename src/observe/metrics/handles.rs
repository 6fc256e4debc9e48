//! Counters split by a label, with every child made in advance.

use std::{
    collections::BTreeSet,
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
    /// Lists all values.
    const ALL: &'static [Self];
    /// Gives the value as it is shown.
    fn as_str(self) -> &'static str;
}

/// Stands in place of a [`Label`] for names that are listed at the start.
#[derive(Clone, Copy, Debug)]
pub struct Named;

/// Has one counter for each value of a label.
#[derive(Clone, Debug)]
pub struct ByLabel<L> {
    family: Counters,
    /// The last one counts what is not listed.
    children: Box<[(&'static str, Counter)]>,
    label: PhantomData<L>,
}

/// Has one counter for each of a list of names, and one for all other names.
pub(crate) type ByName = ByLabel<Named>;

impl<L: Send + Sync + 'static> EncodeMetric for ByLabel<L> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.family.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl<L> ByLabel<L> {
    fn of(key: &'static str, values: impl Iterator<Item = &'static str>) -> Self {
        let family = Counters::default();
        let child = |value| (value, family.get_or_create_owned(&[(key, value)]));
        Self {
            children: values.map(child).collect(),
            family,
            label: PhantomData,
        }
    }

    /// Finds the counter for `name`. Hold a clone of it where one name is counted often.
    pub fn get(&self, name: &str) -> &Counter {
        let listed = self.children.iter().position(|(known, _)| *known == name);
        &self.children[listed.unwrap_or(self.children.len() - 1)].1
    }
}

impl<L: Label> Default for ByLabel<L> {
    fn default() -> Self {
        Self::of(L::KEY, L::ALL.iter().map(|value| value.as_str()))
    }
}

impl<L: Label> ByLabel<L> {
    /// Counts one.
    pub fn inc(&self, value: L) {
        self.get(value.as_str()).inc();
    }

    /// Gives the count so far.
    pub fn count(&self, value: L) -> u64 {
        self.get(value.as_str()).get()
    }
}

impl ByName {
    /// Names what counts all unknown names.
    pub const OTHER: &'static str = "other";

    pub(super) fn new(key: &'static str, values: &[&'static str]) -> Self {
        let values: BTreeSet<_> = values.iter().copied().collect();
        Self::of(key, values.into_iter().chain([Self::OTHER]))
    }

    /// Sums up the counts of all names.
    pub fn sum(&self) -> u64 {
        self.children.iter().map(|(_, counter)| counter.get()).sum()
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
