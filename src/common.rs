//! Holds what all rooms may use: text for people, pauses between attempts, figures from `/proc`.

pub mod backoff;
#[cfg(feature = "server")]
pub mod procfs;
pub mod text;
