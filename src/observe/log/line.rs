//! Writes one event as one line.

use std::{fmt, time::SystemTime};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

use super::{
    escape::{escape, quote},
    fields::{Fields, Style, merge, pairs},
};

/// The crate's own name, as it stands in the targets of its events.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Formats events in the given style.
pub struct Line(pub Style);

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
        let mut fields = Fields::of_event(self.0);
        event.record(&mut fields);

        // Says which library speaks when it is not the router itself.
        let target = event.metadata().target();
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
        let level = level_name(*event.metadata().level());
        let message = fields.message.unwrap_or_default();
        let mut line = String::with_capacity(128 + message.len() + fields.lines.len());
        match self.0 {
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
