//! Holds what all rooms may use: text for people, pauses between attempts, figures from `/proc`, clocks and locks.

pub(crate) mod backoff;
#[cfg(feature = "server")]
pub(crate) mod procfs;
#[cfg(feature = "server")]
pub(crate) mod recent;
pub(crate) mod text;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Locks `mutex`. A panic elsewhere while it was locked changes nothing: what is kept behind locks is whole at all times.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the time since 1970; a clock before that counts as 1970.
pub(crate) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
