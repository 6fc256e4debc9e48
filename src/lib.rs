//! Jumpstarter stream router.

pub mod admin;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod grpc;
pub mod observe;
pub mod pairing;
pub mod splice;
pub mod transport;
