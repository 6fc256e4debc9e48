//! Decides who meets whom. It knows keys and slots, and no bytes.
//!
//! [`table`] holds a slot for each key that is in use, in a concurrent map, behind functions that return owned values.

pub(crate) mod table;
