//! Proves to each other, for two routers between which a stream is forwarded, that they are routers.
//!
//! A router is believed how the stream of its own peer ended, so a peer must not be taken for one. What routers have and
//! peers have not is the key that signed the stream's token. The one that calls shows a [`Claim`]: a proof by that key
//! over its process id, the time, a nonce, and the token. So it cannot be made by who has only the token, is worth nothing
//! with another token, and not much later. The one that is called shows a proof over that claim, which so is fresh.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};

use crate::{
    auth::{
        Rules,
        proof::{Proof, Purpose},
    },
    common::since_epoch,
    grpc::headers::{FORWARDED_BY, PROOF},
};

const CLAIM: Purpose = Purpose("jumpstarter-router forwarded call v1");
const ANSWER: Purpose = Purpose("jumpstarter-router forwarded answer v1");

/// The clocks of two routers may differ this far, and a claim that somebody got hold of is good this long. Clocks that a
/// network keeps differ by milliseconds, and tokens are refused for less than this.
const TOLERANCE: Duration = Duration::from_secs(60);

/// Holds what the calling router shows, and what it wants to see for it.
#[derive(Debug)]
pub(crate) struct Claim {
    header: HeaderValue,
    answer: Proof,
}

impl Claim {
    /// Makes a claim; `None` if no key that is in use now has signed the token, as after a change of keys.
    pub(crate) fn new(
        rules: &Rules,
        authorization: &HeaderValue,
        process: &HeaderValue,
        now: SystemTime,
    ) -> Option<Self> {
        let (key, token) = rules.signer(authorization)?;
        let seconds = since_epoch(now).as_secs().to_string();
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let token = token.as_bytes();
        let fields = [
            process.as_bytes(),
            seconds.as_bytes(),
            nonce.as_bytes(),
            token,
        ];
        let proof = Proof::make(key, CLAIM, &fields);
        let proof = URL_SAFE_NO_PAD.encode(proof.bytes());
        let text = format!("{seconds}.{nonce}.{proof}");
        let answer = Proof::make(key, ANSWER, &[text.as_bytes(), token]);
        Some(Self {
            header: HeaderValue::try_from(text).ok()?,
            answer,
        })
    }

    /// Adds it to the call.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(PROOF, self.header.clone());
    }

    /// Checks whether the one that answered is a router.
    pub(crate) fn is_answered(&self, headers: &HeaderMap) -> Result<(), Unproven> {
        let answer = headers.get(PROOF).ok_or(Unproven::Missing)?;
        let answer = URL_SAFE_NO_PAD
            .decode(answer)
            .map_err(|_| Unproven::Wrong)?;
        self.answer.is(&answer).then_some(()).ok_or(Unproven::Wrong)
    }
}

/// Says why somebody is not believed to be a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unproven {
    #[error("it shows no proof: no router, or one of an older version")]
    Missing,
    #[error("its proof does not fit its token and process: no router, or one with other keys")]
    Wrong,
    #[error(
        "its proof is of another time: replayed, or the clocks of the two routers differ by more than {} s",
        TOLERANCE.as_secs()
    )]
    Stale,
}

