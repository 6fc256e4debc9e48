//! Turns the fields of events and spans into text once, when they are recorded.
//!
//! Recorded fields are kept as lines `name TAB value LF`. Names are identifiers from the source and
//! values are escaped, so neither holds a tab or a line feed; this makes it cheap to leave out a
//! span's field when an inner span or the event has one of the same name.

use std::{
    error::Error,
    fmt::{self, Debug, Write as _},
};

use tracing::{
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, FormattedFields, format::Writer},
};

use crate::common::text::{chain, quote};

/// Which members every line has. A field of one of these names gets an underscore appended.
const RESERVED: [&str; 4] = ["ts", "level", "msg", "component"];

/// Starts the names of the fields in which records of the `log` crate say where they come from.
const BRIDGE: &str = "log.";

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As JSON values.
    Json,
    /// Bare where that is unambiguous, else quoted like JSON.
    Text,
}

/// Collects the fields of one event or span.
pub(super) struct Fields {
    style: Style,
    /// The event's message, not escaped. In a span, `message` is a field like any other.
    pub message: Option<String>,
    /// The fields as lines.
    pub lines: String,
}

impl Fields {
    /// Begins with an event's message, if it has one.
    pub(super) fn new(style: Style, message: Option<String>) -> Self {
        let lines = String::new();
        Self {
            style,
            message,
            lines,
        }
    }

    /// Appends a field with a string value.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        if self.style == Style::Text && is_bare(value) {
            self.lines.push_str(value);
        } else {
            quote(&mut self.lines, value);
        }
        self.lines.push('\n');
    }

    /// Appends a field with a number or a truth value.
    pub(super) fn plain(&mut self, name: &str, value: impl fmt::Display) {
        if name.starts_with(BRIDGE) {
            return;
        }
        self.name(name);
        let _ = writeln!(self.lines, "{value}");
    }

    fn name(&mut self, name: &str) {
        self.lines.push_str(name);
        if RESERVED.contains(&name) {
            self.lines.push('_');
        }
        self.lines.push('\t');
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no number for the others. `Debug` keeps the exponent short.
        if value.is_finite() {
            self.plain(field.name(), format_args!("{value:?}"));
        } else {
            self.text(field.name(), &value.to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match (field.name(), &mut self.message) {
            ("message", Some(message)) => value.clone_into(message),
            ("log.target", _) => self.text("logger", value),
            (name, _) if name.starts_with(BRIDGE) => {}
            (name, _) => self.text(name, value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<'writer> FormatFields<'writer> for Style {
    fn format_fields<R: RecordFields>(&self, mut to: Writer<'writer>, fields: R) -> fmt::Result {
        let mut new = Fields::new(*self, None);
        fields.record(&mut new);
        to.write_str(&new.lines)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &span::Record<'_>,
    ) -> fmt::Result {
        let mut new = Fields::new(*self, None);
        fields.record(&mut new);
        merge(&mut new.lines, &current.fields);
        current.fields = new.lines;
        Ok(())
    }
}

/// Gives the fields in `lines`, as name and written value.
pub(super) fn pairs(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.lines().filter_map(|line| line.split_once('\t'))
}

/// Appends those fields of `outer` whose name is not yet in `lines`.
pub(super) fn merge(lines: &mut String, outer: &str) {
    for (name, value) in pairs(outer) {
        if pairs(lines).all(|(taken, _)| taken != name) {
            let _ = writeln!(lines, "{name}\t{value}");
        }
    }
}

fn is_bare(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+%[]".contains(c);
    !value.is_empty() && value.chars().all(plain)
}
