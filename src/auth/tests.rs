//! Tests of what cannot be seen from outside, and of the way from mint to admission.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use serde_json::Number;

use super::{mint::LIFETIME, *};

const SECRET: &[u8] = b"an example of a secret, 32 bytes";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_900_000_000_250)
}

fn ring(secrets: &[&[u8]]) -> KeyRing {
    KeyRing::new(secrets.iter().map(|secret| Key::new("k", secret))).unwrap()
}

fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers
}

#[test]
fn minted_token_is_admitted_until_its_expiry() {
    let rules = Rules::new(ring(&[SECRET]));
    let headers = headers(&mint(SECRET, &Claims::new("stream-1", now())));
    let expires_at = UNIX_EPOCH + Duration::from_secs(1_900_000_000 + 1_800);

    let admission = rules.check(&headers, now()).unwrap();
    assert_eq!(&*admission.subject, "stream-1");
    assert_eq!(admission.expires_at, expires_at);
    assert_eq!(admission.key, 0);

    let last = expires_at - Duration::from_nanos(1);
    assert!(rules.check(&headers, last).is_ok());
    let by = Duration::ZERO;
    assert_eq!(
        rules.check(&headers, expires_at),
        Err(Refusal::Expired { by })
    );
}

#[test]
fn minted_claims_are_the_controllers() {
    let claims = serde_json::to_value(Claims::new("s", now())).unwrap();
    let mut names: Vec<_> = claims.as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"]);
    assert_eq!(claims["aud"], serde_json::json!([DEFAULT_AUDIENCE]));
    assert_eq!(claims["iat"], claims["nbf"]);
    assert_ne!(Claims::new("s", now()).jti, Claims::new("s", now()).jti);
    assert_eq!(Claims::new("s", UNIX_EPOCH - LIFETIME).iat, 0);
}

#[test]
fn key_index_tells_which_key_signed() {
    let token = headers(&mint(SECRET, &Claims::new("s", now())));
    let rules = Rules::new(ring(&[b"another", b"one more", SECRET]));
    assert_eq!(rules.check(&token, now()).unwrap().key, 2);
    let rules = Rules::new(ring(&[b"another"]));
    assert_eq!(rules.check(&token, now()), Err(Refusal::Signature));
}

/// A token signed with exactly these bytes.
fn signed(secret: &[u8]) -> HeaderMap {
    let token = mint(b"-", &Claims::new("s", now()));
    let (message, _) = token.rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    headers(&format!("{message}.{signature}"))
}

#[test]
fn a_newline_at_the_end_of_a_key_makes_no_difference() {
    let (bare, with) = (SECRET.to_vec(), [SECRET, b"\n"].concat());
    let dos = [SECRET, b"\r\n"].concat();
    for (key, signer, good) in [
        (&bare, &bare, true),
        (&with, &with, true),
        (&with, &bare, true),
        (&dos, &dos, true),
        (&dos, &bare, true),
        (&bare, &with, false),
        (&bare, &dos, false),
    ] {
        let rules = Rules::new(ring(&[b"another", key]));
        let (headers, key) = (signed(signer), key.escape_ascii());
        let found = rules.check(&headers, now()).map(|admission| admission.key);
        let expected = if good { Ok(1) } else { Err(Refusal::Signature) };
        assert_eq!(
            found,
            expected,
            "{key}, signed with {}",
            signer.escape_ascii()
        );
        let ours = mint(signer, &Claims::new("s", now()));
        assert!(rules.check(&self::headers(&ours), now()).is_ok());
    }
}

#[test]
fn a_key_that_differs_in_white_space_is_named() {
    let refusal = Refusal::Signature;
    let explained = |key: &[u8], signer: &[u8]| {
        let rules = Rules::new(ring(&[b"another", key]));
        let headers = signed(signer);
        assert_eq!(rules.check(&headers, now()), Err(refusal.clone()));
        rules.explain(&refusal, &headers).to_string()
    };
    let padded = [b" ", SECRET, b"\n\n"].concat();
    for (key, signer, said) in [
        (
            SECRET,
            [SECRET, b"\n"].concat(),
            "k with a newline at its end would match",
        ),
        (
            SECRET,
            [SECRET, b"\r\n"].concat(),
            "k with a newline at its end would match",
        ),
        (
            &padded,
            SECRET.to_vec(),
            "k without the white space around it would match",
        ),
        (
            &padded,
            [SECRET, b"\n"].concat(),
            "k without the white space around it",
        ),
    ] {
        let text = explained(key, &signer);
        assert!(text.contains(said), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    assert_eq!(explained(SECRET, b"quite another"), refusal.to_string());
    let rules = Rules::new(ring(&[SECRET]));
    let other = Refusal::MissingHeader;
    assert_eq!(
        rules.explain(&other, &HeaderMap::new()).to_string(),
        other.to_string()
    );
}

#[test]
fn ring_needs_keys_with_bytes() {
    assert_eq!(KeyRing::new([]).unwrap_err(), KeyRingError::NoKeys);
    let keys = [Key::new("good", SECRET), Key::new("old", b"")];
    let error = KeyRing::new(keys).unwrap_err();
    assert!(error.to_string().contains("\"old\""), "{error}");
    assert!(KeyRing::new([Key::new("old", b"\n")]).is_err());
}

#[test]
fn debug_names_keys_and_hides_secrets() {
    let text = format!("{:?}", Rules::new(ring(&[b"hush"])));
    assert!(text.contains("\"k\""), "{text}");
    assert!(!text.contains("hush") && !text.contains("104"), "{text}");
}

#[test]
fn clock_texts_say_how_far() {
    let text = |by| Refusal::NotYetValid { by }.to_string();
    let hint = "compare this machine's clock with the controller's";
    for (millis, shown) in [
        (0, "less than 1 ms"),
        (42, "42 ms"),
        (1_300, "1.3 s"),
        (3_600_000, "1h"),
    ] {
        let found = text(Duration::from_millis(millis));
        assert_eq!(
            found,
            format!("token is not valid for another {shown}: {hint}")
        );
    }
    assert!(text(Duration::MAX).ends_with(hint));
}

#[test]
fn dates_of_any_size_have_a_place() {
    let date = |text: &str| date::from_json(&text.parse::<Number>().unwrap()).unwrap();
    assert_eq!(date("1.5"), 1_500_000_000);
    assert_eq!(date("-1.5"), -1_500_000_000);
    assert_eq!(date("1900000000.25"), 1_900_000_000_250_000_000);
    assert_eq!(date("1e300"), i128::MAX);
    assert_eq!(date("-1e300"), i128::MIN);
    assert!(date("18446744073709551615") > date("9223372036854775807"));
    assert_eq!(date::between(i128::MIN, i128::MAX), Duration::MAX);
    assert_eq!(date::between(5, 3), Duration::ZERO);
    assert!(date::to_clock(i128::MAX) > now());
    assert_eq!(date::to_clock(-7), UNIX_EPOCH);
    assert_eq!(date::from_clock(UNIX_EPOCH - LIFETIME), date("-1800"));
}
