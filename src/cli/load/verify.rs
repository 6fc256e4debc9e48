//! Checks what arrives: every message, in order, of the right length, and with the right content.

use thiserror::Error;

use super::pattern::{Lane, Plan};

/// Encoded frames without payload that may stand between messages.
const PING: [u8; 7] = [0, 0, 0, 0, 2, 0x10, 6];
const GOAWAY: [u8; 7] = [0, 0, 0, 0, 2, 0x10, 7];

/// One message in so many is compared in full with `--verify sample`.
const SAMPLE: u32 = 64;

/// How much of each message is compared; its length and sequence number always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// All of it.
    Full,
    /// All of one in 64.
    Sample,
}

/// What arrived is not what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Corruption {
    /// Another message than the next one.
    #[error("lane {lane}: expected message {expected} of {size} B, got {got}")]
    Message {
        /// Where.
        lane: u32,
        /// The sequence number that was due.
        expected: u32,
        /// The length that was due.
        size: usize,
        /// What came instead.
        got: String,
    },
    /// The right message with wrong bytes.
    #[error("lane {lane}: message {sequence} differs at or after byte {offset} of its content")]
    Content {
        /// Where.
        lane: u32,
        /// Which message.
        sequence: u32,
        /// Where the differing piece begins.
        offset: usize,
    },
    /// The stream ended within a message.
    #[error("lane {lane}: ended within message {sequence}")]
    Cut {
        /// Where.
        lane: u32,
        /// Which message.
        sequence: u32,
    },
    /// Payload after the frame that says that none follows.
    #[error("lane {lane}: message after GOAWAY")]
    AfterEnd {
        /// Where.
        lane: u32,
    },
}

/// Follows one lane.
#[derive(Debug)]
pub struct Verifier {
    lane: Lane,
    verify: Verify,
    sequence: u32,
    plan: Plan,
    /// Bytes of the current message that have come.
    at: usize,
    /// Bytes of something that is not the next message.
    odd: Vec<u8>,
    /// Whether GOAWAY came.
    pub ended: bool,
}

impl Verifier {
    /// Expects the lane's messages from the first one.
    pub fn new(lane: Lane, verify: Verify) -> Self {
        Self {
            plan: lane.plan(0),
            lane,
            verify,
            sequence: 0,
            at: 0,
            odd: Vec::new(),
            ended: false,
        }
    }

    /// Takes the next bytes; gives how many messages they completed.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<u64, Corruption> {
        let mut messages = 0;
        while !bytes.is_empty() {
            if !self.odd.is_empty() {
                self.push_odd(&mut bytes)?;
                continue;
            }
            let head = self.plan.head();
            if self.at < head.len() {
                let rest = &head[self.at..];
                let n = rest.len().min(bytes.len());
                if rest[..n] != bytes[..n] {
                    self.odd.extend_from_slice(&head[..self.at]);
                    self.push_odd(&mut bytes)?;
                    continue;
                }
                self.at += n;
                bytes = &bytes[n..];
            } else {
                let offset = self.at - head.len();
                let rest = &self.lane.tail(&self.plan)[offset..];
                let n = rest.len().min(bytes.len());
                let look = self.verify == Verify::Full || self.sequence.is_multiple_of(SAMPLE);
                if look && rest[..n] != bytes[..n] {
                    return Err(Corruption::Content {
                        lane: self.lane.id(),
                        sequence: self.sequence,
                        offset,
                    });
                }
                self.at += n;
                bytes = &bytes[n..];
            }
            if self.at == self.plan.encoded() {
                if self.ended {
                    let lane = self.lane.id();
                    return Err(Corruption::AfterEnd { lane });
                }
                messages += 1;
                self.sequence = self.sequence.wrapping_add(1);
                self.plan = self.lane.plan(self.sequence);
                self.at = 0;
            }
        }
        Ok(messages)
    }

    /// Collects what is not the next message until it can be named.
    fn push_odd(&mut self, bytes: &mut &[u8]) -> Result<(), Corruption> {
        while let Some((first, rest)) = bytes.split_first() {
            self.odd.push(*first);
            *bytes = rest;
            let length = match self.odd.get(1..5) {
                Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]) as usize,
                _ => continue,
            };
            let enough = (5 + length).min(super::pattern::HEAD);
            if self.odd.len() < enough {
                continue;
            }
            if self.odd == GOAWAY {
                self.ended = true;
            } else if self.odd != PING {
                return Err(Corruption::Message {
                    lane: self.lane.id(),
                    expected: self.sequence,
                    size: self.plan.payload(),
                    got: name(&self.odd, length),
                });
            }
            self.odd.clear();
            self.at = 0;
            break;
        }
        Ok(())
    }

    /// The stream has ended: nothing may be left over.
    pub fn finish(&self) -> Result<(), Corruption> {
        if self.at == 0 && self.odd.is_empty() {
            return Ok(());
        }
        Err(Corruption::Cut {
            lane: self.lane.id(),
            sequence: self.sequence,
        })
    }
}

/// Says what a message is that should not be there.
fn name(odd: &[u8], length: usize) -> String {
    let body = &odd[5.min(odd.len())..];
    let frame = body.strip_prefix(&[0x0a]).map(|rest| {
        let width = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        &rest[width.min(rest.len())..]
    });
    match frame.and_then(|frame| frame.first_chunk::<8>()) {
        Some(mark) => {
            let mark = u64::from_le_bytes(*mark);
            let (lane, sequence) = (mark >> 32, mark as u32);
            format!("{length} B that begin as message {sequence} of lane {lane}")
        }
        None => format!("{length} B: {odd:02x?}"),
    }
}

#[cfg(test)]
mod tests;
