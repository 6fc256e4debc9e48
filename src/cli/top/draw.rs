//! Makes the lines of the whole screen.

use std::time::Duration;

use clap::ValueEnum as _;

use super::{
    app::{App, Deed, Detail, Mode, View},
    detail, live, past,
    text::{Line, Tone, cut},
};
use crate::{
    admin::api::{past::Kind, streams::Column},
    cli::admin_client::named,
    common::text::printable,
};

/// A screen that is not higher has no room for the traffic of the last minutes.
const LOW: usize = 16;

/// On a screen that is not wider, the past is shown without dates.
const NARROW: usize = 100;

/// After so many intervals without an answer there is something to say, even if nothing has failed yet.
const LATE: u32 = 3;

/// So much of a subject is in a question, of which the end must not be cut off.
const SUBJECT: usize = 36;

const HELP: &str = "\
arrows, PgUp, PgDn, Home, End   choose a stream; it is followed wherever it goes
Enter                           all that is known of it; Esc goes back
/                               show only what has this text in it; Esc shows all again
s, S or >, <                    sort by the next column, by the one before
r                               turn the direction
e or k                          end the stream, after a question
d                               drain the router, after a question
p or Tab                        what has ended or was refused; o: only one of them
Ctrl-L                          draw all of it again
Ctrl-Z                          back to the shell; fg continues
q or Ctrl-C                     leave
";

/// Makes the lines, not more than there is room for. What is chosen stays in sight.
pub(super) fn lines(app: &mut App, width: usize, height: usize, interval: Duration) -> Vec<Line> {
    let mut lines = live::head(&app.seen.status);
    if height > LOW {
        let history = app.seen.history.as_ref();
        lines.extend(history.and_then(|history| live::history(history, width)));
    }
    lines.push(news(app, interval));
    // The last line is for keys.
    let room = height.saturating_sub(lines.len() + 1);
    let mut body = if app.is_help {
        help()
    } else if let Some(detail) = &app.detail {
        detail_lines(detail)
    } else {
        table(app, width, room)
    };
    body.resize(room, Line::default());
    lines.extend(body);
    lines.push(foot(app));
    lines.truncate(height);
    for line in &mut lines {
        line.fit(width);
    }
    lines
}

fn table(app: &mut App, width: usize, room: usize) -> Vec<Line> {
    let table = match (app.view, &app.seen.past) {
        (View::Live, _) => live::table(&app.seen.streams.streams),
        (View::Past, Some(seen)) => past::table(&seen.streams, width <= NARROW),
        (View::Past, None) => return vec![no_past(app)],
    };
    let mut lines = table.lines(Some(width)).into_iter();
    let mut shown: Vec<_> = lines.next().into_iter().collect();
    let names = app.names();
    let height = room.saturating_sub(shown.len());
    let top = app.cursor().show(&names, height);
    let chosen = app.cursor().index(&names);
    let rows = lines.enumerate().skip(top).take(height);
    shown.extend(rows.map(|(at, mut line)| {
        line.is_chosen = Some(at) == chosen;
        line
    }));
    shown
}

/// Says why there is no past to be seen.
fn no_past(app: &App) -> Line {
    let status = &app.seen.status;
    if status.process.id.is_empty() {
        let text = format!(
            "this router keeps no past: its version is {}",
            status.version
        );
        return Line::new(Tone::Notice, text);
    }
    Line::new(Tone::Faint, "not answered yet")
}

fn detail_lines(shown: &Detail) -> Vec<Line> {
    match shown {
        Detail::Ended(ended) => detail::ended(ended),
        Detail::Live { row, is_gone } => {
            let mut lines = detail::live(row);
            if *is_gone {
                let text = "it is not there any more; this is how it was seen last";
                lines.insert(0, Line::new(Tone::Warning, text));
            }
            lines
        }
    }
}

fn help() -> Vec<Line> {
    let mut lines: Vec<_> = HELP
        .lines()
        .map(|line| {
            let (keys, text) = line.split_at(32);
            Line::new(Tone::Strong, keys).and(Tone::Plain, text)
        })
        .collect();
    let columns = Column::value_variants().iter().enumerate();
    let columns = columns.map(|(place, column)| format!("{} {}", place + 1, column.name()));
    let columns = columns.collect::<Vec<_>>().join(", ");
    lines.insert(
        5,
        Line::new(Tone::Strong, format!("{:32}", "1 to 8"))
            .and(Tone::Plain, format!("sort by: {columns}")),
    );
    lines
}

