//! How much memory is in use, and what follows from that.
//!
//! [`level`] says how short memory is, by the live heap and what is [`resident`] beyond it, under the limit that is configured
//! or that [`cgroup`] finds; [`read_budget`] says how much a connection reads at once, [`budget`] what windows may grow
//! by; [`pressure`] measures, and ends what stands still when memory runs out.

pub mod budget;
pub mod cgroup;
pub mod level;
pub mod pressure;
pub mod read_budget;
pub mod resident;
