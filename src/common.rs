//! Holds what all rooms may use: text for people, pauses between attempts, figures from `/proc`.

pub(crate) mod backoff;
#[cfg(feature = "server")]
pub(crate) mod procfs;
pub(crate) mod text;
