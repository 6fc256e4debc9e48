//! Writes what was seen as a table.

use std::time::Duration;

use crate::{
    admin::api::{
        status::{Cluster, Status},
        streams::{Listing, Peer, Row},
    },
    common::text::{bytes, escape},
};

const HEADS: [&str; 12] = [
    "ID", "STATE", "AGE", "FIRST", "SENT", "SENT/s", "SECOND", "SENT", "SENT/s", "HELD", "STALLED",
    "SUBJECT",
];

/// Which columns are words; the others are figures, which stand to the right.
const WORDS: [usize; 4] = [1, 3, 6, 11];

/// Tells of the router in one line.
pub(crate) fn head(status: &Status) -> String {
    format!(
        "router {} ({})  {}, up {}  {} pairs, {} waiting  {}/s  {} connections  held {}, {} stalled  memory {}{}",
        printable(&status.version),
        printable(&status.commit),
        printable(&status.phase),
        time(status.uptime_seconds),
        status.pairs,
        status.waiting,
        bytes(status.forwarded_rate),
        status.connections,
        bytes(status.held_bytes.max(0).cast_unsigned()),
        status.stalled,
        printable(&status.memory_pressure),
        status.cluster.as_ref().map(cluster).unwrap_or_default(),
    )
}

fn cluster(cluster: &Cluster) -> String {
    format!(
        "  {} of a cluster, bus {} for {}",
        printable(&cluster.router),
        if cluster.bus_connected {
            "connected"
        } else {
            "NOT CONNECTED"
        },
        time(cluster.bus_seconds),
    )
}

/// Writes the heads of the columns, a line for each stream, and how many more there are.
pub(crate) fn lines(listing: &Listing) -> Vec<String> {
    let mut cells = vec![HEADS.map(ToOwned::to_owned)];
    cells.extend(listing.streams.iter().map(row));
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..HEADS.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut lines: Vec<_> = cells.iter().map(|row| line(row, &widths)).collect();
    let more = listing.matching - listing.streams.len().min(listing.matching);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn line(cells: &[String; 12], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell = if WORDS.contains(&column) {
            format!("{cell:<width$}  ")
        } else {
            format!("{cell:>width$}  ")
        };
        line.push_str(&cell);
    }
    line.truncate(line.trim_end().len());
    line
}

fn row(row: &Row) -> [String; 12] {
    let side = |place: usize| -> [String; 3] {
        let peer: Option<&Peer> = row.peers.get(place);
        peer.map_or_else(Default::default, |peer| {
            [who(peer), bytes(peer.bytes_in), bytes(peer.rate_in)]
        })
    };
    let [first, first_sent, first_rate] = side(0);
    let [second, second_sent, second_rate] = side(1);
    let held: u64 = row.peers.iter().map(|peer| peer.held_bytes).sum();
    let stalled = row.peers.iter().filter_map(|peer| peer.stalled_seconds);
    let stalled = stalled.reduce(f64::max);
    [
        row.id.to_string(),
        printable(&row.state),
        time(row.age_seconds),
        first,
        first_sent,
        first_rate,
        second,
        second_sent,
        second_rate,
        if held > 0 {
            bytes(held)
        } else {
            "-".to_owned()
        },
        stalled.map_or_else(|| "-".to_owned(), time),
        printable(&row.subject),
    ]
}

/// Says who is at the other end: a peer, or the router where it is.
fn who(peer: &Peer) -> String {
    match &peer.router {
        Some(router) => format!(
            "router {} {}",
            printable(&router.name),
            printable(&router.address)
        ),
        None => peer.address.to_string(),
    }
}

/// Makes text harmless and short: subjects come from tokens.
pub(crate) fn printable(text: &str) -> String {
    const MOST: usize = 200;
    let short: String = text.chars().take(MOST).collect();
    let mut safe = String::new();
    escape(&mut safe, &short);
    if short.len() < text.len() {
        safe.push_str("...");
    }
    safe
}

/// Writes a time in its two largest units.
fn time(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).map_or(0, |time| time.as_secs());
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{minutes}m{:02}s", whole % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::common::text::tests::{HOSTILE, assert_harmless};

    #[test]
    fn figures_are_short() {
        for (seconds, text) in [
            (0.04, "0.0s"),
            (59.9, "59s"),
            (61.0, "1m01s"),
            (7_260.0, "2h01m"),
            (90_000.0, "1d01h"),
            (f64::NAN, "NaNs"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    fn peer(address: &str, stalled: Option<f64>) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            certificate: None,
            router: None,
            bytes_in: 2_000_000,
            bytes_out: 5,
            messages_in: 1,
            messages_out: 1,
            rate_in: 0,
            rate_out: 0,
            held_bytes: 1_500,
            stalled_seconds: stalled,
            window_bytes: 131_072,
        }
    }

    #[test]
    fn each_stream_is_one_line_whatever_its_subject() {
        let stream = |id, subject: &str, peers| Row {
            id,
            subject: subject.to_owned(),
            names: None,
            began_unix_ms: 0,
            paired_unix_ms: None,
            state: "paired".into(),
            age_seconds: 12.0,
            waited_seconds: None,
            peers,
        };
        let listing = Listing {
            total: 9,
            matching: 5,
            streams: vec![
                stream(
                    7,
                    HOSTILE,
                    vec![peer("10.0.0.1", None), peer("2001:db8::1", Some(3.0))],
                ),
                stream(123, &"y".repeat(1000), vec![peer("10.0.0.2", None)]),
            ],
        };
        let lines = lines(&listing);
        assert_eq!(lines.len(), 4);
        assert_harmless(&lines[1]);
        assert!(lines[1].starts_with(
            "  7  paired  12s  10.0.0.1  2.0 MB     0 B  2001:db8::1  2.0 MB     0 B  3.0 kB     3.0s  a\\n"
        ));
        assert!(lines[2].starts_with("123  paired"));
        assert!(lines[2].ends_with("yyy...") && lines[2].len() < 320);
        assert_eq!(lines[3], "and 3 more");
        let column = |line: &str| line.find("SUBJECT").or(line.find("a\\n"));
        assert_eq!(column(&lines[0]), column(&lines[1]));
    }
}
