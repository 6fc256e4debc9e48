//! What gRPC adds to HTTP/2: statuses, headers.

pub mod headers;
pub mod status;
