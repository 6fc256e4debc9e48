//! Says on the wire that a half waits: `version ‖ router ‖ ticket ‖ certificate ‖ proof ‖ address`, docs/cluster.md.
//!
//! It carries no subject and no token. The proof is by the key that signed the half's token, over all of it and the subject:
//! so only routers that have that key make announcements, and one for another subject is worth nothing.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::meet::{Elsewhere, RouterId, Ticket, Topic};
use crate::auth::{
    Key,
    proof::{Proof, Purpose},
};

const ANNOUNCED: Purpose = Purpose("jumpstarter-router announcement v1");

/// The version of this format; others are ignored, so that a later one can be told apart.
const VERSION: u8 = 1;

/// Longer addresses are refused.
pub(crate) const MOST_ADDRESS: usize = 255;

impl Topic {
    /// Gives the topic of a token's subject.
    pub(crate) fn of(subject: &str) -> Self {
        Self(sha256(subject.as_bytes()))
    }

    /// Writes it as the last part of a subject of the bus.
    pub(crate) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads what [`Topic::to_text`] wrote.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// Gives the SHA-256 of these bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// An announcement as it was heard: not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// What it says.
    pub at: Elsewhere,
    proof: [u8; 32],
}

/// Announces a half whose token for `subject` was signed with `key`.
pub(crate) fn write(at: &Elsewhere, key: &Key, subject: &str) -> Vec<u8> {
    let proof = prove(at, key, subject);
    let parts: [&[u8]; 6] = [
        &[VERSION],
        &at.router.0,
        &at.ticket.0,
        &at.certificate,
        proof.bytes(),
        at.address.as_bytes(),
    ];
    parts.concat()
}

fn prove(at: &Elsewhere, key: &Key, subject: &str) -> Proof {
    let fields: [&[u8]; 6] = [
        &[VERSION],
        &at.router.0,
        &at.ticket.0,
        &at.certificate,
        at.address.as_bytes(),
        subject.as_bytes(),
    ];
    Proof::make(key, ANNOUNCED, &fields)
}

impl Announcement {
    /// Reads an announcement. `None` if it is none of this version.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (router, rest) = rest.split_first_chunk()?;
        let (ticket, rest) = rest.split_first_chunk()?;
        let (certificate, rest) = rest.split_first_chunk()?;
        let (proof, address) = rest.split_first_chunk()?;
        let address = std::str::from_utf8(address).ok()?;
        let fits = *version == VERSION && address.len() <= MOST_ADDRESS;
        fits.then(|| Self {
            at: Elsewhere {
                router: RouterId(*router),
                ticket: Ticket(*ticket),
                address: address.to_owned(),
                certificate: *certificate,
            },
            proof: *proof,
        })
    }

    /// Tells whether it is a farewell: the router has called the half of this ticket in vain, and does so no more.
    pub(crate) fn is_farewell(&self) -> bool {
        self.at.address.is_empty()
    }

    /// Tells whether a router made it that has `key`, for a half of `subject`.
    pub(crate) fn is_by(&self, key: &Key, subject: &str) -> bool {
        prove(&self.at, key, subject).is(&self.proof)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn key(secret: &str) -> Key {
        Key::new("test", secret.as_bytes())
    }

    fn elsewhere() -> Elsewhere {
        Elsewhere {
            router: RouterId([1; 16]),
            ticket: Ticket([2; 16]),
            address: "10.0.0.7:8084".to_owned(),
            certificate: [3; 32],
        }
    }

    #[test]
    fn what_is_written_is_read_and_believed_with_key_and_subject_only() {
        let bytes = write(&elsewhere(), &key("secret"), "a lease");
        let read = Announcement::read(&bytes).unwrap();
        assert_eq!(read.at, elsewhere());
        assert!(read.is_by(&key("secret"), "a lease"));
        assert!(!read.is_by(&key("another"), "a lease"));
        assert!(!read.is_by(&key("secret"), "another lease"));
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let bytes = write(&elsewhere(), &key("secret"), "a lease");
        for place in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[place] ^= 1;
            let read = Announcement::read(&forged);
            let believed = read.is_some_and(|read| read.is_by(&key("secret"), "a lease"));
            assert!(!believed, "byte {place}");
        }
        assert_eq!(Announcement::read(&bytes[..96]), None, "too short");
        let farewell = Announcement::read(&bytes[..97]);
        let believed = |read: &Announcement| read.is_by(&key("secret"), "a lease");
        assert!(farewell.is_some_and(|read| read.is_farewell() && !believed(&read)));
        let longer = [&bytes[..], &[b'x'; 300]].concat();
        assert_eq!(Announcement::read(&longer), None, "too long an address");
    }

    #[test]
    fn a_topic_says_no_subject() {
        let topic = Topic::of("a lease");
        let text = topic.to_text();
        assert_eq!(Topic::from_text(&text), Some(topic));
        // Allowed in a subject of the bus, and no part of its own grammar.
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(text.chars().all(allowed), "{text}");
        assert_eq!(Topic::from_text("short"), None);
    }

    proptest! {
        #[test]
        fn nothing_heard_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(read) = Announcement::read(&bytes) {
                prop_assert!(!read.is_by(&key("secret"), "a lease"));
            }
        }
    }
}
