//! How much HTTP/2 may read before the streams take it, and what it keeps of that.
//!
//! h2 notes 248 bytes for each DATA frame, and keeps room for the most frames that ever stood in it: a window full of
//! 20-byte messages costs 1.1 MB that way. So small frames are read about a hundred at a time.
//!
//! Pure: no sockets, no clock.

/// What has come on a connection, and was taken by its streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Bytes of all DATA frames.
    pub bytes: u64,
    /// DATA frames.
    pub frames: u64,
    /// What these frames needed beyond their bytes: [`slack`].
    pub slack: u64,
}

/// What a DATA frame needs beyond its bytes: by payloads up to the first number, in eighths of them.
///
/// h2 reads into blocks of 8 KiB, which it doubles or leaves to what is in them when a frame does not fit, and a frame
/// keeps its block: one of a little more than 4 KiB a whole block. Live heap of stalled pairs for each byte: 1.33 with
/// messages of 2 KiB, 1.82 with 4 KiB, 1.52 with 8,300 bytes, 1.03 with frames of 16 KiB. Frames under 1 KiB are copied
/// together: 1.18 with 100 bytes, 1.45 with 600, where the joined blocks have the most room at their end.
const SLACK_EIGHTHS: [(u64, u64); 5] =
    [(512, 0), (4_087, 2), (8_183, 6), (16_374, 2), (u64::MAX, 0)];

/// What a DATA frame with so many bytes needs beyond what all bytes in lanes count.
pub fn slack(frame: u64) -> u64 {
    let fits = |&&(most, _): &&(u64, u64)| frame <= most;
    let eighths = SLACK_EIGHTHS.iter().find(fits);
    frame * eighths.map_or(0, |(_, eighths)| *eighths) / 8
}

/// Follows what one connection's streams take.
#[derive(Debug, Default)]
pub struct Allowance {
    seen: Received,
    step: usize,
    /// The most frames that came at once.
    most: u64,
    /// What came last, about as much as a window holds.
    recent: Received,
}

impl Allowance {
    /// When memory is short: enough for the frames that give credit.
    pub const LITTLE: usize = 1024;

    /// So many frames at once, about.
    const FRAMES: u64 = 100;
    /// As long as frames may be tiny.
    const LEAST: usize = 2 * 1024;
    /// Frames of 1 KiB and more are read as they come.
    const MOST: usize = 256 * 1024;
    const LARGE_FRAME: u64 = 1024;
    /// What HTTP/2 keeps for each frame of the most that ever came at once.
    const NOTE: u64 = 248;
    /// So many bytes weigh as much as all before them.
    const RECENT: u64 = 128 * 1024;

    /// Bytes that may be read now. `received`: all that has come so far.
    pub fn next(&mut self, received: Received) -> usize {
        let (bytes, frames) = (
            received.bytes - self.seen.bytes,
            received.frames - self.seen.frames,
        );
        if let Some(average) = bytes.checked_div(frames) {
            const HEADER: u64 = 9;
            self.step = if average >= Self::LARGE_FRAME {
                Self::MOST
            } else {
                ((average + HEADER) * Self::FRAMES) as usize
            };
            self.most = self.most.max(frames);
            if self.recent.bytes >= Self::RECENT {
                self.recent.bytes /= 2;
                self.recent.slack /= 2;
            }
            self.recent.bytes += bytes;
            self.recent.slack += received.slack - self.seen.slack;
            self.seen = received;
        }
        self.step.max(Self::LEAST)
    }

    /// What `held` bytes that came lately need beyond what all bytes in lanes count.
    pub fn slack(&self, held: u64) -> u64 {
        let product = held.saturating_mul(self.recent.slack);
        product.checked_div(self.recent.bytes).unwrap_or(0)
    }

    /// Bytes that HTTP/2 keeps for its notes.
    pub fn notes(&self) -> u64 {
        self.most.next_power_of_two() * Self::NOTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(received: &mut Received, frame: u64, times: u64) -> Received {
        received.bytes += frame * times;
        received.frames += times;
        received.slack += slack(frame) * times;
        *received
    }

    #[test]
    fn small_frames_are_read_a_hundred_at_a_time_and_large_ones_as_they_come() {
        let mut allowance = Allowance::default();
        let mut all = Received::default();
        assert_eq!(allowance.next(all), 2048, "nothing is known");
        assert_eq!(allowance.next(come(&mut all, 25, 1)), 3400);
        assert_eq!(allowance.next(all), 3400, "nothing new");
        assert_eq!(allowance.next(come(&mut all, 1, 100)), 2048);
        assert_eq!(allowance.notes(), 128 * 248, "of 100 at once");
        assert_eq!(allowance.next(come(&mut all, 1024, 1)), 256 * 1024);
        assert_eq!(allowance.notes(), 128 * 248);
    }

    #[test]
    fn frames_that_do_not_fill_a_block_need_more() {
        for (frame, more) in [
            (20, 0),
            (600, 150),
            (4_087, 1_021),
            (4_088, 3_066),
            (8_183, 6_137),
            (8_192, 2_048),
            (16_384, 0),
        ] {
            assert_eq!(slack(frame), more, "{frame}");
        }
    }

    #[test]
    fn what_is_held_counts_as_what_came_last() {
        let mut allowance = Allowance::default();
        let mut all = Received::default();
        assert_eq!(allowance.slack(1 << 20), 0);
        // 64 KiB messages of a stock peer: four full frames and the rest.
        for _ in 0..10 {
            come(&mut all, 16_384, 4);
            allowance.next(come(&mut all, 11, 1));
        }
        assert_eq!(allowance.slack(1 << 20), 0);
        for _ in 0..200 {
            allowance.next(come(&mut all, 4_096, 1));
        }
        let more = allowance.slack(1 << 20);
        assert!((700_000..786_432).contains(&more), "{more}");
        assert_eq!(allowance.slack(0), 0);
    }
}
