//! Which tokens are admitted: a table of cases, and properties for everything else.

mod cases;
mod forge;

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::HMAC_SHA256;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use http::{HeaderMap, HeaderValue};
use jumpstarter_router::inside::auth::{Admission, Key, KeyRing, Refusal, Rules};
use proptest::prelude::*;
use serde_json::{Value, json};

use forge::*;

const PREFIX: &str = "missing or invalid authorization: rpc error: code = ";

fn rules(leeway: u64) -> Rules {
    let rfc_key = B64.decode(RFC_KEY).unwrap();
    let keys = [("new", KEY), ("old", OLD_KEY), ("rfc", &rfc_key)];
    let keys = KeyRing::new(keys.map(|(name, secret)| Key::new(name, secret))).unwrap();
    let mut rules = Rules::new(keys);
    rules.leeway = Duration::from_secs(leeway);
    rules.max_token_size = LIMIT;
    rules
}

fn headers<V: AsRef<[u8]>>(values: &[V]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        if let Ok(value) = HeaderValue::from_bytes(value.as_ref()) {
            headers.append("authorization", value);
        }
    }
    headers
}

fn clock(millis: i64) -> SystemTime {
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let span = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { now - span } else { now + span }
}

/// What upstream v0.9.0 answers.
fn upstream_text(cause: &str) -> String {
    match cause {
        "missing_header" => format!("{PREFIX}Unauthenticated desc = missing authorization header"),
        "several_headers" => {
            format!("{PREFIX}InvalidArgument desc = multiple authorization headers")
        }
        "malformed_header" => {
            format!("{PREFIX}InvalidArgument desc = malformed authorization header")
        }
        _ => "invalid jwt token".to_owned(),
    }
}

#[test]
fn every_case_ends_as_upstream_says() {
    let cases = cases::all();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let names: HashSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "case names are not unique");

    let (mut wrong, mut seen) = (Vec::new(), HashSet::new());
    for case in &cases {
        let found = rules(case.leeway).check(&headers(&case.values), clock(case.clock));
        let shown = match &found {
            Ok(admission) => Ok(admission.subject.to_string()),
            Err(refusal) => Err((refusal.message().to_owned(), refusal.cause())),
        };
        let expected = case.expected.map(str::to_owned);
        let expected = expected.map_err(|cause| (upstream_text(cause), cause));
        if shown != expected {
            wrong.push(format!(
                "{}: expected {expected:?}, found {found:?}",
                case.name
            ));
        }
        seen.extend(found.err().map(|refusal| refusal.cause()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known = Refusal::CAUSES.iter().copied().collect();
    assert_eq!(seen, known, "known without a case");
}

#[test]
fn admission_tells_key_and_expiry() {
    let token = sign(
        OLD_KEY,
        HMAC_SHA256,
        H256.as_bytes(),
        claims().to_string().as_bytes(),
    );
    let headers = headers(&[format!("Bearer {token}")]);
    let expires_at = UNIX_EPOCH + Duration::from_secs(NOW + 1800);
    let expected = Admission {
        subject: "s".into(),
        expires_at,
        key: 1,
    };
    assert_eq!(rules(0).check(&headers, clock(0)), Ok(expected));
}

/// No panic, a known cause, and none of `secrets` in what is logged.
fn check_quietly(values: &[impl AsRef<[u8]>], secrets: &[&str]) -> Result<(), TestCaseError> {
    let outcome = rules(5).check(&headers(values), clock(0));
    if let Err(refusal) = outcome {
        prop_assert!(Refusal::CAUSES.contains(&refusal.cause()));
        let logged = format!("{refusal} {refusal:?} {}", refusal.message());
        for secret in secrets
            .iter()
            .chain([&"-secret-"])
            .filter(|text| !text.is_empty())
        {
            prop_assert!(!logged.contains(*secret), "{logged}");
        }
    }
    Ok(())
}

/// Any JSON, with texts that can be told from the log's own words.
fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "leak[ -~]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(Value::from)
    })
}

proptest! {
    #[test]
    fn any_header_bytes_are_borne(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..3)) {
        check_quietly(&values, &[])?;
    }

    #[test]
    fn any_text_after_the_scheme_is_borne(parts in prop::collection::vec("leak[A-Za-z0-9_.=-]{0,40}", 1..5)) {
        let token = parts.join(".");
        check_quietly(&[format!("Bearer {token}")], &["leak", &token])?;
    }

    #[test]
    fn any_signed_bytes_are_borne(header in any::<Vec<u8>>(), payload in any::<Vec<u8>>(), good in any::<bool>()) {
        let header = if good { H256.as_bytes() } else { &header };
        let token = sign(KEY, HMAC_SHA256, header, &payload);
        check_quietly(&[format!("Bearer {token}")], &[&token])?;
    }

    #[test]
    fn any_signed_claims_are_borne(alg in "leak[ -~]{0,9}", claim in 0..7_usize, value in odd_json(), good in any::<bool>()) {
        let name = ["iss", "aud", "sub", "jti", "exp", "nbf", "iat"][claim];
        let mut claims = claims();
        claims[name] = value;
        let header = if good { H256.to_owned() } else { json!({ "alg": alg }).to_string() };
        let token = hs256(&header, &claims.to_string());
        let parts: Vec<&str> = token.split('.').chain(["leak", &token]).collect();
        check_quietly(&[format!("Bearer {token}")], &parts)?;
    }
}

#[test]
fn log_texts_name_what_was_expected() {
    let refused = |token: String| -> Refusal {
        rules(0)
            .check(&headers(&[format!("Bearer {token}")]), clock(0))
            .unwrap_err()
    };
    for (refusal, text) in [
        (
            refused(headed(r#"{"alg":"none"}"#)),
            "token's algorithm is not accepted: expected HS256, HS384 or HS512, found none",
        ),
        (
            refused(with("iss", "x")),
            "token's issuer is another one: expected \"https://jumpstarter.dev/stream\"",
        ),
        (
            refused(with("exp", "x")),
            "token's \"exp\" claim has the wrong type: expected a number of seconds since 1970",
        ),
        (
            refused(with("nbf", 1_900_000_001.3)),
            "token is not valid for another 1.3 s: compare this machine's clock with the controller's",
        ),
    ] {
        assert_eq!(refusal.to_string(), text);
    }
}
