//! Knows what gRPC adds to HTTP/2: the call, statuses, headers.

pub mod call;
pub mod headers;
pub mod status;
