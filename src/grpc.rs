//! Knows what gRPC adds to HTTP/2: the call, statuses, headers.

pub(crate) mod call;
pub(crate) mod headers;
pub(crate) mod status;
