//! Takes a token apart for people, whether or not it is good.

use std::time::SystemTime;

use http::HeaderValue;
use serde_json::Value;

use super::{Admission, NearMiss, Refusal, Rules, bearer, claims, date, token};

/// Says what a token holds, and what is wrong with it. Nothing of it is vouched for but by `verdict`.
#[derive(Clone, Debug)]
pub(crate) struct Inspection {
    /// Its first part, which names the algorithm.
    pub header: Value,
    /// Its second part, whoever signed it.
    pub claims: Value,
    /// What the claims alone would be told, whoever signed them.
    pub claims_verdict: Result<(), Refusal>,
    /// What a router with these rules would say.
    pub verdict: Result<Admission, Refusal>,
    /// A key that would have made the signature but for white space at its ends, if none has made it.
    pub near_miss: Option<NearMiss>,
}

impl Inspection {
    /// Takes a token apart as it would be seen at `now`.
    ///
    /// # Errors
    ///
    /// It is no token at all.
    pub(crate) fn of(text: &str, rules: &Rules, now: SystemTime) -> Result<Self, Refusal> {
        rules.check_length(text)?;
        let parts = token::split(text)?;
        let payload = token::decode(parts.payload)?;
        let object = |bytes: &[u8]| {
            serde_json::from_slice(bytes)
                .ok()
                .filter(Value::is_object)
                .ok_or(Refusal::NotAToken(
                    "expected JSON objects as header and claims",
                ))
        };
        let header = HeaderValue::try_from(format!("Bearer {text}"));
        let header = header.map_err(|_| Refusal::MalformedHeader)?;
        let verdict = bearer::text(&header).and_then(|token| rules.check_token(token, now));
        let unsigned = verdict == Err(Refusal::Signature);
        Ok(Self {
            header: object(&token::decode(parts.header)?)?,
            claims: object(&payload)?,
            claims_verdict: claims::check(rules, &payload, Some(date::from_clock(now))).map(|_| ()),
            near_miss: unsigned.then(|| rules.near_miss(text)).flatten(),
            verdict,
        })
    }
}
