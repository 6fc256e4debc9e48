//! The router, its client and its commands from outside: over real sockets, mostly with TLS.
//!
//! One program, so that the library is linked once. Its tests run side by side; those that measure this process, or set
//! what holds for all of it, run in one of their own (`helpers::alone`).
#![allow(
    // Nothing uses this program.
    unreachable_pub,
    clippy::unwrap_used,
    // A caller and a callee.
    clippy::similar_names,
)]

mod helpers;

mod admin;
mod admin_client;
mod admin_past;
mod admin_process;
mod calls;
mod client;
mod client_certificates;
mod cluster;
mod cluster_away;
mod cluster_faults;
mod cluster_forged;
mod cluster_rolling;
mod cluster_silent;
mod commands;
mod completions;
mod config;
mod controller;
mod deploy;
mod doctor;
mod endings;
mod endings_administrator;
mod endings_chaos;
mod endings_deadlines;
mod endings_drain;
mod endings_faults;
mod endings_pairing;
mod flow;
mod flow_backlog;
mod flow_credit;
mod flow_stall;
mod forged;
mod forward;
mod forward_burst;
mod forward_data;
mod forward_udp;
mod forward_unix;
mod forward_versions;
mod health;
mod lab;
mod lab_commands;
mod lab_exporters;
mod lab_external;
mod lab_process;
mod lab_refused;
mod lab_routers;
mod limits;
mod limits_flow;
mod load;
mod log;
mod memory;
mod memory_costs;
mod notify;
mod output;
mod packaging;
mod process;
mod process_stop;
mod proxy_protocol;
mod reach;
mod reach_proxy;
mod reload;
mod rotation;
mod scale_haproxy;
mod services;
mod sight;
mod successor;
mod swap;
mod tokens;
mod top;
#[cfg(feature = "otel")]
mod traces;
mod transport_attacks;
mod transport_deadlines;
mod transport_descriptors;
mod transport_first_bytes;
mod transport_limits;
mod transport_panics;
mod transport_requests;
mod transport_spares;
mod transport_tls;
mod usage;

use jumpstarter_router_system::heap::Counting;

/// As in the program: what is allocated counts towards `memory.limit`.
#[global_allocator]
static ALLOCATOR: Counting = Counting;
