//! Pairs with itself: on one address, and from one to another.

use std::{cell::Cell, time::Duration};

use tokio::time::timeout;

use super::{finding::Report, way::Way};
use crate::cli::{
    exit::{Exit, Failure},
    join::credentials::Tokens,
    probe,
};

/// How long one pairing may take with all that is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages of these many bytes go there and back, so many times: small ones, then what fills whole packets and windows.
const MESSAGES: [(u32, u32); 2] = [(64, 10), (65_536, 16)];

/// Tries each way with itself, then the first with each other.
pub(super) async fn try_all(ways: &[Way], tokens: &Tokens, report: &mut Report) {
    let Some((first, others)) = ways.split_first() else {
        let text = "no way leads to a router, so nothing was paired";
        report.skipped("pair", text, "");
        return;
    };
    if !try_one(first, first, tokens, report).await {
        return;
    }
    for other in others {
        try_one(first, other, tokens, report).await;
    }
}

/// Says whether two streams have met.
async fn try_one(here: &Way, there: &Way, tokens: &Tokens, report: &mut Report) -> bool {
    let apart = here.label != there.label;
    let route = if apart {
        format!("from {} to {}", here.label, there.label)
    } else {
        format!("on {}", here.label)
    };
    let connectors = [&here.connector, &there.connector];
    for (size, messages) in MESSAGES {
        let step = Cell::new("");
        let token = tokens.next();
        let tried = probe::exchange(connectors, messages, size, &token, &step);
        let tried = timeout(PATIENCE, tried).await.unwrap_or_else(|_| {
            let time = humantime::format_duration(PATIENCE);
            let text = format!("{} not done within {time}", step.get());
            Err(Failure::new(Exit::Alone, text))
        });
        match tried {
            Ok(times) => report.good(
                "pair",
                format_args!(
                    "{route}: connected and paired in {:.1} ms, {size} bytes there and back in {:.1} ms",
                    times.connect_ms + times.pair_ms,
                    times.round_trip_ms.median
                ),
            ),
            Err(failure) => {
                let advice = advice(&failure, step.get(), size, apart, tokens);
                report.failed("pair", failure.exit, format_args!("{route}: {failure}"), advice);
                return false;
            }
        }
    }
    true
}

/// Says what to do about a pair that did not come about.
fn advice(failure: &Failure, step: &str, size: u32, apart: bool, tokens: &Tokens) -> &'static str {
    let signed = matches!(tokens, Tokens::Signed { .. });
    match (failure.exit, step) {
        (Exit::Refused, _) if failure.is_lasting && signed => {
            "is the key the router's? Router and controller must have the same (ROUTER_KEY), and clocks that agree"
        }
        (Exit::Refused, _) if failure.is_lasting => {
            "is the token this router's, fresh, and used by nobody else?"
        }
        (_, "pairing") if apart => {
            "the two streams of a pair came to different routers, which do not know each other: they must be one router, or one cluster (docs/scale.md)"
        }
        (_, "pairing") => {
            "several routers may be behind this address that do not know each other (docs/scale.md); or a proxy holds answers back"
        }
        (_, "the round trips") if size > 1_400 => {
            "small messages pass and large ones do not: is the MTU of a tunnel or VPN too large for the path?"
        }
        (_, "the round trips") => {
            "does a proxy hold messages back until it has more? Switch its buffering off"
        }
        _ => "",
    }
}
