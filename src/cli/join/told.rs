//! Tells in the log whose token is used: at `debug`, for `-v`.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::client::Token;

/// Tells subject and expiry of a token, as far as it can be read. Its signature is not looked at.
pub(crate) fn token(token: &Token) {
    let Some(claims) = claims(token.as_str()) else {
        tracing::debug!("the token cannot be read; `token inspect` says why");
        return;
    };
    let expires = claims["exp"].as_u64().and_then(|seconds| {
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(253_402_300_799)))
    });
    tracing::debug!(
        subject = claims["sub"].as_str(),
        expires = expires.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
        "token"
    );
}

fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    let json = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_says_is_read_and_garbage_is_not() {
        let token = Token::mint("key", "board 7");
        assert_eq!(claims(token.as_str()).expect("claims")["sub"], "board 7");
        for garbage in ["", "a.b.c", "...", "a.!.c"] {
            assert_eq!(claims(garbage), None, "{garbage}");
        }
    }
}
