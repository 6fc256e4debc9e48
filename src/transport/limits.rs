//! Who comes from where, how many and how fast.
//!
//! [`addresses`] counts what comes from where, with a [`bucket`] for each rate; a [`count`] is of what is open; [`spares`]
//! knows the connections without a stream; [`calls`] has places for calls that need no token, and [`refusal`] says why
//! there is none; [`pace`] is how fast a peer may send; [`proxy_protocol`] tells who is behind
//! a load balancer.

pub(crate) mod addresses;
pub(crate) mod bucket;
pub(crate) mod calls;
pub(crate) mod count;
pub(crate) mod pace;
pub(crate) mod proxy_protocol;
pub(crate) mod refusal;
pub(crate) mod spares;
