//! The times of a lease, of which a client names some.

use std::time::Duration;

use super::{LATEST, Time};

/// The longest lease. Dates beyond what the protocol can write are kept out by it.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Times of a lease that a client names; what it leaves out is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// How long.
    pub duration: Option<Duration>,
    /// From when.
    pub begin: Option<Time>,
    /// Until when.
    pub end: Option<Time>,
}

impl Times {
    /// Works out what was left out. Of begin, end and duration any two say all, and the duration alone will do.
    ///
    /// # Errors
    ///
    /// What contradicts what.
    pub(crate) fn settle(self) -> Result<(Duration, Option<Time>, Option<Time>), String> {
        let given = self.duration.filter(|duration| !duration.is_zero());
        let (duration, begin) = match (self.begin, self.end, given) {
            (Some(begin), Some(end), given) => {
                let between = end.checked_sub(begin).unwrap_or_default();
                if given.is_some_and(|given| given != between) {
                    return Err("duration conflicts with begin_time and end_time".to_owned());
                }
                (Some(between), Some(begin))
            }
            (None, Some(end), Some(duration)) => {
                (Some(duration), Some(end.saturating_sub(duration)))
            }
            (begin, _, _) => (self.duration, begin),
        };
        let Some(duration) = duration else {
            return Err(
                "duration is required (must specify duration, or both begin_time and end_time)"
                    .to_owned(),
            );
        };
        if duration.is_zero() {
            return Err("duration must be positive".to_owned());
        }
        if duration > LONGEST {
            return Err(format!(
                "duration must be at most {} days",
                LONGEST.as_secs() / 86_400
            ));
        }
        if begin.is_some_and(|begin| begin + duration > LATEST) {
            return Err("the lease must end before the year 10000".to_owned());
        }
        Ok((duration, begin, self.end))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_say_all_or_contradict() {
        let second = Duration::from_secs;
        let times = |duration: Option<u64>, begin: Option<u64>, end: Option<u64>| {
            let times = Times {
                duration: duration.map(second),
                begin: begin.map(second),
                end: end.map(second),
            };
            times.settle()
        };
        let good = |duration, begin: Option<u64>, end: Option<u64>| {
            Ok((second(duration), begin.map(second), end.map(second)))
        };
        assert_eq!(times(Some(5), None, None), good(5, None, None));
        assert_eq!(times(Some(5), Some(10), None), good(5, Some(10), None));
        assert_eq!(times(None, Some(10), Some(15)), good(5, Some(10), Some(15)));
        assert_eq!(times(Some(5), None, Some(15)), good(5, Some(10), Some(15)));
        assert_eq!(
            times(Some(5), Some(10), Some(15)),
            good(5, Some(10), Some(15))
        );
        for (duration, begin, end, part) in [
            (Some(6), Some(10), Some(15), "conflicts"),
            (None, None, Some(15), "required"),
            (None, None, None, "required"),
            (None, Some(10), None, "required"),
            (None, Some(15), Some(10), "positive"),
            (Some(0), None, None, "positive"),
            (Some(u64::MAX), None, None, "at most"),
            (Some(5), Some(u64::MAX / 2), None, "year 10000"),
        ] {
            let error = times(duration, begin, end).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
