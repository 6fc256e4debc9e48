//! Decides who may open a stream: checks the bearer token of a call by this crate's own rules.
//!
//! A token is a JWT (RFC 7519) in compact form (RFC 7515 section 7.1), signed with HMAC by the
//! controller. No crate for tokens is used: their usual defaults differ from the upstream router's in
//! ways that admit more, such as a minute of leeway on `exp`, no look at `iat`, `iss` and `aud` optional.
//!
//! What is admitted is what the upstream router (v0.9.0, golang-jwt v5) admits, with these
//! deliberate differences:
//!
//! * `sub` is required and not empty. Upstream accepts a token without one, so that all such
//!   tokens share one pairing slot.
//! * `nbf` and `iat` have an optional tolerance; upstream has none.
//! * Dates count to the fraction they are given with. Upstream rounds them down to whole seconds.
//! * Claim names are compared exactly, as RFC 7519 section 10.1.1 says; Go ignores their case.
//! * A date must be a JSON number (RFC 7519 section 2); Go also takes a number in quotes.
//! * Unpadded base64 must be canonical, and JSON must be valid UTF-8; Go repairs both silently.
//! * A token above a size limit is refused before anything of it is parsed.
//! * A key that ends in a newline admits tokens signed without that newline, too.
//!
//! Kept from upstream: `typ`, `crit` and claims without a meaning here are ignored, the last of
//! several members with one name counts, a `null` claim counts as absent.

mod bearer;
mod claims;
mod date;
mod inspect;
mod keys;
mod mint;
pub(crate) mod proof;
mod refusal;
mod rules;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use bearer::token as bearer;
pub(crate) use inspect::Inspection;
pub(crate) use keys::KeyRingError;
pub use keys::{Key, KeyRing};
pub(crate) use keys::{NearMiss, RECOMMENDED_SECRET_LEN, without_newline};
pub use mint::{Claims, mint};
pub(crate) use refusal::AlgorithmFault;
pub use refusal::Refusal;
pub use rules::{Admission, Rules};
pub(crate) use rules::{DEFAULT_AUDIENCE, DEFAULT_ISSUER};
