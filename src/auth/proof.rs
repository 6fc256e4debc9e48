//! Proves that one has a signing key, to another who has it, without a token being made.
//!
//! A proof is a message authentication code (HMAC-SHA256) over a label and some fields. The label says what the proof is
//! for, so one made for one purpose is worth nothing for another. No proof is a token's signature, nor the other way
//! round: what is signed here begins with a length, hence with a zero byte, and what a token signs is base64.

use aws_lc_rs::{constant_time, hmac};

use super::{Key, without_newline};

/// Says what a proof is for, by a label that tells it from all others, and from earlier versions of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose(pub &'static str);

/// Shows that its maker has a key; it is compared in constant time.
#[derive(Clone, Debug)]
pub(crate) struct Proof(hmac::Tag);

impl Proof {
    /// Makes the proof that `key` gives for these fields in this order.
    pub(crate) fn make(key: &Key, purpose: Purpose, fields: &[&[u8]]) -> Self {
        // Routers that have one Secret prove alike, whether or not they read it with its newline.
        let key = hmac::Key::new(hmac::HMAC_SHA256, without_newline(key.secret()));
        Self(hmac::sign(&key, &message(purpose, fields)))
    }

    /// Gives its bytes, to be sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Tells whether these bytes are this very proof.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.bytes(), bytes).is_ok()
    }
}

/// Writes the label and each field behind its length, so that no two lists of fields give the same bytes.
fn message(Purpose(label): Purpose, fields: &[&[u8]]) -> Vec<u8> {
    let parts = || [label.as_bytes()].into_iter().chain(fields.iter().copied());
    let mut message = Vec::with_capacity(parts().map(|part| 8 + part.len()).sum());
    for part in parts() {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: Purpose = Purpose("greeting v1");

    fn key(secret: &str) -> Key {
        Key::new("test", secret.as_bytes())
    }

    #[test]
    fn only_the_same_key_purpose_and_fields_give_the_same_proof() {
        let proof = Proof::make(&key("a"), GREETING, &[b"one", b"two"]);
        assert!(proof.is(Proof::make(&key("a"), GREETING, &[b"one", b"two"]).bytes()));
        let farewell = Purpose("farewell v1");
        for (case, other) in [
            ("key", Proof::make(&key("b"), GREETING, &[b"one", b"two"])),
            ("label", Proof::make(&key("a"), farewell, &[b"one", b"two"])),
            (
                "bounds",
                Proof::make(&key("a"), GREETING, &[b"onet", b"wo"]),
            ),
            ("order", Proof::make(&key("a"), GREETING, &[b"two", b"one"])),
            (
                "number",
                Proof::make(&key("a"), GREETING, &[b"one", b"two", b""]),
            ),
        ] {
            assert!(!proof.is(other.bytes()), "{case}");
        }
        let from_file = Proof::make(&key("a\n"), GREETING, &[b"one", b"two"]);
        assert!(proof.is(from_file.bytes()), "a newline at the key's end");
        assert!(!proof.is(&proof.bytes()[..31]), "cut off");
        assert!(!proof.is(b""));
    }

    /// RFC 2104 over the bytes as they are documented, so that another implementation can follow.
    #[test]
    fn the_bytes_are_those_that_are_documented() {
        let documented = b"\0\0\0\0\0\0\0\x0bgreeting v1\0\0\0\0\0\0\0\x01x\0\0\0\0\0\0\0\0";
        assert_eq!(message(GREETING, &[b"x", b""]), documented);
        assert_eq!(Proof::make(&key("a"), GREETING, &[]).bytes().len(), 32);
    }
}
