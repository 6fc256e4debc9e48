//! What the Jumpstarter operator configures: the text under `config` in its `ConfigMap`, mounted as a file.
//!
//! Only `grpc.keepalive` counts, as with the upstream router. Keys that are not known are passed over; upstream adds
//! some now and then. Values are those of Go: durations such as "1m30s", and nothing for nothing.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::files;
use super::loading::Loading;
use super::problem::{Origin, mismatch, printable};
use super::registry::find;
use super::setting::excerpt;

/// The key that names the file.
const KEY: &str = "connections.operator_config";

/// No file is longer: a `ConfigMap` holds no more.
const MOST: u64 = 1024 * 1024;

/// gRPC sends no pings more often.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Default, Deserialize)]
struct Document {
    grpc: Option<Grpc>,
}

#[derive(Default, Deserialize)]
struct Grpc {
    keepalive: Option<Keepalive>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keepalive {
    timeout: Option<String>,
    interval_time: Option<String>,
    max_connection_idle: Option<String>,
    max_connection_age: Option<String>,
    max_connection_age_grace: Option<String>,
    /// How often a peer may ping. Nobody is cut off for that here, but the value has to be one.
    min_time: Option<String>,
    /// Whether a peer may ping without a stream, which any may here.
    #[serde(rename = "permitWithoutStream")]
    _permit_without_stream: Option<bool>,
}

impl Keepalive {
    /// Lists the durations: name, value and the keys that each sets.
    fn durations(&self) -> [(&'static str, Option<&str>, &'static [&'static str]); 6] {
        [
            (
                "grpc.keepalive.timeout",
                self.timeout.as_deref(),
                // grpc-go sets both to the same.
                &[
                    "connections.keepalive_timeout",
                    "connections.tcp_user_timeout",
                ],
            ),
            (
                "grpc.keepalive.intervalTime",
                self.interval_time.as_deref(),
                &["connections.keepalive_interval"],
            ),
            (
                "grpc.keepalive.maxConnectionIdle",
                self.max_connection_idle.as_deref(),
                &["connections.idle_timeout"],
            ),
            (
                "grpc.keepalive.maxConnectionAge",
                self.max_connection_age.as_deref(),
                &["connections.max_age"],
            ),
            (
                "grpc.keepalive.maxConnectionAgeGrace",
                self.max_connection_age_grace.as_deref(),
                &["connections.max_age_grace"],
            ),
            ("grpc.keepalive.minTime", self.min_time.as_deref(), &[]),
        ]
    }
}

/// Reads the file, if one is named, and sets the keys that nothing else has set.
pub(super) fn apply(loading: &mut Loading) {
    let Some(file) = loading.config.connections.operator_config.clone() else {
        return;
    };
    let name = file.display().to_string();
    let keepalive = match read(&file) {
        Ok(document) => document.grpc.unwrap_or_default().keepalive,
        Err(why) => {
            loading.problem_at(KEY, printable(&format!("{name} {why}")));
            return;
        }
    };
    for (key, text, targets) in keepalive.unwrap_or_default().durations() {
        let text = text.unwrap_or_default();
        let name = name.clone();
        let origin = Origin::Operator { name, key };
        match go_duration(text) {
            // As if it were not there.
            Ok(Duration::ZERO) => {}
            Ok(duration) => {
                for target in targets {
                    set(loading, target, duration, &origin);
                }
            }
            Err(why) => {
                let expected = "a duration as in Go, such as \"10s\" or \"1m30s\"";
                loading.problem(origin, None, mismatch(&excerpt(text), expected, why));
            }
        }
    }
}

fn read(file: &Path) -> Result<Document, String> {
    let bytes = files::read(file, MOST).map_err(|error| {
        format!("cannot be read: {error}; check that it exists and that the router may read it")
    })?;
    let document: Option<Document> = serde_saphyr::from_slice(&bytes).map_err(|error| {
        let error = error.without_snippet();
        format!("is not what the operator writes: {error}")
    })?;
    Ok(document.unwrap_or_default())
}

fn set(loading: &mut Loading, path: &'static str, duration: Duration, origin: &Origin) {
    let explicit = *loading.origins.of(path) != Origin::Default || loading.is_bad(path);
    let Some(key) = find(path).filter(|_| !explicit) else {
        return;
    };
    let duration = match path {
        "connections.keepalive_interval" => duration.max(SHORTEST_INTERVAL),
        _ => duration,
    };
    let text = humantime::format_duration(duration).to_string();
    loading.text(key, &text, origin.clone());
}

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration as Go's `time.ParseDuration` does, and nothing as zero. Negative ones make no sense here.
fn go_duration(text: &str) -> Result<Duration, &'static str> {
    const TOO_LONG: &str = "too long";
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    let mut rest = unsigned;
    loop {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = rest.find(|c| !is_number(c)).ok_or("the unit is missing")?;
        let (number, tail) = rest.split_at(end);
        let (unit, next) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || whole.len() + fraction.len() == 0 {
            return Err("a number is missing");
        }
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, unit) = unit.ok_or("the units are ns, us, ms, s, m and h")?;
        let whole: u64 = match whole {
            "" => 0,
            digits => digits.parse().map_err(|_| TOO_LONG)?,
        };
        nanos += u128::from(whole) * unit;
        // More digits than matter would only overflow.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let scale = 10_u128.pow(fraction.len() as u32);
            nanos += fraction.parse::<u128>().map_err(|_| TOO_LONG)? * unit / scale;
        }
        if nanos > u128::from(i64::MAX.unsigned_abs()) {
            return Err(TOO_LONG);
        }
        if next.is_empty() {
            break;
        }
        rest = next;
    }
    if text.starts_with('-') && nanos > 0 {
        return Err("negative");
    }
    Ok(Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("", 0),
            ("0", 0),
            ("+0", 0),
            ("-0s", 0),
            ("0s", 0),
            ("1s", 1_000),
            ("+5s", 5_000),
            ("3m0s", 180_000),
            ("1h0m0s", 3_600_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("1m30.25s", 90_250),
            ("1500000ns", 1),
            ("2000us", 2),
            ("2000\u{b5}s", 2),
            ("3ms", 3),
            ("0.100000000000000000000000001s", 100),
        ] {
            let expected = Duration::from_millis(millis);
            let found =
                go_duration(text).map(|found| Duration::from_millis(found.as_millis() as u64));
            assert_eq!(found, Ok(expected), "{text}");
        }
        for wrong in [
            "5",
            "s",
            "+",
            "-",
            ".",
            ".s",
            "1d",
            "1 s",
            "1s ",
            "-1s",
            "1..5s",
            "s1",
            "1sm",
            "3000000h",
            "99999999999999999999s",
            "1S",
            "1m5",
        ] {
            assert!(go_duration(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_duration_panics(text in "[0-9.hmsnu+-]{0,30}") {
            let _ = go_duration(&text);
        }

        #[test]
        fn whole_seconds_are_read(seconds in 0u64..9_000_000_000) {
            let found = go_duration(&format!("{seconds}s"));
            prop_assert_eq!(found, Ok(Duration::from_secs(seconds)));
        }
    }
}
