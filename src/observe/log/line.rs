//! Writes one event as one line.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::SystemTime,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

use super::{
    fields::{Fields, Style, merge, pairs},
    journal,
    thinner::SharedThinner,
};
use crate::common::text::{escape, quote};

/// The crate's own name, with which the targets of its events begin.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Which fields say whom a line is about.
const ABOUT: [&str; 3] = ["peer", "proxy", "remote"];

/// Formats events.
pub(super) struct Line {
    /// How values are written.
    pub style: Style,
    /// Whether a line begins with its priority, as the journal wants it.
    pub priorities: bool,
    /// Leaves lines out, if there is one.
    pub thinner: Option<SharedThinner>,
}

impl Line {
    /// Decides whether the line is written, and tells how many similar ones were left out before.
    ///
    /// Whoever turns on `debug` wants to see all of it.
    fn admit(&self, event: &Event<'_>) -> Option<u64> {
        let metadata = event.metadata();
        let thinner = self.thinner.as_ref();
        let Some(thinner) = thinner.filter(|_| *metadata.level() <= Level::INFO) else {
            return Some(0);
        };
        // The other fields are not looked at: some cost more to write than all else that the line is about.
        let mut about = About::default();
        event.record(&mut about);
        thinner.admit(metadata, about.from, &about.message)
    }
}

/// Collects what makes a line like others: its message, and the address that it is about.
#[derive(Default)]
struct About {
    message: String,
    from: Option<IpAddr>,
}

impl Visit for About {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else if self.from.is_none() && ABOUT.contains(&field.name()) {
            let with_port = || Some(value.parse::<SocketAddr>().ok()?.ip());
            self.from = value.parse().ok().or_else(with_port);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" || ABOUT.contains(&field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let Some(left_out) = self.admit(event) else {
            // An empty line is none.
            return Ok(());
        };
        let mut fields = Fields::new(self.style, Some(String::new()));
        event.record(&mut fields);
        if left_out > 0 {
            fields.plain("left_out", left_out);
        }

        // Says which library speaks when it is not the router itself.
        let target = metadata.target();
        let named = pairs(&fields.lines).any(|(name, _)| name == "logger");
        if !named && target.split("::").next() != Some(OWN) {
            fields.text("logger", target);
        }
        for span in context.event_scope().into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<FormattedFields<N>>() {
                merge(&mut fields.lines, outer);
            }
        }

        let time = humantime::format_rfc3339_micros(SystemTime::now());
        let level = level_name(*metadata.level());
        if self.priorities {
            to.write_str(journal::prefix(*metadata.level()))?;
        }
        let message = fields.message.unwrap_or_default();
        let mut line = String::with_capacity(128 + message.len() + fields.lines.len());
        match self.style {
            Style::Json => {
                line.push_str("\"msg\":");
                quote(&mut line, &message);
                line.push_str(",\"component\":\"router\"");
                for (name, value) in pairs(&fields.lines) {
                    line.push_str(",\"");
                    line.push_str(name);
                    line.push_str("\":");
                    line.push_str(value);
                }
                writeln!(to, "{{\"ts\":\"{time}\",\"level\":\"{level}\",{line}}}")
            }
            Style::Text => {
                escape(&mut line, &message);
                for (name, value) in pairs(&fields.lines) {
                    line.push(' ');
                    line.push_str(name);
                    line.push('=');
                    line.push_str(value);
                }
                writeln!(to, "{time} {level:<7} {line}")
            }
        }
    }
}

/// Gives the schema's words for levels. It has none for `trace`.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}
