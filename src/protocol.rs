//! Holds the Jumpstarter protocol: messages and services, generated from `proto/`.
//!
//! ```
//! use jumpstarter_router::protocol::{client, v1};
//!
//! let lease = client::v1::Lease {
//!     selector: "board=x".to_owned(),
//!     duration: Some(prost_types::Duration { seconds: 1800, nanos: 0 }),
//!     ..Default::default()
//! };
//! let create = client::v1::CreateLeaseRequest {
//!     parent: "namespaces/default".to_owned(),
//!     lease: Some(lease),
//!     ..Default::default()
//! };
//! let dial = v1::DialRequest { lease_name: "a lease".to_owned() };
//! # let _ = (create, dial);
//! ```
//!
//! | module | services |
//! |---|---|
//! | [`v1`] | `RouterService`, `ControllerService`, `ExporterService`, `TelemetryService` |
//! | [`client::v1`] | `ClientService` |
//!
//! A client is for instance `v1::controller_service_client::ControllerServiceClient`; a server is a trait to implement and a
//! tower service around it, here `ControllerService` and `ControllerServiceServer` in `v1::controller_service_server`.
//!
//! Fields are optional in Rust where a peer can tell "not set" from the default, and for messages. Types of
//! `google.protobuf` are those of [`prost_types`]; `Empty` is `()`. What upstream added after its release 0.9.0 is marked
//! so; a peer of that release neither sends nor reads it.

pub use {prost_types, tonic};

/// Package `jumpstarter.v1`: what exporters, controllers and routers say to each other.
#[allow(missing_docs, deprecated, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("jumpstarter.v1");
}

/// Package `jumpstarter.client`: what controllers offer to clients.
pub mod client {
    /// Package `jumpstarter.client.v1`: exporters and leases as a client sees them.
    #[allow(missing_docs, deprecated, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("jumpstarter.client.v1");
    }
}

/// The compiled descriptors of the whole protocol and what it imports: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/protocol.bin"));

/// The same with nothing but `RouterService`, for the reflection of a router.
pub const ROUTER_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/router.bin"));
