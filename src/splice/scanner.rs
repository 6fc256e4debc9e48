//! Follows the 5-byte gRPC message prefixes through a byte stream, without decoding the messages.
//!
//! Prefix: one byte flag (1 = compressed), four bytes length, big-endian (gRPC over HTTP/2, "Length-Prefixed-Message").

use thiserror::Error;

const PREFIX: usize = 5;

/// What is wrong with a peer's bytes. Each ends the peer's stream.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// A message over the limit.
    #[error(
        "received message larger than max ({size} vs. {limit} bytes, streams.max_message_size); \
         send smaller ones"
    )]
    TooLarge {
        /// Announced length, bytes.
        size: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// The compression flag is set, but the call named no `grpc-encoding`.
    #[error("message has the compression flag set, but the call declared no grpc-encoding")]
    UndeclaredCompression,
    /// A flag that gRPC does not define: these bytes are no gRPC messages.
    #[error("message prefix starts with {flag:#04x}, expected 0 or 1")]
    UnknownFlag {
        /// The byte found.
        flag: u8,
    },
    /// The peer half-closed in the middle of a message.
    #[error("the stream was half-closed inside a message, {missing} bytes short")]
    Truncated {
        /// Bytes that were still to come, as far as known.
        missing: u64,
    },
}

/// What one chunk brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// So many bytes of the chunk, and all bytes before it, may be forwarded.
    pub ready: usize,
    /// Messages completed.
    pub messages: u64,
    /// What is wrong behind `ready`; the scanner must not be fed again.
    pub fault: Option<Fault>,
}

/// The scanner's place in the stream.
#[derive(Debug)]
pub struct Scanner {
    limit: u64,
    whole: u64,
    compressed: bool,
    prefix: [u8; PREFIX],
    have: usize,
    left: u64,
    cutting: bool,
}

