//! Why a call was not admitted: what the peer, the log and the metrics are told.

use std::fmt;
use std::time::Duration;

/// Says what a token names as its signature algorithm instead of HS256, HS384 or HS512.
///
/// Only names from the public registry (RFC 7518 section 3.1) are kept; anything else is the
/// sender's text and does not get into logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlgorithmFault {
    /// The token's header has no `alg`.
    #[error("none at all")]
    Missing,
    /// `alg` is no string.
    #[error("one that is no string")]
    NotText,
    /// It is a registered algorithm that is not accepted here.
    #[error("{0}")]
    Known(&'static str),
    /// It is not registered. Names are case-sensitive.
    #[error("an unregistered one")]
    Unknown,
}

/// Upstream v0.9.0 answers this to a token that it does not accept, whatever is wrong with it.
const INVALID: &str = "invalid jwt token";

/// Makes the enum from its rows: a variant with its text for the log, the label for metrics, and the text of the gRPC status.
macro_rules! refusals {
    ($(#[$about:meta])+ pub enum Refusal {$(
        $(#[$note:meta])+
        $name:ident $(($($item:tt)+))? $({ $($field:tt)+ })? = $cause:literal, $message:expr;
    )+}) => {
        $(#[$about])+
        pub enum Refusal {
            $($(#[$note])+ $name $(($($item)+))? $({ $($field)+ })?,)+
        }

        impl Refusal {
            /// Lists every value of [`Refusal::cause`], so that metrics can show a zero before the first refusal.
            pub const CAUSES: &'static [&'static str] = &[$($cause),+];

            /// Gives the label for metrics, one of [`Refusal::CAUSES`].
            pub fn cause(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $cause,)+
                }
            }

            /// Gives the text of the gRPC status, byte for byte what upstream v0.9.0 answers. Its code is always
            /// `UNAUTHENTICATED`; those inside the texts are upstream's wrapped inner errors.
            pub fn message(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $message,)+
                }
            }
        }
    };
}

refusals! {
    /// Says why a call was not admitted.
    ///
    /// `Display` is for the log of this side. It holds what was expected and what kind of thing was
    /// found, and never text of the token or of a key. The peer gets [`Refusal::message`] only.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum Refusal {
        /// The call has no `authorization` header.
        #[error("no authorization header: expected one with \"Bearer \" and the router token")]
        MissingHeader = "missing_header",
            "missing or invalid authorization: rpc error: code = Unauthenticated desc = missing authorization header";

        /// The call has more than one `authorization` header.
        #[error("several authorization headers: expected exactly one")]
        SeveralHeaders = "several_headers",
            "missing or invalid authorization: rpc error: code = InvalidArgument desc = multiple authorization headers";

        /// The header's value does not begin with `Bearer ` or is not visible ASCII.
        #[error("malformed authorization header: expected \"Bearer \", one space, and the token")]
        MalformedHeader = "malformed_header",
            "missing or invalid authorization: rpc error: code = InvalidArgument desc = malformed authorization header";

        /// The token is larger than [`Rules::max_token_size`](super::Rules::max_token_size).
        #[error("token of {found} bytes is too long: the limit is {limit} bytes")]
        TokenTooLong {
            /// Length of the token in bytes.
            found: usize,
            /// The greatest length allowed.
            limit: usize,
        } = "token_too_long", INVALID;

        /// The text is no JWT in compact form; the field says in which way.
        #[error("not a token: {0}")]
        NotAToken(&'static str) = "not_a_token", INVALID;

        /// The token is signed with an algorithm that is not accepted.
        #[error("token's algorithm is not accepted: expected HS256, HS384 or HS512, found {0}")]
        Algorithm(AlgorithmFault) = "algorithm", INVALID;

        /// No key made this signature.
        #[error(
            "token's signature matches no key: compare the router key with the controller's, \
             and during a change of keys give both the new and the old one"
        )]
        Signature = "signature", INVALID;

        /// A required claim is absent or `null`.
        #[error("token has no {0:?} claim: it is required")]
        ClaimMissing(&'static str) = "claim_missing", INVALID;

        /// A claim has a JSON type it must not have.
        #[error("token's {0:?} claim has the wrong type: expected {expected}", expected = expected_type(.0))]
        ClaimType(&'static str) = "claim_type", INVALID;

        /// The `iss` claim is another one.
        #[error("token's issuer is another one: expected {expected:?}")]
        Issuer {
            /// The configured issuer.
            expected: String,
        } = "issuer", INVALID;

        /// No member of the `aud` claim is the configured one.
        #[error("token is meant for another audience: expected {expected:?}")]
        Audience {
            /// The configured audience.
            expected: String,
        } = "audience", INVALID;

        /// The `exp` time is reached.
        #[error(
            "token expired {} ago: it came too late, or this machine's clock is ahead of \
             the controller's", Span(.by)
        )]
        Expired {
            /// How long ago.
            by: Duration,
        } = "expired", INVALID;

        /// The `nbf` time is not reached.
        #[error(
            "token is not valid for another {}: compare this machine's clock with the controller's",
            Span(.by)
        )]
        NotYetValid {
            /// The time from the clock to `nbf`, before any tolerance.
            by: Duration,
        } = "not_yet_valid", INVALID;

        /// The `iat` time is not reached.
        #[error(
            "token was issued {} in the future: compare this machine's clock with the controller's",
            Span(.by)
        )]
        IssuedInFuture {
            /// The time from the clock to `iat`, before any tolerance.
            by: Duration,
        } = "issued_in_future", INVALID;

        /// The `sub` claim is the empty string.
        #[error("token's \"sub\" claim is empty: expected the id of the stream to pair on")]
        EmptySubject = "empty_subject", INVALID;
    }
}

fn expected_type(claim: &str) -> &'static str {
    match claim {
        "aud" => "a string or a list of strings",
        "exp" | "nbf" | "iat" => "a number of seconds since 1970",
        _ => "a string",
    }
}

/// Shows a length of time with as many digits as help to find a wrong clock.
struct Span<'a>(&'a Duration);

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = *self.0;
        if span < Duration::from_millis(1) {
            f.write_str("less than 1 ms")
        } else if span < Duration::from_millis(100) {
            write!(f, "{} ms", span.as_millis())
        } else if span < Duration::from_secs(120) {
            write!(f, "{:.1} s", span.as_secs_f64())
        } else {
            let whole = Duration::from_secs(span.as_secs());
            write!(f, "{}", humantime::format_duration(whole))
        }
    }
}
