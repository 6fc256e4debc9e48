//! The table of live streams, and the lines above it that tell of the router.

use std::time::Duration;

use super::{
    table::{Cell, Column, Table},
    text::{Line, Tone, bars},
};
use crate::{
    admin::api::{
        history::History,
        status::{Cluster, Status},
        streams::{Peer, Row},
    },
    cli::admin_client::named,
    common::text::{bytes, joined},
    observe::names::Names,
};

const COLUMNS: [Column; 13] = [
    Column::figures("ID", 0),
    Column::words("STATE", 0),
    Column::figures("AGE", 3),
    Column::words("FIRST", 4),
    Column::figures("SENT", 6),
    Column::figures("SENT/s", 1),
    Column::words("SECOND", 4),
    Column::figures("SENT", 6),
    Column::figures("SENT/s", 1),
    Column::figures("HELD", 5),
    Column::figures("STALLED", 0),
    Column::words("NAMES", 2),
    Column::words("SUBJECT", 0),
];

/// Who takes none of what waits for it is worth a look at once, and after so many seconds there is something wrong.
const STALLED_LONG: f64 = 10.0;

/// A certificate that is good for fewer days than this is worth a warning.
const FEW_DAYS: i64 = 14;

/// Makes the table.
pub(crate) fn table(rows: &[Row]) -> Table {
    Table::new(&COLUMNS, rows.iter().map(row).collect())
}

fn row(row: &Row) -> Vec<Cell> {
    let plain = |text| (Tone::Plain, text);
    let side = |place: usize| -> [Cell; 3] {
        let peer: Option<&Peer> = row.peers.get(place);
        let texts = peer.map_or_else(Default::default, |peer| {
            [who(peer), bytes(peer.bytes_in), bytes(peer.rate_in)]
        });
        texts.map(plain)
    };
    let [first, first_sent, first_rate] = side(0);
    let [second, second_sent, second_rate] = side(1);
    let held: u64 = row.peers.iter().map(|peer| peer.held_bytes).sum();
    vec![
        plain(row.id.to_string()),
        (state_tone(&row.state), row.state.to_string()),
        plain(time(row.age_seconds)),
        first,
        first_sent,
        first_rate,
        second,
        second_sent,
        second_rate,
        plain(if held > 0 {
            bytes(held)
        } else {
            "-".to_owned()
        }),
        stalled(row.peers.iter().filter_map(|peer| peer.stalled_seconds)),
        plain(row.names.as_ref().map(names).unwrap_or_default()),
        plain(row.subject.clone()),
    ]
}

fn state_tone(state: &str) -> Tone {
    match state {
        "waiting" => Tone::Notice,
        "ending" => Tone::Warning,
        _ => Tone::Plain,
    }
}

/// Writes for how long nothing was taken, the longest of these times.
pub(super) fn stalled(times: impl Iterator<Item = f64>) -> Cell {
    let Some(longest) = times.reduce(f64::max) else {
        return (Tone::Plain, "-".to_owned());
    };
    let tone = if longest < STALLED_LONG {
        Tone::Warning
    } else {
        Tone::Alarm
    };
    (tone, time(longest))
}

/// Says who is at the other end: a peer, or the router where it is.
pub(super) fn who(peer: &Peer) -> String {
    match &peer.router {
        Some(router) => format!("router {} {}", router.name, router.address),
        None => peer.address.to_string(),
    }
}

/// Writes whose stream it is: client and exporter.
pub(super) fn names(names: &Names) -> String {
    joined(
        [&names.client, &names.exporter].into_iter().flatten(),
        " > ",
    )
}

/// Tells of the router in two lines.
pub(crate) fn head(status: &Status) -> Vec<Line> {
    let name = named(&status.process);
    let tone = match &*status.phase {
        "ready" => Tone::Plain,
        _ => Tone::Warning,
    };
    let phase = format!("  {}, up {}", status.phase, time(status.uptime_seconds));
    let first = Line::new(Tone::Strong, name).and(tone, phase).and(
        Tone::Plain,
        format!("  {} ({})", status.version, status.commit),
    );
    let pairs = format!("{} pairs, {} waiting, ", status.pairs, status.waiting);
    let second = Line::new(Tone::Plain, pairs)
        .and(stalled_tone(status), format!("{} stalled", status.stalled))
        .and(Tone::Plain, figures(status));
    let memory_tone = match &*status.memory_pressure {
        "normal" => Tone::Plain,
        _ => Tone::Warning,
    };
    let second = second.and(memory_tone, memory(status));
    let first = match &*status.access {
        "read" => first.and(Tone::Notice, "  this token only reads"),
        _ => first,
    };
    vec![
        certificates(status)
            .into_iter()
            .fold(first, |line, text| line.and(Tone::Warning, text)),
        second.and(
            Tone::Plain,
            status.cluster.as_ref().map(cluster).unwrap_or_default(),
        ),
    ]
}

fn figures(status: &Status) -> String {
    format!(
        "  {}/s  held {}  {} connections",
        bytes(status.forwarded_rate),
        bytes(status.held_bytes.max(0).cast_unsigned()),
        status.connections,
    )
}

fn stalled_tone(status: &Status) -> Tone {
    if status.stalled > 0 {
        Tone::Warning
    } else {
        Tone::Plain
    }
}

fn memory(status: &Status) -> String {
    let used = match (status.memory_used_bytes, status.memory_limit_bytes) {
        // Older routers do not say.
        (0, _) => String::new(),
        (used, Some(limit)) => format!(", {} of {}", bytes(used), bytes(limit)),
        (used, None) => format!(", {}", bytes(used)),
    };
    format!("  memory {}{used}", status.memory_pressure)
}

fn certificates(status: &Status) -> Vec<String> {
    let soon = status.certificates.iter();
    let soon = soon.filter(|certificate| certificate.days_left < FEW_DAYS);
    soon.map(|certificate| {
        format!(
            "  certificate {}: {} days left",
            certificate.subject, certificate.days_left
        )
    })
    .collect()
}

fn cluster(cluster: &Cluster) -> String {
    let bus = if cluster.bus_connected {
        "connected"
    } else {
        "NOT CONNECTED"
    };
    let time = time(cluster.bus_seconds);
    format!("  {} of a cluster, bus {bus} for {time}", cluster.router)
}

/// Draws what passed in the time that the router remembers, as wide as this.
pub(crate) fn history(history: &History, width: usize) -> Option<Line> {
    let figures = &history.series.bytes_out;
    let most = figures.iter().copied().max()?;
    let end = format!("  at most {}/s", bytes(most));
    let room = width
        .checked_sub(end.len() + 20)
        .filter(|room| *room >= 10)?;
    // Each bar is the largest of so many seconds, and the last bar ends now.
    let seconds = figures.len().div_ceil(room.min(120));
    let parts: Vec<u64> = figures
        .rchunks(seconds)
        .map(|part| part.iter().copied().max().unwrap_or(0))
        .collect();
    let parts: Vec<u64> = parts.into_iter().rev().collect();
    let span = history.interval_seconds * figures.len() as u64;
    let start = format!("last {:>5}  ", time(span as f64));
    let line = Line::new(Tone::Faint, start).and(Tone::Notice, bars(&parts));
    Some(line.and(Tone::Faint, end))
}

/// Writes a time in its two largest units.
pub(super) fn time(seconds: f64) -> String {
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
