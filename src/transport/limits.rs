//! Who comes from where, how many and how fast.
//!
//! [`addresses`] counts what comes from where, with a [`bucket`] for each rate, and [`seats`] the streams in all; [`spares`]
//! knows the connections without a stream; [`pace`] is how fast a peer may send; [`proxy_protocol`] tells who is behind
//! a load balancer.

pub mod addresses;
pub mod bucket;
pub mod pace;
pub mod proxy_protocol;
pub mod seats;
pub mod spares;
