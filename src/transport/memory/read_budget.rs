//! How much HTTP/2 may read before the streams take it.
//!
//! h2 notes 248 bytes for each DATA frame, and keeps room for the most frames that ever stood in it: a window full of
//! 20-byte messages costs 1.1 MB that way. So small frames are read about a hundred at a time.
//!
//! Pure: no sockets, no clock.

/// What has come on a connection, and was taken by its streams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    /// Bytes of all DATA frames.
    pub bytes: u64,
    /// DATA frames.
    pub frames: u64,
}

/// Follows what one connection's streams take.
#[derive(Debug, Default)]
pub(crate) struct ReadBudget {
    seen: Received,
    step: usize,
}

impl ReadBudget {
    /// When memory is short: enough for the frames that give credit.
    pub(crate) const LITTLE: usize = 1024;

    /// So many frames at once, about.
    const FRAMES: u64 = 100;
    /// As long as frames may be tiny.
    const LEAST: usize = 2 * 1024;
    /// Frames of 1 KiB and more are read as they come.
    const MOST: usize = 256 * 1024;
    const LARGE_FRAME: u64 = 1024;

    /// Bytes that may be read now. `received`: all that has come so far.
    pub(crate) fn next(&mut self, received: Received) -> usize {
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
            self.seen = received;
        }
        self.step.max(Self::LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(received: &mut Received, frame: u64, times: u64) -> Received {
        received.bytes += frame * times;
        received.frames += times;
        *received
    }

    #[test]
    fn small_frames_are_read_a_hundred_at_a_time_and_large_ones_as_they_come() {
        let mut budget = ReadBudget::default();
        let mut all = Received::default();
        assert_eq!(budget.next(all), 2048, "nothing is known");
        assert_eq!(budget.next(come(&mut all, 25, 1)), 3400);
        assert_eq!(budget.next(all), 3400, "nothing new");
        assert_eq!(budget.next(come(&mut all, 1, 100)), 2048);
        assert_eq!(budget.next(come(&mut all, 1024, 1)), 256 * 1024);
    }
}
