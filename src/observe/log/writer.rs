//! Writes lines on a thread of its own, so that a reader that has stopped holds up nothing else.

use std::{
    io::{self, ErrorKind, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{queue::Queue, thinner::SharedThinner};

/// How many bytes are written at once: what a pipe takes.
const CHUNK: usize = 64 * 1024;

/// How long lines are gathered after some were written. To wake this thread for each line cost 5 to 10 % of the CPU time of
/// new pairs on new connections, of which each logs its end.
const GATHER: Duration = Duration::from_millis(10);

/// How long to wait before a write is tried again that has failed, as on a full disk, or for want of a reader.
const RETRY: Duration = Duration::from_secs(1);

/// How long to wait if standard error is full, and whoever opened it has made it non-blocking.
const RETRY_FULL: Duration = Duration::from_millis(20);

/// How often it looks for lines that were left out and have not been told since.
const SETTLE: Duration = Duration::from_secs(10);

/// Starts the thread. It ends with the process.
pub(super) fn start(
    queue: Arc<Queue>,
    thinner: SharedThinner,
    mut out: impl Write + Send + 'static,
) -> io::Result<()> {
    let write = move || {
        let mut chunk = vec![0; CHUNK];
        let mut settled = Instant::now();
        loop {
            let taken = queue.take(&mut chunk, SETTLE);
            write_all(&mut out, &chunk[..taken.bytes]);
            if taken.lost > 0 {
                tracing::warn!(
                    lines = taken.lost,
                    "log lines were lost: nobody took them from standard error in time"
                );
            }
            if settled.elapsed() >= SETTLE {
                settled = Instant::now();
                tell_left_out(&thinner, settled);
            }
            if (1..CHUNK).contains(&taken.bytes) {
                thread::sleep(GATHER);
            }
        }
    };
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(write)
        .map(drop)
}

/// Writes all of it, however long that takes.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => thread::sleep(RETRY),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => thread::sleep(RETRY_FULL),
                _ => thread::sleep(RETRY),
            },
        }
    }
}

/// Tells what was left out in floods that are over.
fn tell_left_out(thinner: &SharedThinner, now: Instant) {
    for flood in thinner.settle(now) {
        tracing::info!(
            line = flood.message,
            peer = flood.from.map(tracing::field::display),
            left_out = flood.left_out,
            "repeated log lines were left out"
        );
    }
}

/// Puts each line into the queue.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line that was thinned is empty.
        if !line.is_empty() {
            self.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails in every way there is before it takes a byte.
    struct Hostile {
        errors: Vec<ErrorKind>,
        taken: Vec<u8>,
    }

    impl Write for Hostile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.errors.pop() {
                Some(kind) => Err(kind.into()),
                None => {
                    self.taken.push(bytes[0]);
                    Ok(1)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_could_not_be_written_is_tried_again() {
        let mut out = Hostile {
            errors: vec![
                ErrorKind::StorageFull,
                ErrorKind::WouldBlock,
                ErrorKind::Interrupted,
            ],
            taken: Vec::new(),
        };
        write_all(&mut out, b"all of it\n");
        assert_eq!(out.taken, b"all of it\n");
    }
}
