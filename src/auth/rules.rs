//! Checks a call, from its headers to the admitted subject.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

use super::keys::NearMiss;
use super::{Key, KeyRing, Refusal, bearer, claims, date, token};

/// The issuer upstream's controller writes and its router asks for.
pub(crate) const DEFAULT_ISSUER: &str = "https://jumpstarter.dev/stream";

/// The audience upstream's controller writes and its router asks for.
pub(crate) const DEFAULT_AUDIENCE: &str = "https://jumpstarter.dev/router";

/// A controller's token has about 400 bytes; this leaves room for claims to come.
pub(super) const DEFAULT_MAX_TOKEN_SIZE: usize = 8 * 1024;

/// Says what a call must show to be admitted.
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

/// Says what is known of a call that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The token's `sub`, by which two streams are paired. Never empty.
    pub subject: Arc<str>,
    /// The token's `exp`. Times after the year 9999 are given as its end.
    pub expires_at: SystemTime,
    /// Index in [`KeyRing::keys`] of the key that signed the token.
    pub key: usize,
}

impl Rules {
    /// Makes the upstream router's rules with these keys: its issuer and audience, no tolerance.
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
        self.check_token(bearer::token(headers)?, now)
    }

    /// Checks a token alone.
    pub(crate) fn check_token(&self, token: &str, now: SystemTime) -> Result<Admission, Refusal> {
        self.check_at(token, Some(now))
    }

    /// Checks the `authorization` header of a call whose token another router has admitted: all but its dates, as it was
    /// good once, and clocks differ.
    pub(crate) fn check_undated(&self, headers: &HeaderMap) -> Result<Admission, Refusal> {
        self.check_at(bearer::token(headers)?, None)
    }

    fn check_at(&self, token: &str, now: Option<SystemTime>) -> Result<Admission, Refusal> {
        self.check_length(token)?;
        let parts = token::split(token)?;
        let signature = token::signature(&parts)?;
        let payload = token::decode(parts.payload)?;
        let key = self.keys.signer_of(&signature);
        let key = key.ok_or(Refusal::Signature)?;
        let (subject, expiry) = claims::check(self, &payload, now.map(date::from_clock))?;
        Ok(Admission {
            subject: subject.into(),
            expires_at: date::to_clock(expiry),
            key,
        })
    }

    pub(super) fn check_length(&self, token: &str) -> Result<(), Refusal> {
        let (found, limit) = (token.len(), self.max_token_size);
        if found > limit {
            return Err(Refusal::TokenTooLong { found, limit });
        }
        Ok(())
    }

    /// Finds the key that signed the token in this `authorization` header, and the token, whatever its claims say: for a
    /// call that was admitted.
    pub fn signer<'a>(&self, authorization: &'a HeaderValue) -> Option<(&Key, &'a str)> {
        let token = bearer::text(authorization).ok()?;
        let signature = token::signature(&token::split(token).ok()?).ok()?;
        let key = self.keys.signer_of(&signature)?;
        Some((&self.keys.keys()[key], token))
    }

    /// Says more about a call that [`check`](Self::check) has refused: if no key made the signature, also which one
    /// would have but for white space at its ends. That costs as much as trying four more keys for each one, so it is
    /// found out when it is written down.
    pub fn explain<'a>(&'a self, refusal: &'a Refusal, headers: &'a HeaderMap) -> Explained<'a> {
        Explained {
            rules: self,
            refusal,
            headers,
        }
    }

    /// Finds the key that would have made a token's signature but for white space at its ends.
    pub(super) fn near_miss(&self, token: &str) -> Option<NearMiss> {
        let signature = token::signature(&token::split(token).ok()?).ok()?;
        self.keys.near_miss(&signature)
    }
}

/// Puts a refusal into words, see [`Rules::explain`].
#[derive(Debug)]
pub struct Explained<'a> {
    rules: &'a Rules,
    refusal: &'a Refusal,
    headers: &'a HeaderMap,
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.refusal)?;
        let token = bearer::token(self.headers).ok();
        let miss = token.filter(|_| *self.refusal == Refusal::Signature);
        match miss.and_then(|token| self.rules.near_miss(token)) {
            Some(miss) => write!(f, "; {miss}"),
            None => Ok(()),
        }
    }
}
