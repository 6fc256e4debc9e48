//! How long nothing could be accepted, and when to say so. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How often the log says that it goes on, at most.
const EVERY: Duration = Duration::from_secs(60);

/// What goes on, and what was said.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    said: Option<Instant>,
    said_of_this_one: bool,
    left_out: u64,
}

/// Says what became of an outage.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over {
    /// How long it was, if the log has said that it began.
    pub to_say: Option<Duration>,
}

impl Outage {
    /// Nothing could be accepted. If that is to be said: how many times it was not, before.
    pub(super) fn failed(&mut self, now: Instant) -> Option<u64> {
        self.since.get_or_insert(now);
        if self.said.is_some_and(|said| now < said + EVERY) {
            self.left_out += 1;
            return None;
        }
        self.said = Some(now);
        self.said_of_this_one = true;
        Some(std::mem::take(&mut self.left_out))
    }

    /// All that waited has been accepted. `None` if it could be all along.
    pub(super) fn over(&mut self, now: Instant) -> Option<Over> {
        let since = self.since.take()?;
        let said = std::mem::take(&mut self.said_of_this_one);
        Some(Over {
            to_say: said.then(|| now - since),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_then_now_and_then_and_at_its_end() {
        let mut outage = Outage::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(outage.over(start), None);
        assert_eq!(outage.failed(start), Some(0));
        for second in 1..60 {
            assert_eq!(outage.failed(at(second)), None);
        }
        assert_eq!(outage.failed(at(60)), Some(59));
        let to_say = Some(Duration::from_secs(61));
        assert_eq!(outage.over(at(61)), Some(Over { to_say }));
        assert_eq!(outage.over(at(61)), None);
    }

    #[test]
    fn one_that_comes_and_goes_fills_no_log() {
        let mut outage = Outage::default();
        let start = Instant::now();
        let mut lines = 0;
        for tenth in 0..3_000 {
            let now = start + tenth * Duration::from_millis(100);
            lines += u32::from(outage.failed(now).is_some());
            let over = outage.over(now).map(|over| over.to_say.is_some());
            lines += u32::from(over.unwrap_or_default());
        }
        assert_eq!(lines, 10, "in five minutes");
    }
}
