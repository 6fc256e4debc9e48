//! Writes one event as one line.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::SystemTime,
};

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

use super::{
    escape::{escape, quote},
    fields::{Fields, Style, merge, pairs},
    journal,
    thinner::SharedThinner,
};

/// The crate's own name, as it stands in the targets of its events.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// The fields that say whom a line is about.
const ABOUT: [&str; 3] = ["peer", "proxy", "remote"];

/// Formats events.
pub struct Line {
    /// How values are written.
    pub style: Style,
    /// Whether a line begins with its priority, as the journal wants it.
    pub priorities: bool,
    /// Leaves lines out, if there is one.
    pub thinner: Option<SharedThinner>,
}

impl Line {
    /// Whether the line is to be written; how many similar ones were left out before.
    ///
    /// Whoever turns on `debug` wants to see all of it.
    fn admit(&self, metadata: &Metadata<'_>, fields: &Fields) -> Option<u64> {
        let thinner = self.thinner.as_ref();
        let Some(thinner) = thinner.filter(|_| *metadata.level() <= Level::INFO) else {
            return Some(0);
        };
        let message = fields.message.as_deref().unwrap_or_default();
        thinner.admit(metadata, about(&fields.lines), message)
    }
}

/// The address that a line with these fields is about.
fn about(lines: &str) -> Option<IpAddr> {
    pairs(lines)
        .filter(|(name, _)| ABOUT.contains(name))
        .find_map(|(_, value)| {
            let value = value.trim_matches('"');
            let with_port = || Some(value.parse::<SocketAddr>().ok()?.ip());
            value.parse().ok().or_else(with_port)
        })
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
        let mut fields = Fields::of_event(self.style);
        event.record(&mut fields);
        match self.admit(metadata, &fields) {
            // An empty line is none.
            None => return Ok(()),
            Some(0) => {}
            Some(left_out) => fields.number("left_out", left_out),
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

/// The schema's words for levels. It has none for `trace`.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}
