//! The process's log: one line per event on stderr, as JSON or as text.
//!
//! The JSON follows the log schema that all Jumpstarter services share: `ts`, `level`, `msg` and
//! `component` first, then the event's fields, then those of the enclosing spans. The filter can be
//! changed while the process runs.

pub mod escape;
mod fields;
mod filter;
mod line;
#[cfg(test)]
mod tests;
mod thinner;

use std::{
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

pub use self::thinner::Thinner;
use self::{fields::Style, line::Line};

/// How log lines are written.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Time, level, message and `key=value`, for people.
    Text,
    /// Text when stderr is a terminal, else JSON.
    #[default]
    Auto,
}

/// Why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not understood. The text names the part that is wrong.
    #[error("log filter: {0}")]
    Filter(String),
    /// Another log is installed already.
    #[error("a log is set up already")]
    AlreadySet,
    /// The log no longer exists, so that its filter cannot be changed.
    #[error("the log is gone")]
    Gone,
}

/// Changes the filter of the running log. Clones change the same log.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Replaces the filter. On an error the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = filter::parse(filter)?;
        self.filter.reload(filter).map_err(|_| LogError::Gone)
    }

    /// The filter in force, with the directives that were added to the one given.
    pub fn filter(&self) -> Result<String, LogError> {
        let read = self.filter.with_current(ToString::to_string);
        read.map_err(|_| LogError::Gone)
    }
}

/// Whether the log would accept this filter; if not, why.
pub fn check_filter(filter: &str) -> Result<(), String> {
    match filter::parse(filter) {
        Err(LogError::Filter(why)) => Err(why),
        _ => Ok(()),
    }
}

/// Installs the process-wide log on stderr.
///
/// `filter` has the form `level` or `level,target=level,...`. Libraries the router is made of stay
/// at `warn` unless the filter names them.
pub fn init(format: LogFormat, filter: &str) -> Result<LogHandle, LogError> {
    let (subscriber, handle) = build(format, filter, io::stderr)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    let _ = INSTALLED.set(handle.clone());
    Ok(handle)
}

/// The handle of the log that [`init`] has installed, if it has.
pub fn installed() -> Option<LogHandle> {
    INSTALLED.get().cloned()
}

/// As the log itself is one for the process, so is this.
static INSTALLED: OnceLock<LogHandle> = OnceLock::new();

fn build<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogHandle), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let style = match format {
        LogFormat::Text => Style::Text,
        LogFormat::Auto if io::stderr().is_terminal() => Style::Text,
        LogFormat::Json | LogFormat::Auto => Style::Json,
    };
    let (filter, handle) = reload::Layer::new(filter::parse(filter)?);
    let lines = fmt::layer()
        .with_ansi(false)
        // The fallback report of a failed write panics when stderr is closed.
        .log_internal_errors(false)
        .fmt_fields(style)
        .event_format(Line(style))
        .with_writer(writer);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    Ok((subscriber, LogHandle { filter: handle }))
}