/// Makes the answer to a call that says it is forwarded, if a router calls.
pub(crate) fn answer(
    rules: &Rules,
    headers: &HeaderMap,
    authorization: &HeaderValue,
    now: SystemTime,
) -> Result<HeaderValue, Unproven> {
    let claim = headers.get(PROOF).ok_or(Unproven::Missing)?;
    let process = headers.get(FORWARDED_BY).ok_or(Unproven::Missing)?;
    let text = claim.to_str().map_err(|_| Unproven::Wrong)?;
    let mut parts = text.splitn(3, '.');
    let (Some(time), Some(nonce), Some(proof)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Unproven::Wrong);
    };
    let (key, token) = rules.signer(authorization).ok_or(Unproven::Wrong)?;
    let token = token.as_bytes();
    let fields = [process.as_bytes(), time.as_bytes(), nonce.as_bytes(), token];
    let proof = URL_SAFE_NO_PAD.decode(proof).map_err(|_| Unproven::Wrong)?;
    if !Proof::make(key, CLAIM, &fields).is(&proof) {
        return Err(Unproven::Wrong);
    }
    let time: u64 = time.parse().map_err(|_| Unproven::Wrong)?;
    if time.abs_diff(since_epoch(now).as_secs()) > TOLERANCE.as_secs() {
        return Err(Unproven::Stale);
    }
    let answer = Proof::make(key, ANSWER, &[text.as_bytes(), token]);
    let answer = URL_SAFE_NO_PAD.encode(answer.bytes());
    HeaderValue::try_from(answer).map_err(|_| Unproven::Wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auth::{Claims, Key, KeyRing, mint};

    const KEY: &str = "a test's signing key, 32 bytes or more";

    fn rules(keys: &[&str]) -> Rules {
        let keys = keys.iter().map(|key| Key::new(*key, key.as_bytes()));
        Rules::new(KeyRing::new(keys).unwrap())
    }

    fn bearer(subject: &str) -> HeaderValue {
        let claims = Claims::new(subject, SystemTime::now());
        let token = mint(KEY.as_bytes(), &claims);
        HeaderValue::try_from(format!("Bearer {token}")).unwrap()
    }

    /// A forwarded call's headers, and what its router keeps.
    fn call(rules: &Rules, authorization: &HeaderValue, now: SystemTime) -> (HeaderMap, Claim) {
        let process = HeaderValue::from_static("1b9d6bcd");
        let claim = Claim::new(rules, authorization, &process, now).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_BY, process);
        claim.add_to(&mut headers);
        (headers, claim)
    }

    fn answered(claim: &Claim, answer: HeaderValue) -> Result<(), Unproven> {
        claim.is_answered(&HeaderMap::from_iter([(PROOF, answer)]))
    }

    #[test]
    fn routers_with_the_tokens_key_believe_each_other() {
        // The other one has changed its keys meanwhile, and has the old one still.
        let (here, there) = (rules(&[KEY, "old"]), rules(&["new", KEY]));
        let (token, now) = (bearer("x"), SystemTime::now());
        let (headers, claim) = call(&here, &token, now);
        let answer = answer(&there, &headers, &token, now).unwrap();
        assert_eq!(answered(&claim, answer), Ok(()));
        let none = Claim::new(
            &rules(&["new"]),
            &token,
            &HeaderValue::from_static("p"),
            now,
        );
        assert!(none.is_none(), "the token's key is gone");
    }

    #[test]
    fn a_claim_holds_for_its_token_its_process_and_its_time() {
        let (rules, token, now) = (rules(&[KEY]), bearer("x"), SystemTime::now());
        let (good, _) = call(&rules, &token, now);
        let heard = |headers: &HeaderMap, token: &HeaderValue, now| {
            answer(&rules, headers, token, now).map(drop)
        };
        assert_eq!(heard(&good, &bearer("y"), now), Err(Unproven::Wrong));
        let mut other = good.clone();
        other.insert(FORWARDED_BY, HeaderValue::from_static("another"));
        assert_eq!(heard(&other, &token, now), Err(Unproven::Wrong));
        let second = Duration::from_secs(1);
        for (later, verdict) in [
            (TOLERANCE, Ok(())),
            (TOLERANCE + second, Err(Unproven::Stale)),
        ] {
            assert_eq!(heard(&good, &token, now + later), verdict);
            assert_eq!(heard(&good, &token, now - later), verdict);
        }
        let mut none = good.clone();
        none.remove(PROOF);
        assert_eq!(heard(&none, &token, now), Err(Unproven::Missing));
        // The time is part of what is proved.
        let text = good[PROOF].to_str().unwrap();
        let (time, rest) = text.split_once('.').unwrap();
        let later: u64 = time.parse::<u64>().unwrap() + 1;
        for forged in [
            format!("{later}.{rest}"),
            format!("{time}.{rest}A"),
            time.to_owned(),
            format!("{time}..{}", "A".repeat(43)),
            String::new(),
        ] {
            let mut headers = good.clone();
            headers.insert(PROOF, HeaderValue::try_from(&forged).unwrap());
            assert_eq!(
                heard(&headers, &token, now),
                Err(Unproven::Wrong),
                "{forged}"
            );
        }
    }

    #[test]
    fn an_answer_holds_for_its_claim() {
        let (rules, token, now) = (rules(&[KEY]), bearer("x"), SystemTime::now());
        let (headers, _) = call(&rules, &token, now);
        let (_, other) = call(&rules, &token, now);
        let to_the_first = answer(&rules, &headers, &token, now).unwrap();
        assert_eq!(answered(&other, to_the_first), Err(Unproven::Wrong));
        // Nor is a claim an answer.
        let claim = headers[PROOF].clone();
        assert_eq!(answered(&other, claim), Err(Unproven::Wrong));
        let nothing = other.is_answered(&HeaderMap::new());
        assert_eq!(nothing, Err(Unproven::Missing));
    }
}
