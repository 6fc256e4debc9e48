//! What the messages hold: bytes that follow from the run's seed, the lane and the sequence number.
//!
//! Nothing is generated per message. A message is a short head and a slice of one random table, so making one
//! and checking one cost a `memcpy` and a `memcmp`.

use std::{ops::Range, sync::Arc};

use bytes::{BufMut, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

/// Where slices may begin: so many different contents of one length exist.
const OFFSETS: usize = 64 * 1024;

/// The longest head: gRPC prefix, field tag, length, sequence number and lane.
pub(crate) const HEAD: usize = 5 + 1 + 5 + 8;

/// How long the messages of a lane are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All alike.
    Fixed(usize),
    /// Large ones of this length, and one of 8 to 200 bytes after each.
    Mix(usize),
}

impl Sizes {
    /// Gives the longest of them.
    pub fn longest(self) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Mix(size) => size.max(200),
        }
    }

    /// Gives their mean, roughly.
    pub fn mean(self) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Mix(size) => usize::midpoint(size, 104),
        }
    }
}

/// The random table all lanes cut from.
#[derive(Debug)]
pub struct Pattern {
    table: Vec<u8>,
    seed: u64,
}

impl Pattern {
    /// Makes a table for messages of up to `longest` bytes.
    pub fn new(seed: u64, longest: usize) -> Self {
        let words = (OFFSETS + longest).div_ceil(8) as u64;
        let table = (0..words)
            .flat_map(|word| mix(seed ^ mix(word)).to_le_bytes())
            .collect();
        Self { table, seed }
    }
}

/// One direction of one pair: says what its n-th message is.
#[derive(Clone, Debug)]
pub struct Lane {
    id: u32,
    sizes: Sizes,
    pattern: Arc<Pattern>,
}

/// One message: its first bytes, and where the others stand in the table.
#[derive(Clone, Debug)]
pub struct Plan {
    head: [u8; HEAD],
    head_len: usize,
    size: usize,
    tail: Range<usize>,
}

impl Plan {
    /// Gives the encoded message's first bytes: prefix, field, sequence number and lane.
    pub fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// Gives the length of the encoded message, prefix included.
    pub fn encoded(&self) -> usize {
        self.head_len + self.tail.len()
    }

    /// Gives the length of the payload.
    pub fn payload(&self) -> usize {
        self.size
    }
}

impl Lane {
    /// Makes lane number `id` of a run.
    pub fn new(id: u32, sizes: Sizes, pattern: Arc<Pattern>) -> Self {
        Self { id, sizes, pattern }
    }

    /// Gives its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn hash(&self, sequence: u32) -> u64 {
        mix(self.pattern.seed ^ (u64::from(self.id) << 32 | u64::from(sequence)))
    }

    /// Says what message number `sequence` is.
    pub fn plan(&self, sequence: u32) -> Plan {
        let hash = self.hash(sequence);
        let size = match self.sizes {
            Sizes::Fixed(size) => size,
            Sizes::Mix(size) if sequence.is_multiple_of(2) => size,
            Sizes::Mix(_) => 8 + (hash >> 32) as usize % 193,
        };
        let mut head = [0; HEAD];
        let mut head_len = 5;
        if size > 0 {
            head[5] = 0x0a;
            encode_varint(size as u64, &mut &mut head[6..]);
            head_len = 6 + encoded_len_varint(size as u64);
        }
        let length = head_len - 5 + size;
        head[1..5].copy_from_slice(&(length as u32).to_be_bytes());
        let mark = u64::from(self.id) << 32 | u64::from(sequence);
        let marked = size.min(8);
        head[head_len..head_len + marked].copy_from_slice(&mark.to_le_bytes()[..marked]);
        head_len += marked;
        let begin = hash as usize % OFFSETS;
        Plan {
            head,
            head_len,
            size,
            tail: begin..begin + size - marked,
        }
    }

    /// Gives the bytes of a message behind its head.
    pub fn tail(&self, plan: &Plan) -> &[u8] {
        &self.pattern.table[plan.tail.clone()]
    }

    /// Writes a message.
    pub fn encode(&self, plan: &Plan, out: &mut BytesMut) {
        out.put_slice(plan.head());
        out.put_slice(self.tail(plan));
    }
}

/// Mixes 64 bits well (splitmix64's finalizer).
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
