//! What gRPC adds to HTTP/2: generated messages, statuses, headers.

pub mod headers;
pub mod status;

/// Generated from `proto/jumpstarter/v1/router.proto`.
#[allow(missing_docs, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("jumpstarter.v1");
}

/// The compiled descriptors of `proto/`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
