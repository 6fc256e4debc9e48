//! Tokens put together by hand, so that claims of every type get a good signature.

use aws_lc_rs::hmac::{self, Algorithm, HMAC_SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

pub const NOW: u64 = 1_900_000_000;
pub const LIMIT: usize = 4096;
pub const KEY: &[u8] = b"first-secret-first-secret-first-secret";
pub const OLD_KEY: &[u8] = b"older-secret-older-secret-older-secret";
pub const H256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The example of RFC 7515 appendix A.1: signed by others, so the HMAC is not only our own.
pub const RFC_KEY: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
pub const RFC_TOKEN: &str = concat!(
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9l",
    "eGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
);

pub fn sign(key: &[u8], algorithm: Algorithm, header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", B64.encode(header), B64.encode(payload));
    let signature = hmac::sign(&hmac::Key::new(algorithm, key), signed.as_bytes());
    format!("{signed}.{}", B64.encode(signature))
}

pub fn hs256(header: &str, payload: &str) -> String {
    sign(KEY, HMAC_SHA256, header.as_bytes(), payload.as_bytes())
}

pub fn claims() -> Value {
    json!({"iss": "https://jumpstarter.dev/stream", "aud": ["https://jumpstarter.dev/router"],
        "sub": "s", "jti": "j", "iat": NOW, "nbf": NOW, "exp": NOW + 1800})
}

/// Good claims with one of them replaced.
pub fn with(name: &str, value: impl Into<Value>) -> String {
    let mut claims = claims();
    claims[name] = value.into();
    hs256(H256, &claims.to_string())
}

/// Good claims with one of them written as this JSON text, also where no `Value` can hold it.
pub fn with_text(name: &str, text: &str) -> String {
    let payload = claims().to_string();
    let last = payload.strip_suffix('}').unwrap();
    hs256(H256, &format!("{last},\"{name}\":{text}}}"))
}

pub fn without(name: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    hs256(H256, &claims.to_string())
}

/// A good token under this header.
pub fn headed(header: &str) -> String {
    hs256(header, &claims().to_string())
}