/// Says what is wrong, or what came of a key, or what part of the list is seen.
fn news(app: &App, interval: Duration) -> Line {
    let age = app.seen_at.elapsed();
    if let Some(trouble) = &app.trouble {
        let text = format!(
            "NOT UP TO DATE for {}: {trouble}",
            live::time(age.as_secs_f64())
        );
        return Line::new(Tone::Alarm, text);
    }
    if age > (interval * LATE).max(Duration::from_secs(3)) {
        let text = format!(
            "NOT UP TO DATE: no answer for {}",
            live::time(age.as_secs_f64())
        );
        return Line::new(Tone::Alarm, text);
    }
    if let Some((tone, text)) = app.note() {
        return Line::new(tone, text);
    }
    let (shown, matching, total) = match (app.view, &app.seen.past) {
        (View::Live, _) => {
            let streams = &app.seen.streams;
            (streams.streams.len(), streams.matching, streams.total)
        }
        (View::Past, Some(past)) => (past.streams.len(), past.matching, past.total),
        (View::Past, None) => return Line::default(),
    };
    let what = match (app.view, app.kind) {
        (View::Live, _) => "streams",
        (View::Past, None) => "ended or refused",
        (View::Past, Some(Kind::Ended)) => "ended",
        (View::Past, Some(Kind::Refused)) => "refused",
    };
    let filter = &app.list.filter;
    let found = match filter.is_empty() && app.kind.is_none() {
        true => format!("{total} {what}"),
        false if filter.is_empty() => format!("{matching} {what}"),
        false => format!("{matching} of {total} {what} with {filter:?}"),
    };
    let more = matching.saturating_sub(shown);
    let more = match more {
        0 => String::new(),
        _ => format!("; the first {shown} are here (--limit)"),
    };
    Line::new(Tone::Faint, format!("{found}{more}"))
}

fn foot(app: &App) -> Line {
    match &app.mode {
        Mode::Filter => {
            let keys = "   Enter keeps it, Esc clears it";
            return Line::new(Tone::Strong, format!("/{}_", app.list.filter))
                .and(Tone::Faint, keys);
        }
        Mode::Question(deed) => return Line::new(Tone::Alarm, question(app, deed)),
        Mode::Keys => {}
    }
    if app.is_help {
        return keys(&[("any key", "back")]);
    }
    let way = if app.list.ascending { "up" } else { "down" };
    let sort = format!("sort: {}", app.list.sort.name());
    let direction = format!("direction: {way}");
    match (&app.detail, app.view) {
        (Some(Detail::Live { is_gone: false, .. }), _) => {
            keys(&[("Esc", "back"), ("e", "end it"), ("?", "help")])
        }
        (Some(_), _) => keys(&[("Esc", "back"), ("?", "help")]),
        (None, View::Live) => keys(&[
            ("q", "quit"),
            ("?", "help"),
            ("/", "filter"),
            ("s", &sort),
            ("r", &direction),
            ("Enter", "more"),
            ("e", "end"),
            ("p", "past"),
            ("d", "drain"),
        ]),
        (None, View::Past) => keys(&[
            ("q", "quit"),
            ("?", "help"),
            ("/", "filter"),
            ("o", "only ended or refused"),
            ("Enter", "more"),
            ("p", "live streams"),
        ]),
    }
}

fn keys(keys: &[(&str, &str)]) -> Line {
    keys.iter().fold(Line::default(), |line, (key, text)| {
        line.and(Tone::Strong, key)
            .and(Tone::Plain, format!(" {text}  "))
    })
}

fn question(app: &App, deed: &Deed) -> String {
    let status = &app.seen.status;
    match deed {
        Deed::End(id) => {
            let row = app.seen.streams.streams.iter().find(|row| row.id == *id);
            let subject = row.map(|row| format!(" ({})", cut(&printable(&row.subject), SUBJECT)));
            format!("End stream {id}{}? y/n", subject.unwrap_or_default())
        }
        Deed::Drain => format!(
            "Drain {}? y/n   No new streams; it exits once its {} pairs are over",
            named(&status.process),
            status.pairs
        ),
    }
}
