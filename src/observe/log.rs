//! Writes the process's log: one line per event on stderr, as JSON or as text.
//!
//! The JSON follows the log schema that all Jumpstarter services share: `ts`, `level`, `msg` and
//! `component` first, then the event's fields, then those of the enclosing spans. The filter can be
//! changed while the process runs.
//!
//! Who logs never waits: lines go through a queue to a writer on a thread of its own. What nobody reads in time is
//! lost and counted. Lines that peers can cause are thinned by address.

mod fields;
mod filter;
mod journal;
mod line;
mod panics;
mod queue;
#[cfg(test)]
mod tests;
mod thinner;
mod writer;

use std::{
    io::{self, IsTerminal as _, Write as _},
    panic,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

pub(crate) use self::thinner::network;
use self::{fields::Style, line::Line, queue::Queue, thinner::SharedThinner};

/// How many bytes of lines may wait to be written: some 10,000 records of streams.
const WAITING: usize = 4 * 1024 * 1024;

/// How long the last lines may take to be written before the process ends.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(1);

/// Counts lines that were not written, by reason. As the log itself is one for the process, so is this.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// There was no room for them, because nobody read standard error.
    pub lost: Counter,
    /// There were too many similar ones.
    pub left_out: Counter,
}

/// Counts the lines that this process did not write.
pub(crate) static MISSING: LazyLock<Missing> = LazyLock::new(Missing::default);

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Time, level, message and `key=value`, for people.
    Text,
    /// Text when stderr is a terminal, else JSON.
    #[default]
    Auto,
}

/// Says why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The filter is not understood. The text names the part that is wrong.
    #[error("log filter: {0}")]
    Filter(String),
    /// Another log is installed already.
    #[error("a log is set up already")]
    AlreadySet,
    /// The log no longer exists, so that its filter cannot be changed.
    #[error("the log is gone")]
    Gone,
    /// The thread that writes cannot be started.
    #[error("cannot start a thread for the log: {0}; is the limit on processes too low?")]
    Thread(io::Error),
}

/// Changes the filter of the running log. Clones change the same log.
#[derive(Clone, Debug)]
pub(crate) struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Replaces the filter. On an error the old one stays.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = filter::parse(filter).map_err(LogError::Filter)?;
        self.filter.reload(filter).map_err(|_| LogError::Gone)
    }

    /// Gives the filter in force, with the directives that were added to the one given.
    pub(crate) fn filter(&self) -> Result<String, LogError> {
        let read = self.filter.with_current(ToString::to_string);
        read.map_err(|_| LogError::Gone)
    }
}

/// Tells whether the log would accept this filter, and if not, why.
pub(crate) fn check_filter(filter: &str) -> Result<(), String> {
    filter::parse(filter).map(drop)
}

/// Installs the process-wide log on stderr, to which panics go as well.
///
/// `filter` has the form `level` or `level,target=level,...`. Libraries the router is made of stay
/// at `warn` unless the filter names them.
pub(crate) fn init(format: LogFormat, filter: &str) -> Result<LogHandle, LogError> {
    let queue = Arc::new(Queue::new(WAITING, MISSING.lost.clone()));
    let thinner = SharedThinner::new(MISSING.left_out.clone());
    let line = Line {
        style: style(format),
        priorities: journal::is_behind(io::stderr()),
        thinner: Some(thinner.clone()),
    };
    let (subscriber, handle) = build(line, filter, queue.clone())?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    writer::start(queue.clone(), thinner, io::stderr()).map_err(LogError::Thread)?;
    panic::set_hook(Box::new(panics::tell));
    let _ = INSTALLED.set((handle.clone(), queue));
    Ok(handle)
}

/// Gives the handle of the log that [`init`] has installed, if it has.
pub(crate) fn installed() -> Option<LogHandle> {
    INSTALLED.get().map(|(handle, _)| handle.clone())
}

/// Writes a line for people, as it is, on stderr: behind the lines of the log, if there is one, and then without
/// waiting for a reader.
pub(crate) fn say(line: &str) {
    let line = format!("{line}\n");
    match INSTALLED.get() {
        Some((_, queue)) => queue.push(line.as_bytes()),
        // Unlike `eprintln`, this does not panic if it cannot be written.
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Waits until all lines are written, but no longer than `patience`.
pub(crate) fn flush(patience: Duration) {
    if let Some((_, queue)) = INSTALLED.get() {
        queue.flush(patience);
    }
}

static INSTALLED: OnceLock<(LogHandle, Arc<Queue>)> = OnceLock::new();

fn style(format: LogFormat) -> Style {
    match format {
        LogFormat::Text => Style::Text,
        LogFormat::Auto if io::stderr().is_terminal() => Style::Text,
        LogFormat::Json | LogFormat::Auto => Style::Json,
    }
}

fn build<W>(
    line: Line,
    filter: &str,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogHandle), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter::parse(filter).map_err(LogError::Filter)?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer()
        .with_ansi(false)
        // The fallback report of a failed write goes to stderr, and panics if that is closed.
        .log_internal_errors(false)
        .fmt_fields(line.style)
        .event_format(line)
        .with_writer(writer);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    Ok((subscriber, LogHandle { filter: handle }))
}
