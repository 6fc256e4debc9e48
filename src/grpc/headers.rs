//! What a gRPC call says in its headers (gRPC over HTTP/2, "Requests").

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use crate::splice::ending::Ending;

/// On a call that one router forwards to another: which process does.
pub const FORWARDED_BY: HeaderName = HeaderName::from_static("jumpstarter-router-forwarded-by");

/// On such a call and on its answer: proof that a router makes it.
pub const PROOF: HeaderName = HeaderName::from_static("jumpstarter-router-proof");

/// Between two routers, behind all messages: how the stream of the sender's own peer ended.
const ENDING: HeaderName = HeaderName::from_static("jumpstarter-router-ending");

/// Says to another router how the stream ended, as that one should see it.
pub fn set_ending(headers: &mut HeaderMap, ending: Ending) {
    if let Ok(text) = HeaderValue::try_from(ending.to_text()) {
        headers.insert(ENDING, text);
    }
}

/// What [`set_ending`] said.
pub fn ending(headers: &HeaderMap) -> Option<Ending> {
    Ending::from_text(headers.get(ENDING)?.to_str().ok()?)
}

/// The value in memory of its own. As HTTP/2 gives it, it keeps the whole block of headers it came in.
pub fn detached(value: &HeaderValue) -> HeaderValue {
    // What is a value stays one.
    let copy = HeaderValue::from_bytes(value.as_bytes());
    let mut copy = copy.unwrap_or(HeaderValue::from_static(""));
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// Whether the request is gRPC at all.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    kind.as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The caller's own deadline: up to eight digits and a unit. `None` if there is none or it cannot be read.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// How a caller compresses what it sends, and what it can read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encodings {
    /// `grpc-encoding`, unless it is identity.
    pub sends: Option<HeaderValue>,
    /// `grpc-accept-encoding`.
    pub accepts: Option<HeaderValue>,
}

/// A caller's messages are compressed in a way that its partner does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch;

impl Encodings {
    /// From a request's headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let sends = headers
            .get("grpc-encoding")
            .filter(|value| value.as_bytes() != b"identity");
        Self {
            sends: sends.map(detached),
            accepts: headers.get("grpc-accept-encoding").map(detached),
        }
    }

    /// The encoding to declare to `receiver` for what this caller sends: messages pass as they are.
    ///
    /// A caller that sends an encoding can read it, too, whether or not it says so.
    pub fn towards(&self, receiver: &Self) -> Result<Option<HeaderValue>, Mismatch> {
        let Some(encoding) = &self.sends else {
            return Ok(None);
        };
        let listed = receiver.accepts.as_ref().is_some_and(|list| {
            list.as_bytes()
                .split(|&byte| byte == b',')
                .any(|item| item.trim_ascii() == encoding.as_bytes())
        });
        if listed || receiver.sends.as_ref() == Some(encoding) {
            Ok(Some(encoding.clone()))
        } else {
            Err(Mismatch)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn content_types() {
        for (kind, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&headers(&[("content-type", kind)])), want, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn timeouts() {
        for (text, want) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("20m", Some(Duration::from_millis(20))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("123456789S", None),
            ("-1S", None),
            ("S", None),
            ("1", None),
            ("", None),
            ("1x", None),
        ] {
            let got = timeout(&headers(&[("grpc-timeout", text)]));
            // "S" has no digits at all: not a number.
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn encodings_pass_where_they_can_be_read() {
        let plain = Encodings::of(&headers(&[("grpc-encoding", "identity")]));
        let gzip = Encodings::of(&headers(&[("grpc-encoding", "gzip")]));
        let reader = Encodings::of(&headers(&[(
            "grpc-accept-encoding",
            "identity, deflate, gzip",
        )]));
        assert_eq!(plain.towards(&plain), Ok(None));
        assert_eq!(
            gzip.towards(&reader),
            Ok(Some(HeaderValue::from_static("gzip")))
        );
        assert_eq!(
            gzip.towards(&gzip),
            Ok(Some(HeaderValue::from_static("gzip")))
        );
        assert_eq!(gzip.towards(&plain), Err(Mismatch));
    }
}
