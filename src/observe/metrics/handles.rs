//! Counters split by a label, with every child made in advance.

use std::marker::PhantomData;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

type Labels = [(&'static str, &'static str); 1];

/// The values of one label, as an enum without fields.
pub trait Label: Copy + 'static {
    /// The label's name.
    const KEY: &'static str;
    /// All values, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// The value as it is shown.
    fn as_str(self) -> &'static str;
    /// The position in [`Label::ALL`].
    fn index(self) -> usize;
}

/// One counter for each value of a label.
#[derive(Clone, Debug)]
pub struct ByLabel<L> {
    children: Box<[Counter]>,
    label: PhantomData<L>,
}

impl<L: Label> ByLabel<L> {
    pub(super) fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register(name, help, family.clone());
        let child = |value: &L| family.get_or_create_owned(&[(L::KEY, value.as_str())]);
        Self {
            children: L::ALL.iter().map(child).collect(),
            label: PhantomData,
        }
    }

    /// Counts one.
    pub fn inc(&self, value: L) {
        self.children[value.index()].inc();
    }

    /// The count so far.
    pub fn count(&self, value: L) -> u64 {
        self.children[value.index()].get()
    }
}

/// One counter for each of a list of names, and one for all other names.
#[derive(Clone, Debug)]
pub struct ByName {
    /// Sorted by name.
    children: Box<[(&'static str, Counter)]>,
    other: Counter,
}

impl ByName {
    /// The value under which unknown names are counted.
    pub const OTHER: &'static str = "other";

    pub(super) fn register(
        registry: &mut Registry,
        name: &str,
        help: &str,
        key: &'static str,
        values: &[&'static str],
    ) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register(name, help, family.clone());
        let child = |value| family.get_or_create_owned(&[(key, value)]);

        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        Self {
            children: values.iter().map(|value| (*value, child(value))).collect(),
            other: child(Self::OTHER),
        }
    }

    /// The counter for `name`. Hold a clone of it where one name is counted often.
    pub fn get(&self, name: &str) -> &Counter {
        match self
            .children
            .binary_search_by(|(known, _)| (*known).cmp(name))
        {
            Ok(at) => &self.children[at].1,
            Err(_) => &self.other,
        }
    }

    /// The count of all names together.
    pub fn sum(&self) -> u64 {
        let known = self.children.iter().map(|(_, counter)| counter.get());
        known.sum::<u64>() + self.other.get()
    }

    /// Counts one.
    pub fn inc(&self, name: &str) {
        self.get(name).inc();
    }
}

/// One unit of a gauge, given back on drop, so that no way out of a function can forget it.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// Adds one to `gauge` until dropped.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
