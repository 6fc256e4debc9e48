//! The secrets that tokens are signed with.

use std::fmt;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey};

/// A secret shorter than this many bytes is weaker than the HS256 signature it makes
/// (RFC 7518 section 3.2).
pub const RECOMMENDED_SECRET_LEN: usize = 32;

/// The part of a secret that makes it: all but one newline at its end, LF or CRLF.
///
/// Editors and `echo` put a newline there, into files as well as into Secrets, and upstream signs with whatever its
/// environment holds. So a newline makes no difference here, wherever the key comes from: what we sign is signed
/// without, and [`KeyRing`] accepts a secret that has one with it and without.
pub fn without_newline(secret: &[u8]) -> &[u8] {
    let bare = secret.strip_suffix(b"\n").unwrap_or(secret);
    if bare.len() == secret.len() {
        return bare;
    }
    bare.strip_suffix(b"\r").unwrap_or(bare)
}

/// One named secret.
///
/// The bytes are used as they are, as upstream uses the value of its environment variable: they
/// are not base64. They are wiped from memory when the key is dropped.
#[derive(Clone)]
pub struct Key {
    name: String,
    /// Without a newline at its end.
    secret: DecodingKey,
    /// With the newline, if it has one.
    with_newline: Option<DecodingKey>,
    len: usize,
}

impl Key {
    /// A key with the name that logs and metrics show for it.
    pub fn new(name: impl Into<String>, secret: &[u8]) -> Self {
        let bare = without_newline(secret);
        let has_newline = bare.len() < secret.len();
        Self {
            name: name.into(),
            secret: DecodingKey::from_secret(bare),
            with_newline: has_newline.then(|| DecodingKey::from_secret(secret)),
            len: bare.len(),
        }
    }

    /// The name given to [`Key::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The secret itself.
    pub(super) fn secret(&self) -> &[u8] {
        // Fails only for keys that are no secret.
        self.secret.try_get_as_bytes().unwrap_or_default()
    }

    fn made(&self, signature: &Signature<'_>) -> bool {
        let forms = [Some(&self.secret), self.with_newline.as_ref()];
        forms
            .into_iter()
            .flatten()
            .any(|secret| signature.is_by(secret))
    }

    /// How this key would have to differ to have made the signature.
    fn would_have_made(&self, signature: &Signature<'_>) -> Option<Difference> {
        let bare = self.secret.try_get_as_bytes().unwrap_or_default();
        let trimmed = bare.trim_ascii();
        let newline = |text: &[u8]| [text, b"\n"].concat();
        let candidates = [
            (Difference::Newline, newline(bare)),
            (Difference::Newline, [bare, b"\r\n"].concat()),
            (Difference::WhiteSpace, trimmed.to_vec()),
            (Difference::WhiteSpace, newline(trimmed)),
        ];
        let made = |(_, secret): &(_, Vec<u8>)| {
            !secret.is_empty() && signature.is_by(&DecodingKey::from_secret(secret))
        };
        let found = candidates.into_iter().find(made);
        found.map(|(difference, _)| difference)
    }
}

/// A signature, and what it is to be compared with.
pub(super) struct Signature<'s> {
    pub algorithm: Algorithm,
    /// What was signed.
    pub message: &'s [u8],
    pub bytes: &'s Vec<u8>,
}

impl Signature<'_> {
    /// Whether this secret made it.
    ///
    /// The backend is named outright. `jsonwebtoken`'s process-wide default panics at first use
    /// when some other crate of the build turns its second backend on. Signatures are compared in
    /// constant time there; a signature that is too short or too long does not match.
    fn is_by(&self, secret: &DecodingKey) -> bool {
        (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&self.algorithm, secret)
            .is_ok_and(|verifier| verifier.verify(self.message, self.bytes).is_ok())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    Newline,
    WhiteSpace,
}

/// A key that differs from the one that signed a token in white space only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    name: String,
    difference: Difference,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.difference {
            Difference::Newline => "with a newline at its end",
            Difference::WhiteSpace => "without the white space around it",
        };
        write!(
            f,
            "{} {what} would match: give the router and the controller the same bytes",
            self.name
        )
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why a set of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// No key at all: every token would be refused.
    #[error("no token key is given: at least one is needed to admit a stream")]
    NoKeys,
    /// A key with no bytes. Upstream starts with one, and then anybody can sign tokens.
    #[error("token key {name:?} is empty: anybody could sign tokens with it")]
    EmptySecret {
        /// The name of the empty key.
        name: String,
    },
}

/// The keys that are accepted, in the order they are tried.
///
/// With the current and the previous key in it, the controller's key can change while tokens
/// signed with the old one are still in use.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<Key>,
}

impl KeyRing {
    /// A ring of these keys. Put the key in use first: it is tried first.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyRingError> {
        let keys: Vec<Key> = keys.into_iter().collect();
        if keys.is_empty() {
            return Err(KeyRingError::NoKeys);
        }
        if let Some(key) = keys.iter().find(|key| key.len == 0) {
            return Err(KeyRingError::EmptySecret {
                name: key.name.clone(),
            });
        }
        Ok(Self { keys })
    }

    /// All keys, by index as in [`Admission::key`](super::Admission::key).
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The index of the key that made this signature.
    pub(super) fn signer_of(&self, signature: &Signature<'_>) -> Option<usize> {
        self.keys.iter().position(|key| key.made(signature))
    }

    /// The first key that would have made this signature, which none of them has made, but for white space.
    pub(super) fn near_miss(&self, signature: &Signature<'_>) -> Option<NearMiss> {
        self.keys.iter().find_map(|key| {
            Some(NearMiss {
                difference: key.would_have_made(signature)?,
                name: key.name.clone(),
            })
        })
    }
}
