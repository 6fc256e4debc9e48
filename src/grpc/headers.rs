//! What a gRPC call says in its headers (gRPC over HTTP/2, "Requests").

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use thiserror::Error;

use crate::splice::ending::{Cause, Ending};

/// Names the process that forwards the call, on a call that one router makes to another.
pub(crate) const FORWARDED_BY: HeaderName =
    HeaderName::from_static("jumpstarter-router-forwarded-by");

/// Proves that a router makes such a call, or answers it.
pub(crate) const PROOF: HeaderName = HeaderName::from_static("jumpstarter-router-proof");

/// Names the half that a router calls for at another router, where that waits.
pub(crate) const TICKET: HeaderName = HeaderName::from_static("jumpstarter-router-ticket");

/// Says in the trailers of a stream that broke off what happened, as the one who reads it sees it.
///
/// Routers that forward streams tell each other how the streams of their own peers ended, as the other's peer sees it, and
/// believe it only with a proof.
pub(crate) const ENDING: HeaderName = HeaderName::from_static("jumpstarter-router-ending");

/// Says how the stream ended. A good end needs no words.
pub(crate) fn set_ending(headers: &mut HeaderMap, ending: Ending) {
    if ending.cause != Cause::Completed
        && let Ok(text) = HeaderValue::try_from(ending.to_text())
    {
        headers.insert(ENDING, text);
    }
}

/// Reads what [`set_ending`] said to another router, unless that is nothing that a router says to one.
///
/// Least of all that the peer of this side is gone: that one has to get what was accepted for it.
pub(crate) fn ending(headers: &HeaderMap) -> Option<Ending> {
    let ending = Ending::from_text(headers.get(ENDING)?.to_str().ok()?)?;
    Some(ending).filter(|ending| ending.for_other().can_be_told())
}

/// Copies the value to memory of its own. As HTTP/2 gives it, it keeps the whole block of headers it came in.
pub(crate) fn detached(value: &HeaderValue) -> HeaderValue {
    // What is a value stays one.
    let copy = HeaderValue::from_bytes(value.as_bytes());
    let mut copy = copy.unwrap_or(HeaderValue::from_static(""));
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// Tells whether the request is gRPC at all.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    kind.as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Reads the caller's own deadline: one to eight digits and a unit. `None` if there is none.
///
/// What cannot be read is refused with grpc-go's texts (1.80, `decodeTimeout`). Of several the last counts, if all can be
/// read.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, MalformedTimeout> {
    let mut last = None;
    for value in headers.get_all("grpc-timeout") {
        last = Some(decode_timeout(value.as_bytes())?);
    }
    Ok(last)
}

fn decode_timeout(text: &[u8]) -> Result<Duration, MalformedTimeout> {
    /// So much of a long one is quoted.
    const QUOTED: usize = 32;
    let quoted =
        |part: &[u8]| String::from_utf8_lossy(&part[..part.len().min(QUOTED)]).into_owned();
    let wrong = |what| MalformedTimeout(format!("transport: timeout {what}: {:?}", quoted(text)));
    let Some((unit, digits)) = text.split_last().filter(|(_, digits)| !digits.is_empty()) else {
        return Err(wrong("string is too short"));
    };
    if digits.len() > 8 {
        return Err(wrong("string is too long"));
    }
    let unit: fn(u64) -> Duration = match unit {
        b'H' => |hours| Duration::from_secs(hours * 3600),
        b'M' => |minutes| Duration::from_secs(minutes * 60),
        b'S' => Duration::from_secs,
        b'm' => Duration::from_millis,
        b'u' => Duration::from_micros,
        b'n' => Duration::from_nanos,
        _ => return Err(wrong("unit is not recognized")),
    };
    let number = digits.iter().try_fold(0, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number * 10 + digit)
    });
    let parsing = || {
        format!(
            "strconv.ParseUint: parsing {:?}: invalid syntax",
            quoted(digits)
        )
    };
    let number = number.ok_or_else(|| MalformedTimeout(parsing()))?;
    Ok(unit(number))
}

/// Says what is wrong with a `grpc-timeout`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("malformed grpc-timeout: {0}")]
pub(crate) struct MalformedTimeout(String);

/// Says how a caller compresses what it sends, and what it can read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encodings {
    /// `grpc-encoding`, unless it is identity.
    pub sends: Option<HeaderValue>,
    /// `grpc-accept-encoding`.
    pub accepts: Option<HeaderValue>,
}

/// A caller's messages are compressed in a way that its partner does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch;

impl Encodings {
    /// Reads them from a request's headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let sends = headers
            .get("grpc-encoding")
            .filter(|value| value.as_bytes() != b"identity");
        Self {
            sends: sends.map(detached),
            accepts: headers.get("grpc-accept-encoding").map(detached),
        }
    }

    /// Gives the encoding to declare to `receiver` for what this caller sends: messages pass as they are.
    ///
    /// A caller that sends an encoding can read it, too, whether or not it says so.
    pub(crate) fn towards(&self, receiver: &Self) -> Result<Option<HeaderValue>, Mismatch> {
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
    fn a_router_cannot_say_that_the_peer_of_this_one_is_gone() {
        for cause in Cause::samples().split_off(1) {
            for ending in [Ending::from(cause), Ending::from(cause).for_other()] {
                let mut said = HeaderMap::new();
                set_ending(&mut said, ending);
                let gone = matches!(cause, Cause::Cancelled | Cause::Lost | Cause::Memory);
                let expected = Some(ending).filter(|_| !(gone && ending.other));
                assert_eq!(super::ending(&said), expected);
            }
        }
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
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("0S", Duration::ZERO),
            ("20m", Duration::from_millis(20)),
            ("00000007u", Duration::from_micros(7)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            let got = timeout(&headers(&[("grpc-timeout", text)]));
            assert_eq!(got, Ok(Some(want)), "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn timeouts_that_cannot_be_read() {
        for (text, want) in [
            ("", r#"transport: timeout string is too short: """#),
            ("S", r#"transport: timeout string is too short: "S""#),
            ("1", r#"transport: timeout string is too short: "1""#),
            (
                "123456789S",
                r#"transport: timeout string is too long: "123456789S""#,
            ),
            ("1x", r#"transport: timeout unit is not recognized: "1x""#),
            ("10", r#"transport: timeout unit is not recognized: "10""#),
            ("-1S", r#"strconv.ParseUint: parsing "-1": invalid syntax"#),
            ("+1S", r#"strconv.ParseUint: parsing "+1": invalid syntax"#),
            (
                "1.5S",
                r#"strconv.ParseUint: parsing "1.5": invalid syntax"#,
            ),
            (" 1S", r#"strconv.ParseUint: parsing " 1": invalid syntax"#),
        ] {
            let error = timeout(&headers(&[("grpc-timeout", text)])).err();
            let error = error.map(|error| error.to_string());
            assert_eq!(error, Some(format!("malformed grpc-timeout: {want}")));
        }
        let mut several = headers(&[("grpc-timeout", "1S")]);
        several.append("grpc-timeout", HeaderValue::from_static("2S"));
        assert_eq!(timeout(&several), Ok(Some(Duration::from_secs(2))));
        several.append("grpc-timeout", HeaderValue::from_static("2s"));
        several.append("grpc-timeout", HeaderValue::from_static("3S"));
        assert!(timeout(&several).is_err());
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
