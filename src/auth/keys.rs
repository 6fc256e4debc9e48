//! Holds the secrets that tokens are signed with.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// A secret shorter than this many bytes is weaker than the HS256 signature it makes
/// (RFC 7518 section 3.2).
pub(crate) const RECOMMENDED_SECRET_LEN: usize = 32;

/// Gives the part of a secret that counts: all but one newline at its end, LF or CRLF.
///
/// Editors and `echo` put a newline there, into files as well as into Secrets, and upstream signs with whatever its
/// environment holds. So a newline makes no difference here, wherever the key comes from: what we sign is signed
/// without, and [`KeyRing`] accepts a secret that has one with it and without.
pub(crate) fn without_newline(secret: &[u8]) -> &[u8] {
    let bare = secret.strip_suffix(b"\n").unwrap_or(secret);
    if bare.len() == secret.len() {
        return bare;
    }
    bare.strip_suffix(b"\r").unwrap_or(bare)
}

/// Holds one named secret.
///
/// The bytes are used as they are, as upstream uses the value of its environment variable: they
/// are not base64. They are wiped from memory when the key is dropped.
#[derive(Clone)]
pub struct Key {
    name: String,
    /// As it was given, perhaps with a newline at its end.
    given: Zeroizing<Vec<u8>>,
}

impl Key {
    /// Makes a key with the name that logs and metrics show for it.
    pub fn new(name: impl Into<String>, secret: &[u8]) -> Self {
        Self {
            name: name.into(),
            given: Zeroizing::new(secret.to_vec()),
        }
    }

    /// Gives the name for logs and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the secret without a newline at its end.
    pub(super) fn secret(&self) -> &[u8] {
        without_newline(&self.given)
    }

    fn made(&self, signature: &Signature<'_>) -> bool {
        let bare = self.secret();
        signature.is_by(bare) || (bare.len() < self.given.len() && signature.is_by(&self.given))
    }

    /// Says how this key would have to differ to have made the signature.
    fn would_have_made(&self, signature: &Signature<'_>) -> Option<&'static str> {
        let bare = self.secret();
        let trimmed = bare.trim_ascii();
        let (newline, white_space) = (
            "with a newline at its end",
            "without the white space around it",
        );
        let candidates: [(_, &[u8], &[u8]); 4] = [
            (newline, bare, b"\n"),
            (newline, bare, b"\r\n"),
            (white_space, trimmed, b""),
            (white_space, trimmed, b"\n"),
        ];
        let made = |(_, text, end): &(_, &[u8], &[u8])| {
            let secret = Zeroizing::new([*text, *end].concat());
            !secret.is_empty() && signature.is_by(&secret)
        };
        let found = candidates.into_iter().find(made);
        found.map(|(difference, ..)| difference)
    }
}

/// Holds a signature, and what it is to be compared with.
pub(super) struct Signature<'s> {
    pub algorithm: hmac::Algorithm,
    /// What was signed.
    pub message: &'s [u8],
    pub bytes: Vec<u8>,
}

impl Signature<'_> {
    /// Tells whether this secret made it. They are compared in constant time; one of the wrong length does not match.
    fn is_by(&self, secret: &[u8]) -> bool {
        let key = hmac::Key::new(self.algorithm, secret);
        hmac::verify(&key, self.message, &self.bytes).is_ok()
    }
}

/// Names a key that differs from the one that signed a token in white space only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {difference} would match: give the router and the controller the same bytes")]
pub(crate) struct NearMiss {
    name: String,
    difference: &'static str,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Says why a set of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// There is no key, so every token would be refused.
    #[error("no token key is given: at least one is needed to admit a stream")]
    NoKeys,
    /// A key has no bytes. Upstream starts with one, and then anybody can sign tokens.
    #[error("token key {name:?} is empty: anybody could sign tokens with it")]
    EmptySecret {
        /// Which key that is.
        name: String,
    },
}

/// Holds the keys that are accepted, in the order they are tried.
///
/// With the current and the previous key in it, the controller's key can change while tokens
/// signed with the old one are still in use.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<Key>,
}

impl KeyRing {
    /// Makes a ring of these keys. Put the key in use first: it is tried first.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyRingError> {
        let keys: Vec<Key> = keys.into_iter().collect();
        if keys.is_empty() {
            return Err(KeyRingError::NoKeys);
        }
        if let Some(key) = keys.iter().find(|key| key.secret().is_empty()) {
            return Err(KeyRingError::EmptySecret {
                name: key.name.clone(),
            });
        }
        Ok(Self { keys })
    }

    /// Gives all keys, by index as in [`Admission::key`](super::Admission::key).
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Finds the key that made this signature, and gives its index.
    pub(super) fn signer_of(&self, signature: &Signature<'_>) -> Option<usize> {
        self.keys.iter().position(|key| key.made(signature))
    }

    /// Finds the first key that would have made this signature but for white space. None of them has made it.
    pub(super) fn near_miss(&self, signature: &Signature<'_>) -> Option<NearMiss> {
        self.keys.iter().find_map(|key| {
            Some(NearMiss {
                difference: key.would_have_made(signature)?,
                name: key.name.clone(),
            })
        })
    }
}
