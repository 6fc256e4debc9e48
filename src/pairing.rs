//! Decides who meets whom. It knows keys and slots, and no bytes.
//!
//! `slot` is the rule for one key, pure: no clock, no locks. [`table`] holds a slot for each key that is
//! in use, in a concurrent map, behind functions that return owned values.

mod slot;
pub(crate) mod table;
