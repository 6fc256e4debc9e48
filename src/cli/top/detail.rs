//! All that is known of one stream, live or ended.

use unicode_width::UnicodeWidthStr as _;

use super::{
    live, past,
    text::{Line, Tone, pad},
};
use crate::{
    admin::api::{
        past::{Kind, Peer as EndedPeer, Row as Ended},
        streams::{Peer, Row},
    },
    common::text::{bytes, printable},
    observe::names::Names,
};

/// How wide the first column is.
const LABEL: usize = 14;

/// How wide a side is at least.
const SIDE: usize = 24;

/// Tells of a live stream.
pub(crate) fn live(row: &Row) -> Vec<Line> {
    let mut lines = vec![
        fact("stream", format!("{}, {}", row.id, row.state)),
        fact("subject", &row.subject),
    ];
    lines.extend(row.names.as_ref().map(named).unwrap_or_default());
    lines.push(fact("age", live::time(row.age_seconds)));
    // Older routers do not say when.
    if row.began_unix_ms > 0 {
        lines.push(fact("came", past::clock(row.began_unix_ms)));
    }
    lines.push(match (row.waited_seconds, row.paired_unix_ms) {
        (Some(waited), Some(paired)) => fact(
            "paired",
            format!("{}, after {}", past::clock(paired), live::time(waited)),
        ),
        (Some(waited), None) => fact("paired", format!("after {}", live::time(waited))),
        (None, _) => fact("paired", "not yet; its partner has not come"),
    });
    lines.push(Line::default());
    let width = widest(&row.peers, |peer| {
        [live::who(peer), certificate(peer.certificate.as_deref())]
    });
    let each = |label: &str, text: fn(&Peer) -> String| {
        sides(label, width, &row.peers, |peer| (Tone::Plain, text(peer)))
    };
    lines.push(heads(width, row.peers.len()));
    lines.push(each("address", live::who));
    lines.push(each("certificate", |peer| {
        certificate(peer.certificate.as_deref())
    }));
    lines.push(each("sent", |peer| amount(peer.bytes_in, peer.messages_in)));
    lines.push(each("sends", |peer| format!("{}/s", bytes(peer.rate_in))));
    lines.push(each("received", |peer| {
        amount(peer.bytes_out, peer.messages_out)
    }));
    lines.push(each("receives", |peer| {
        format!("{}/s", bytes(peer.rate_out))
    }));
    lines.push(each("held for it", |peer| bytes(peer.held_bytes)));
    lines.push(sides("stalled", width, &row.peers, |peer| {
        live::stalled(peer.stalled_seconds.into_iter())
    }));
    lines.push(each("window", |peer| bytes(peer.window_bytes.into())));
    lines
}

/// Tells of a stream that has ended or was refused.
pub(crate) fn ended(stream: &Ended) -> Vec<Line> {
    let id = stream
        .id
        .map_or_else(|| "-".to_owned(), |id| id.to_string());
    let kind = match stream.kind {
        Kind::Ended => "ended",
        Kind::Refused => "refused",
    };
    let mut lines = vec![
        fact("stream", format!("{id}, {kind}")),
        fact("subject", past::subject(stream)),
    ];
    lines.extend(stream.names.as_ref().map(named).unwrap_or_default());
    lines.push(fact("came", past::clock(stream.began_unix_ms)));
    lines.push(match stream.waited_seconds {
        Some(waited) => fact("paired", format!("after {}", live::time(waited))),
        None => fact("paired", "never"),
    });
    lines.push(fact(
        "ended",
        format!(
            "{}, after {}",
            past::clock(stream.ended_unix_ms),
            live::time(stream.duration_seconds)
        ),
    ));
    let by = match stream.ended_by.as_deref() {
        Some("router") => "the router",
        Some("first") => "the first peer",
        Some("second") => "the second peer",
        Some(other) => other,
        None => "-",
    };
    lines.push(fact("ended by", by));
    lines.push(label("cause").and(past::tone(stream), past::cause(stream)));
    lines.push(fact(
        "told",
        format!("{}: {}", stream.status, stream.reason),
    ));
    lines.push(Line::default());
    let width = widest(&stream.peers, |peer| {
        [past::who(peer), certificate(peer.certificate.as_deref())]
    });
    let each = |label: &str, text: fn(&EndedPeer) -> String| {
        sides(label, width, &stream.peers, |peer| {
            (Tone::Plain, text(peer))
        })
    };
    lines.push(heads(width, stream.peers.len()));
    lines.push(each("address", past::who));
    lines.push(each("certificate", |peer| {
        certificate(peer.certificate.as_deref())
    }));
    lines.push(each("sent", |peer| amount(peer.bytes_in, peer.messages_in)));
    lines.push(each("received", |peer| {
        amount(peer.bytes_out, peer.messages_out)
    }));
    lines
}

fn named(names: &Names) -> Vec<Line> {
    [
        ("client", &names.client),
        ("exporter", &names.exporter),
        ("lease", &names.lease),
    ]
    .into_iter()
    .filter_map(|(label, name)| Some(fact(label, name.as_ref()?)))
    .collect()
}

fn label(text: &str) -> Line {
    Line::new(Tone::Faint, pad(text, LABEL, false))
}

fn fact(name: &str, text: impl AsRef<str>) -> Line {
    label(name).and(Tone::Plain, text)
}

fn heads(width: usize, count: usize) -> Line {
    let heads = ["FIRST", "SECOND"].into_iter().take(count);
    heads.fold(label(""), |line, head| {
        line.and(Tone::Strong, pad(head, width, false) + "  ")
    })
}

fn sides<P>(name: &str, width: usize, peers: &[P], cell: impl Fn(&P) -> (Tone, String)) -> Line {
    peers.iter().fold(label(name), |line, peer| {
        let (tone, text) = cell(peer);
        line.and(tone, pad(&printable(&text), width, false) + "  ")
    })
}

/// Gives the width of one side, in which the longest of these texts has room.
fn widest<P>(peers: &[P], texts: impl Fn(&P) -> [String; 2]) -> usize {
    let texts = peers.iter().flat_map(texts);
    let widths = texts.map(|text| printable(&text).width());
    widths.max().unwrap_or(0).max(SIDE)
}

fn certificate(subject: Option<&str>) -> String {
    subject.unwrap_or("-").to_owned()
}

fn amount(count: u64, messages: u64) -> String {
    format!("{} in {messages} messages", bytes(count))
}
