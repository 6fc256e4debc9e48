//! The secrets that tokens are signed with.

use std::fmt;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey};

/// A secret shorter than this many bytes is weaker than the HS256 signature it makes
/// (RFC 7518 section 3.2).
pub const RECOMMENDED_SECRET_LEN: usize = 32;

/// One named secret.
///
/// The bytes are used as they are, as upstream uses the value of its environment variable: they
/// are not base64. They are wiped from memory when the key is dropped.
#[derive(Clone)]
pub struct Key {
    name: String,
    len: usize,
    secret: DecodingKey,
}

impl Key {
    /// A key with the name that logs and metrics show for it.
    pub fn new(name: impl Into<String>, secret: &[u8]) -> Self {
        Self {
            name: name.into(),
            len: secret.len(),
            secret: DecodingKey::from_secret(secret),
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

    /// Whether the secret is shorter than [`RECOMMENDED_SECRET_LEN`].
    pub fn is_short(&self) -> bool {
        self.len < RECOMMENDED_SECRET_LEN
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
    ///
    /// The backend is named outright. `jsonwebtoken`'s process-wide default panics at first use
    /// when some other crate of the build turns its second backend on. Signatures are compared in
    /// constant time there; a signature that is too short or too long does not match.
    pub(super) fn signer_of(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> Option<usize> {
        self.keys.iter().position(|key| {
            (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm, &key.secret)
                .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
        })
    }
}
