//! Says why a call does not become a stream, and what the caller, the log and the metrics are told.

use std::sync::Arc;

use http::Response;
use thiserror::Error;
use tonic::Code;

use crate::transport::{limits::addresses::Origin, past, shared::Shared};
use crate::{
    auth,
    grpc::{headers::MalformedTimeout, status},
    pairing::table::Refused,
};

/// Says why a call is refused. Its text is what the caller and the log are told.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("not gRPC")]
    NotGrpc,
    #[error("gRPC calls use the method POST")]
    Method,
    #[error(transparent)]
    Timeout(#[from] MalformedTimeout),
    #[error(
        "more than {0} new streams a second from this address (streams.new_per_second_per_address); \
         try again later"
    )]
    StreamRate(u32),
    #[error(
        "more than {0} refused tokens a second from this address (auth.refused_per_second_per_address); \
         try again later, with a valid token"
    )]
    TokenRate(u32),
    #[error("{}", .0.message())]
    Token(auth::Refusal),
    #[error("the router is short of memory (memory.limit); try again later")]
    Memory,
    #[error(
        "{0} streams are open from this address already, the limit (streams.max_per_address); end some, or try \
         again later"
    )]
    TooManyPerAddress(usize),
    /// A call whose token is good, so that the log can name its stream.
    #[error("{why}")]
    Stream { subject: Arc<str>, why: NoPlace },
}

/// Says why there is no place for a call that may come in.
#[derive(Debug, Error)]
pub(crate) enum NoPlace {
    #[error("this stream comes from this very process, which is shutting down")]
    ForwardedToItself,
    #[error("the router is shutting down, too; forward to its successor")]
    Leaving,
    #[error("the router is shutting down; connect again")]
    Draining,
    #[error("no half of this token waits here with this ticket; it has met another, or is gone")]
    NotWaiting,
    #[error("{0} streams are open already, the limit (streams.max); try again later")]
    TooManyStreams(usize),
    #[error(transparent)]
    Table(#[from] Refused),
}

/// Gives each refusal its cause in metrics and log, and its status; the list of causes follows.
macro_rules! rows {
    ($($refusal:pat => $cause:literal $code:ident;)+) => {
        /// Lists every cause that is not the token's, for metrics.
        pub const CAUSES: &[&str] = &[$($cause),+];

        impl Refusal {
            fn row(&self) -> (&'static str, Code) {
                match self {
                    Self::Token(refusal) => (refusal.cause(), Code::Unauthenticated),
                    $($refusal => ($cause, Code::$code),)+
                }
            }
        }
    };
}

rows! {
    Self::NotGrpc => "not_grpc" Unknown;
    Self::Method => "method" Unimplemented;
    Self::Timeout(_) => "malformed_timeout" Internal;
    Self::StreamRate(_) => "stream_rate" ResourceExhausted;
    Self::TokenRate(_) => "refused_token_rate" ResourceExhausted;
    Self::Memory => "memory" ResourceExhausted;
    Self::TooManyPerAddress(_) => "too_many_per_address" ResourceExhausted;
    Self::Stream { why: NoPlace::ForwardedToItself, .. } => "forwarded_to_itself" Unavailable;
    Self::Stream { why: NoPlace::Leaving | NoPlace::Draining, .. } => "draining" Unavailable;
    Self::Stream { why: NoPlace::NotWaiting, .. } => "not_waiting" NotFound;
    Self::Stream { why: NoPlace::TooManyStreams(_), .. } => "too_many_streams" ResourceExhausted;
    Self::Stream { why: NoPlace::Table(Refused::TooManyWaiting { .. }), .. } => "too_many_waiting" ResourceExhausted;
    Self::Stream { why: NoPlace::Table(Refused::Spent), .. } => "token_spent" Unauthenticated;
}

impl Refusal {
    /// Counts the refusal, logs it, and gives the response.
    pub(crate) fn tell(&self, shared: &Shared, peer: &Origin) -> Response<()> {
        let (cause, code) = self.row();
        shared.metrics.stream_refusals.inc(cause);
        let stream = match self {
            Self::Stream { subject, .. } => Some(subject),
            _ => None,
        };
        let reason = self.to_string();
        // Other routers are no peers of this one.
        if shared.past.is_kept() && !peer.is_router {
            let refusal = past::Refusal {
                subject: stream,
                names: stream.and_then(|subject| shared.streams.names.of(subject)),
                address: peer.ip,
                certificate: peer.certificate.as_ref(),
                cause,
                code,
                reason: &reason,
            };
            shared.past.refuse(&refusal, shared.memory.level());
        }
        match self {
            // No peer of this router, and a token's refusal has a line of its own.
            Self::NotGrpc | Self::Method | Self::Token(_) => {}
            _ => {
                let stream = stream.map(|subject| &**subject);
                tracing::info!(%peer, stream, cause, error = reason, "stream refused");
            }
        }
        match self {
            Self::NotGrpc => status::unsupported_media_type(),
            Self::Timeout(error) => status::bad_request(&error.to_string()),
            _ => status::trailers_only(code, &reason),
        }
    }
}