impl Scanner {
    /// `limit`: the largest message accepted. `whole`: messages up to this length, prefix included, are
    /// forwarded only as a whole, longer ones piece by piece. `compressed`: the call declared a `grpc-encoding`.
    pub fn new(limit: u64, whole: u64, compressed: bool) -> Self {
        Self {
            limit,
            whole,
            compressed,
            prefix: [0; PREFIX],
            have: 0,
            left: 0,
            cutting: false,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, chunk: &[u8]) -> Scan {
        let mut scan = Scan::default();
        let mut rest = chunk;
        loop {
            if self.left > 0 {
                let step = self.left.min(rest.len() as u64);
                rest = &rest[step as usize..];
                self.left -= step;
                if self.left > 0 {
                    if self.cutting {
                        scan.ready = chunk.len();
                    }
                    return scan;
                }
                scan.messages += 1;
                scan.ready = chunk.len() - rest.len();
            }
            // Mostly the prefix is in one piece, and a copy of known length costs a tenth of any other.
            if self.have == 0
                && let Some((prefix, after)) = rest.split_first_chunk()
            {
                self.prefix = *prefix;
                rest = after;
            } else {
                let step = rest.len().min(PREFIX - self.have);
                self.prefix[self.have..self.have + step].copy_from_slice(&rest[..step]);
                self.have += step;
                rest = &rest[step..];
                if self.have < PREFIX {
                    return scan;
                }
            }
            match self.prefix_complete() {
                Ok(0) => {
                    scan.messages += 1;
                    scan.ready = chunk.len() - rest.len();
                }
                Ok(_) => {}
                Err(fault) => {
                    scan.fault = Some(fault);
                    return scan;
                }
            }
        }
    }

    fn prefix_complete(&mut self) -> Result<u64, Fault> {
        let [flag, length @ ..] = self.prefix;
        let size = u64::from(u32::from_be_bytes(length));
        match flag {
            0 => {}
            1 if self.compressed => {}
            1 => return Err(Fault::UndeclaredCompression),
            flag => return Err(Fault::UnknownFlag { flag }),
        }
        if size > self.limit {
            return Err(Fault::TooLarge {
                size,
                limit: self.limit,
            });
        }
        self.have = 0;
        self.left = size;
        self.cutting = size + PREFIX as u64 > self.whole;
        Ok(size)
    }

    /// The peer half-closed: is that allowed here?
    pub fn finish(&self) -> Result<(), Fault> {
        if self.have == 0 && self.left == 0 {
            return Ok(());
        }
        let prefix = if self.have == 0 {
            0
        } else {
            PREFIX - self.have
        };
        Err(Fault::Truncated {
            missing: self.left + prefix as u64,
        })
    }

    /// Whether a part of an unfinished message may have been forwarded, so that nothing can be put in between.
    pub fn inside_cut(&self) -> bool {
        self.cutting && self.left > 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.extend(std::iter::repeat_n(7, length));
        bytes
    }

    #[test]
    fn whole_messages_are_ready_at_their_last_byte() {
        let mut scanner = Scanner::new(100, 100, false);
        let bytes = message(3);
        for (at, byte) in bytes.iter().enumerate() {
            let scan = scanner.feed(&[*byte]);
            let last = at + 1 == bytes.len();
            assert_eq!((scan.ready, scan.messages), (last.into(), last.into()));
        }
        assert_eq!(scanner.finish(), Ok(()));
    }

    #[test]
    fn empty_messages_count() {
        let mut scanner = Scanner::new(100, 100, false);
        let scan = scanner.feed(&[message(0), message(0)].concat());
        assert_eq!((scan.ready, scan.messages), (10, 2));
    }

    #[test]
    fn longer_messages_are_cut_through() {
        let mut scanner = Scanner::new(1000, 20, false);
        let bytes = message(16);
        assert_eq!(scanner.feed(&bytes[..9]).ready, 9);
        assert!(scanner.inside_cut());
        assert_eq!(scanner.feed(&bytes[9..]).ready, 12);
        assert!(!scanner.inside_cut());
    }

    #[test]
    fn faults_come_after_the_good_messages() {
        for (bad, fault) in [
            (
                vec![0, 0, 0, 1, 0],
                Fault::TooLarge {
                    size: 256,
                    limit: 255,
                },
            ),
            (vec![1, 0, 0, 0, 1], Fault::UndeclaredCompression),
            (vec![2, 0, 0, 0, 1], Fault::UnknownFlag { flag: 2 }),
        ] {
            let scan = Scanner::new(255, 255, false).feed(&[message(4), bad].concat());
            assert_eq!((scan.ready, scan.fault), (9, Some(fault)));
        }
    }

    #[test]
    fn half_close_inside_a_message_is_a_fault() {
        for (cut, missing) in [(1, 4), (5, 3), (7, 1)] {
            let mut scanner = Scanner::new(100, 100, false);
            scanner.feed(&message(3)[..cut]);
            assert_eq!(scanner.finish(), Err(Fault::Truncated { missing }));
        }
    }

    #[test]
    fn declared_compression_passes() {
        let scan = Scanner::new(100, 100, true).feed(&[1, 0, 0, 0, 1, 9]);
        assert_eq!((scan.ready, scan.fault), (6, None));
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same(lengths in prop::collection::vec(0usize..60, 0..20), cuts in prop::collection::vec(1usize..40, 1..80)) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|&l| message(l)).collect();
            let mut scanner = Scanner::new(1000, 40, false);
            let (mut at, mut ready, mut messages) = (0, 0, 0);
            for step in cuts.into_iter().cycle() {
                if at >= bytes.len() { break; }
                let end = (at + step).min(bytes.len());
                let scan = scanner.feed(&bytes[at..end]);
                prop_assert_eq!(scan.fault, None);
                if scan.ready > 0 { ready = at + scan.ready; }
                messages += scan.messages;
                at = end;
            }
            prop_assert_eq!(ready, bytes.len());
            prop_assert_eq!(messages, lengths.len() as u64);
            prop_assert_eq!(scanner.finish(), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut scanner = Scanner::new(64, 20, true);
            for chunk in chunks {
                let scan = scanner.feed(&chunk);
                prop_assert!(scan.ready <= chunk.len());
                if scan.fault.is_some() { break; }
            }
        }
    }
}
