//! What operators and probes ask the router over plain HTTP, apart from the streams.

pub mod http;
