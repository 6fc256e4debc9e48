//! Takes the token out of the call's `authorization` header.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::Refusal;

/// The scheme with the one space that ends it.
const SCHEME: &str = "Bearer ";

/// Gives the text after the scheme, exactly as sent.
///
/// Upstream compares the first seven bytes without regard to case (RFC 9110 section 11.1) and
/// takes the rest as it is: it trims nothing, so a second space becomes part of the token and the
/// token is refused later. Several values are refused and never joined (RFC 9110 section 5.3: a
/// sender must not repeat a field that is no list).
pub(crate) fn token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::MissingHeader)?;
    if values.next().is_some() {
        return Err(Refusal::SeveralHeaders);
    }
    text(value)
}

/// Takes the token out of one value of that header.
pub(super) fn text(value: &HeaderValue) -> Result<&str, Refusal> {
    let value = value.to_str().map_err(|_| Refusal::MalformedHeader)?;
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => Ok(token),
        _ => Err(Refusal::MalformedHeader),
    }
}
