//! The table of streams that have ended or were refused.

use std::time::{Duration, UNIX_EPOCH};

use super::{
    live::{names, time},
    table::{Cell, Column, Table},
    text::Tone,
};
use crate::{
    admin::api::past::{Kind, Peer, Row},
    common::text::bytes,
};

const COLUMNS: [Column; 12] = [
    Column::words("ENDED", 0),
    Column::figures("ID", 2),
    Column::figures("LASTED", 0),
    Column::words("CAUSE", 0),
    Column::words("BY", 1),
    Column::words("FIRST", 5),
    Column::figures("SENT", 4),
    Column::words("SECOND", 5),
    Column::figures("SENT", 4),
    Column::words("REASON", 6),
    Column::words("NAMES", 3),
    Column::words("SUBJECT", 0),
];

/// Makes the table. `is_short` leaves out the date: it is as wide as the rest of a narrow line.
pub(crate) fn table(streams: &[Row], is_short: bool) -> Table {
    let rows = streams.iter().map(|stream| row(stream, is_short));
    Table::new(&COLUMNS, rows.collect())
}

fn row(stream: &Row, is_short: bool) -> Vec<Cell> {
    let plain = |text| (Tone::Plain, text);
    let side = |place: usize| -> [Cell; 2] {
        let peer: Option<&Peer> = stream.peers.get(place);
        let texts = peer.map_or_else(Default::default, |peer| [who(peer), bytes(peer.bytes_in)]);
        texts.map(plain)
    };
    let ([first, first_sent], [second, second_sent]) = (side(0), side(1));
    let when = clock(stream.ended_unix_ms);
    // Behind the date and the T.
    let when = if is_short {
        when[11..].to_owned()
    } else {
        when
    };
    let id = stream.id.map(|id| id.to_string());
    vec![
        plain(when),
        plain(id.unwrap_or_default()),
        plain(time(stream.duration_seconds)),
        (tone(stream), cause(stream)),
        plain(stream.ended_by.as_deref().unwrap_or_default().to_owned()),
        first,
        first_sent,
        second,
        second_sent,
        plain(stream.reason.clone()),
        plain(stream.names.as_ref().map(names).unwrap_or_default()),
        plain(subject(stream)),
    ]
}

/// Says who came without a token that was believed.
pub(super) fn subject(stream: &Row) -> String {
    stream.subject.clone().unwrap_or_else(|| "-".to_owned())
}

/// Names the cause, and how often it came one after the other.
pub(super) fn cause(stream: &Row) -> String {
    let refused = if stream.kind == Kind::Refused {
        "refused: "
    } else {
        ""
    };
    match stream.count {
        0 | 1 => format!("{refused}{}", stream.cause),
        count => format!("{refused}{} ({count} times)", stream.cause),
    }
}

/// Tells what was refused from what ended badly from what ended as it should.
pub(super) fn tone(stream: &Row) -> Tone {
    match &*stream.status {
        _ if stream.kind == Kind::Refused => Tone::Alarm,
        "" | "OK" => Tone::Plain,
        _ => Tone::Warning,
    }
}

/// Says who was at the other end.
pub(super) fn who(peer: &Peer) -> String {
    match &peer.router {
        Some(router) => format!("router {} {}", router.name, router.address),
        None => peer.address.to_string(),
    }
}

/// Writes a moment, in UTC.
pub(super) fn clock(unix_ms: u64) -> String {
    // Beyond the year 9999 there is no such text.
    let moment = UNIX_EPOCH + Duration::from_millis(unix_ms.min(253_402_300_799_000));
    humantime::format_rfc3339_seconds(moment).to_string()
}
