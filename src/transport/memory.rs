//! How much memory is in use, and what follows from that.
//!
//! [`level`] says how short memory is, by the live heap and what is [`resident`] beyond it, under the limit that is configured
//! or that [`cgroup`] finds; [`read_budget`] says how much a connection reads at once, [`budget`] what windows may grow
//! by.

pub(crate) mod budget;
pub(crate) mod cgroup;
pub(crate) mod level;
pub(crate) mod read_budget;
pub(crate) mod resident;
