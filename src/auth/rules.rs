//! The whole check of a call, from its headers to the admitted subject.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

use super::{Key, KeyRing, Refusal, bearer, claims, date, token};

/// The issuer upstream's controller writes and its router asks for.
pub const DEFAULT_ISSUER: &str = "https://jumpstarter.dev/stream";

/// The audience upstream's controller writes and its router asks for.
pub const DEFAULT_AUDIENCE: &str = "https://jumpstarter.dev/router";

/// A controller's token has about 400 bytes; this leaves room for claims to come.
pub const DEFAULT_MAX_TOKEN_SIZE: usize = 8 * 1024;

/// What a call must show to be admitted.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The `iss` claim must be this.
    pub issuer: String,
    /// The `aud` claim must be this or a list with this in it.
    pub audience: String,
    /// How far `nbf` and `iat` may lie in the future. It never lengthens the life of a token:
    /// `exp` is compared without it.
    pub leeway: Duration,
    /// Longer tokens, in bytes and without the scheme, are refused unread.
    pub max_token_size: usize,
    /// The keys a token may be signed with.
    pub keys: KeyRing,
}

/// A call that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The token's `sub`, on which two streams are paired. Never empty.
    pub subject: Arc<str>,
    /// The token's `exp`. Times after the year 9999 are given as its end.
    pub expires_at: SystemTime,
    /// Index in [`KeyRing::keys`] of the key that signed the token.
    pub key: usize,
}

impl Rules {
    /// The upstream router's rules with these keys: its issuer and audience, no tolerance.
    pub fn new(keys: KeyRing) -> Self {
        Self {
            issuer: DEFAULT_ISSUER.to_owned(),
            audience: DEFAULT_AUDIENCE.to_owned(),
            leeway: Duration::ZERO,
            max_token_size: DEFAULT_MAX_TOKEN_SIZE,
            keys,
        }
    }

    /// Checks the `authorization` header of a call that arrived at `now`.
    ///
    /// The claims are parsed only after a key has vouched for them, so that nobody without a key
    /// reaches more code than the split, the base64 and the short header.
    pub fn check(&self, headers: &HeaderMap, now: SystemTime) -> Result<Admission, Refusal> {
        let token = bearer::token(headers)?;
        if token.len() > self.max_token_size {
            return Err(Refusal::TokenTooLong {
                found: token.len(),
                limit: self.max_token_size,
            });
        }
        let parts = token::split(token)?;
        let algorithm = token::algorithm(&token::decode(parts.header)?)?;
        let payload = token::decode(parts.payload)?;
        let signature = token::decode(parts.signature)?;
        let key = self
            .keys
            .signer_of(algorithm, parts.signed.as_bytes(), &signature)
            .ok_or(Refusal::Signature)?;
        let (subject, expiry) = claims::check(self, &payload, date::from_clock(now))?;
        Ok(Admission {
            subject: subject.into(),
            expires_at: date::to_clock(expiry),
            key,
        })
    }

    /// The key that signed the token in this `authorization` header, and the token, whatever its claims say: for a call
    /// that was admitted.
    pub fn signer<'a>(&self, authorization: &'a HeaderValue) -> Option<(&Key, &'a str)> {
        let token = bearer::text(authorization).ok()?;
        let parts = token::split(token).ok()?;
        let algorithm = token::algorithm(&token::decode(parts.header).ok()?).ok()?;
        let signature = token::decode(parts.signature).ok()?;
        let signed = parts.signed.as_bytes();
        let key = self.keys.signer_of(algorithm, signed, &signature)?;
        Some((&self.keys.keys()[key], token))
    }
}
