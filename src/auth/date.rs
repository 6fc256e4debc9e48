//! Keeps points in time as nanoseconds from the Unix epoch, wide enough for every JSON number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Number;

const NANOS: i128 = 1_000_000_000;

/// Seconds from the epoch to the end of the year 9999, the latest date that can be written down
/// in the usual formats.
const LATEST_SECS: u64 = 253_402_300_799;

/// Reads a `NumericDate` of RFC 7519 section 2: seconds from the epoch, perhaps with a fraction.
///
/// Every number has a value here: those outside the range count as its nearest end, which is many
/// ages away from any clock.
pub(super) fn from_json(number: &Number) -> Option<i128> {
    if let Some(seconds) = number.as_i64() {
        return Some(i128::from(seconds) * NANOS);
    }
    if let Some(seconds) = number.as_u64() {
        return Some(i128::from(seconds) * NANOS);
    }
    let seconds = number.as_f64()?;
    // Casts from f64 saturate. Whole and fractional part go apart, so that the product with 10^9
    // does not cost the fraction the digits it still has.
    let whole = (seconds.trunc() as i128).saturating_mul(NANOS);
    Some(whole.saturating_add((seconds.fract() * 1e9).round() as i128))
}

/// Gives the clock's time, also when it stands before 1970.
pub(super) fn from_clock(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => from_duration(after),
        Err(before) => -from_duration(before.duration()),
    }
}

/// Gives a length of time in nanoseconds. It has at most 2^64 seconds, so it always fits.
pub(super) fn from_duration(duration: Duration) -> i128 {
    i128::from(duration.as_secs()) * NANOS + i128::from(duration.subsec_nanos())
}

/// Gives the time from `earlier` to `later`, zero if they are the other way round, capped at what a
/// `Duration` holds.
pub(super) fn between(earlier: i128, later: i128) -> Duration {
    let nanos = later.saturating_sub(earlier).max(0);
    match u64::try_from(nanos / NANOS) {
        // The remainder is below 10^9.
        Ok(secs) => Duration::new(secs, u32::try_from(nanos % NANOS).unwrap_or(0)),
        Err(_) => Duration::MAX,
    }
}

/// Gives a clock value, never before 1970 nor after the year 9999, where `SystemTime` could overflow.
pub(super) fn to_clock(nanos: i128) -> SystemTime {
    UNIX_EPOCH + between(0, nanos).min(Duration::from_secs(LATEST_SECS))
}
