//! Makes tokens as the controller does, for trials without a controller.

use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::{DEFAULT_AUDIENCE, DEFAULT_ISSUER, without_newline};
use crate::common::since_epoch;

/// How long upstream's controller lets a token live.
pub(super) const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Holds the claims of a router token: those upstream's controller sets, and no others.
///
/// The dates are whole seconds from the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Who made the token.
    pub iss: String,
    /// The id of the stream: the two tokens of a pair share it.
    pub sub: String,
    /// Whom the token is for.
    pub aud: Vec<String>,
    /// When the token's life ends.
    pub exp: u64,
    /// When the token's life begins.
    pub nbf: u64,
    /// When the token was made.
    pub iat: u64,
    /// What tells this token from all others.
    pub jti: String,
}

impl Claims {
    /// Makes claims for one stream, with upstream's issuer, audience and lifetime, and a fresh `jti`.
    ///
    /// A clock before 1970 counts as 1970.
    pub fn new(subject: impl Into<String>, now: SystemTime) -> Self {
        let now = since_epoch(now).as_secs();
        Self {
            iss: DEFAULT_ISSUER.to_owned(),
            sub: subject.into(),
            aud: vec![DEFAULT_AUDIENCE.to_owned()],
            exp: now.saturating_add(LIFETIME.as_secs()),
            nbf: now,
            iat: now,
            jti: uuid::Uuid::new_v4().to_string(),
        }
    }
}

/// Makes a token with these claims, signed with HS256 under the raw bytes of `key`, less a newline at its end.
///
/// # Panics
///
/// Not for any input: what could fail in general cannot fail for this type of claims.
pub fn mint(key: &[u8], claims: &Claims) -> String {
    let claims = serde_json::to_vec(claims).expect("strings and numbers are valid JSON");
    let mut token = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let key = hmac::Key::new(hmac::HMAC_SHA256, without_newline(key));
    let signature = hmac::sign(&key, token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}
