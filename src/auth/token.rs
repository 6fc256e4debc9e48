//! Reads the outer form of a token: three parts, base64, JSON, algorithm.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{AlgorithmFault, Refusal, keys::Signature};

/// Holds the parts of a token, nothing of which is checked yet.
pub(super) struct Parts<'a> {
    /// Header and payload with the dot between them: what the signature covers.
    pub signed: &'a str,
    /// The first part, in base64.
    pub header: &'a str,
    /// The second part, in base64.
    pub payload: &'a str,
    /// The third part, in base64.
    pub signature: &'a str,
}

/// Splits the compact form at its dots (RFC 7515 section 7.1: exactly two).
pub(super) fn split(token: &str) -> Result<Parts<'_>, Refusal> {
    const SHAPE: Refusal = Refusal::NotAToken("expected three parts with dots between them");
    let (signed, signature) = token.rsplit_once('.').ok_or(SHAPE)?;
    let (header, payload) = signed.split_once('.').ok_or(SHAPE)?;
    if payload.contains('.') {
        return Err(SHAPE);
    }
    Ok(Parts {
        signed,
        header,
        payload,
        signature,
    })
}

/// Reads the signature, with what it covers and the algorithm that the header names.
pub(super) fn signature<'a>(parts: &Parts<'a>) -> Result<Signature<'a>, Refusal> {
    Ok(Signature {
        algorithm: algorithm(&decode(parts.header)?)?,
        message: parts.signed.as_bytes(),
        bytes: decode(parts.signature)?,
    })
}

/// Decodes one part (RFC 7515 section 2: base64url without padding).
///
/// Only the canonical form passes. Go also ignores leftover bits in the last character; no
/// encoder sets them, so this refuses nothing but forged variants of one token.
pub(super) fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refusal::NotAToken("expected base64url without padding"))
}

/// Reads the algorithm that a header names, if it is one of the three accepted.
///
/// The list is fixed here and no key is chosen by the token, so a token cannot talk the router
/// into "none" or into using the secret as a public key (RFC 8725 section 3.1). All other header
/// members, `typ` and `crit` among them, are ignored as golang-jwt ignores them.
fn algorithm(header: &[u8]) -> Result<hmac::Algorithm, Refusal> {
    const OTHERS: [&str; 13] = [
        "none", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
        "ES256K", "EdDSA", "Ed25519",
    ];
    let fault = match members(header, ["alg"])? {
        [None] => AlgorithmFault::Missing,
        [Some(Value::String(name))] => match name.as_str() {
            "HS256" => return Ok(hmac::HMAC_SHA256),
            "HS384" => return Ok(hmac::HMAC_SHA384),
            "HS512" => return Ok(hmac::HMAC_SHA512),
            other => OTHERS
                .into_iter()
                .find(|known| *known == other)
                .map_or(AlgorithmFault::Unknown, AlgorithmFault::Known),
        },
        [Some(_)] => AlgorithmFault::NotText,
    };
    Err(Refusal::Algorithm(fault))
}

/// Reads some members of a JSON object, in the order of `names`.
///
/// Of several members with one name the last counts (one of the two ways RFC 7519 section 4
/// allows, and what Go does). The others are skipped without being built, however large or deep.
/// `null` counts as absent, as in Go.
pub(super) fn members<const N: usize>(
    json: &[u8],
    names: [&'static str; N],
) -> Result<[Option<Value>; N], Refusal> {
    const OBJECT: Refusal = Refusal::NotAToken("expected JSON objects as header and claims");
    let mut json = serde_json::Deserializer::from_slice(json);
    let found = json.deserialize_map(Members(names)).map_err(|_| OBJECT)?;
    json.end().map_err(|_| OBJECT)?;
    Ok(found)
}

struct Members<const N: usize>([&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<N> {
    type Value = [Option<Value>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [const { None }; N];
        while let Some(name) = map.next_key::<String>()? {
            match self.0.iter().position(|wanted| *wanted == name) {
                Some(index) => found[index] = map.next_value::<Option<Value>>()?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}
