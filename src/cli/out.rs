//! Writes for people: to standard error without ever waiting for a reader or failing, and to standard output, whose
//! reader may go away.
//!
//! Lines for standard error go through the queue of the log ([`begin`] sets it up), so a tunnel goes on whether standard
//! error is read, full, or closed.

use std::{
    fmt::{self, Arguments, Display},
    io::{self, IsTerminal, Write as _},
    process::ExitCode,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anstream::{AutoStream, stream::RawStream};
use clap::builder::styling::{AnsiColor, Style, Styles};

use super::exit::{Exit, Failure};
use crate::observe::log::{self, LogFormat};

/// The colours of help and messages. Without a terminal, or with `NO_COLOR`, there are none.
pub(crate) const STYLES: Styles = Styles::styled()
    .header(Style::new().bold())
    .usage(Style::new().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .valid(AnsiColor::Green.on_default())
    .invalid(AnsiColor::Yellow.on_default())
    .error(AnsiColor::Red.on_default().bold());

/// Stands before what went wrong.
pub(crate) const ERROR: Word = Word("error:", *STYLES.get_error());
/// Stands before what is not as it should be.
pub(crate) const WARNING: Word = Word("warning:", AnsiColor::Yellow.on_default().bold());
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();

/// Takes the status line away, so that another line can stand in its place.
const CLEAR: &str = "\r\x1b[K";

static QUIET: AtomicBool = AtomicBool::new(false);
static TALKS: AtomicBool = AtomicBool::new(false);
static HAS_STATUS: AtomicBool = AtomicBool::new(false);
static COLOURED: LazyLock<bool> = LazyLock::new(|| is_coloured(&io::stderr()));

/// Says how much a command tells: `-q` leaves nothing but warnings and errors, each `-v` adds what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// How often `-v` was given, if the command has it.
    pub verbose: Option<u8>,
    /// Whether `-q` was given.
    pub quiet: bool,
    /// What is wrong with the command line, if only a little.
    pub warnings: Vec<String>,
}

/// Sets the queue up, with a log for `-v` behind it. Commands with a log of their own do without this.
pub(crate) fn begin(manner: &Manner) -> Result<(), Failure> {
    let filter = match manner.verbose {
        _ if manner.quiet => "error",
        None | Some(0) => "warn",
        Some(1) => "warn,jumpstarter_router=debug",
        Some(_) => "debug,jumpstarter_router=trace,h2=debug,hyper=debug,rustls=debug,tonic=debug",
    };
    log::init(LogFormat::Text, filter).map_err(Failure::broken)?;
    QUIET.store(manner.quiet, Ordering::Relaxed);
    TALKS.store(manner.verbose > Some(0), Ordering::Relaxed);
    manner.warnings.iter().for_each(warning);
    Ok(())
}

/// Tells whether nothing but warnings and errors is wanted.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Tells whether lines of a log come between, which a status line would be in the way of.
pub(crate) fn is_verbose() -> bool {
    TALKS.load(Ordering::Relaxed)
}

/// Writes a line on standard error, as `eprintln!` does, but neither waits nor panics.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::out::note(format_args!($($text)*)) };
}
pub(crate) use say;

/// Writes a line on standard error, unless that is to be quiet.
pub(crate) fn note(text: Arguments<'_>) {
    if !is_quiet() {
        line(text);
    }
}

/// Says that something is not as it should be.
pub(crate) fn warning(text: impl Display) {
    line(format_args!("{WARNING} {text}"));
}

/// Says what went wrong.
pub(crate) fn error(text: impl Display) {
    line(format_args!("{ERROR} {text}"));
}

/// Says why a command failed, and gives its exit code.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    let text = failure.to_string();
    if !text.is_empty() {
        error(text);
    }
    ExitCode::from(failure.exit as u8)
}

fn line(text: Arguments<'_>) {
    let clear = if HAS_STATUS.swap(false, Ordering::Relaxed) {
        CLEAR
    } else {
        ""
    };
    log::write(&format!("{clear}{text}\n"));
}

/// Writes `text` over what the status line said before; an empty one takes it away. For terminals.
pub(crate) fn status(text: impl Display) {
    let text = text.to_string();
    HAS_STATUS.store(!text.is_empty(), Ordering::Relaxed);
    log::write(&format!("{CLEAR}{text}"));
}

/// Is a word for standard error, with a colour if that has colours.
pub(crate) struct Word(&'static str, Style);

impl Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(word, style) = self;
        if *COLOURED {
            write!(f, "{style}{word}{style:#}")
        } else {
            f.write_str(word)
        }
    }
}

/// Says what is wrong with a command line.
pub(crate) fn clap(error: &clap::Error) {
    let text = error.render();
    if *COLOURED {
        log::write(&text.ansi().to_string());
    } else {
        log::write(&text.to_string());
    }
}

/// Is standard error as a writer that neither waits nor fails.
#[derive(Debug)]
pub(crate) struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log::write(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A tick or a cross before a line of standard output that says how something went, if that has colours.
pub(crate) fn tick(good: bool) -> String {
    if !is_coloured(&io::stdout()) {
        return String::new();
    }
    let (sign, style) = if good {
        ("✓", GOOD)
    } else {
        ("✗", *STYLES.get_error())
    };
    format!("{style}{sign}{style:#} ")
}

/// Tells whether colours are wanted there: on a terminal, and as `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` say.
pub(crate) fn is_coloured(stream: &(impl RawStream + IsTerminal)) -> bool {
    AutoStream::choice(stream) != anstream::ColorChoice::Never
}

/// Writes to standard output.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_ref()).and_then(|()| out.flush());
    quietly(written)
}

/// Writes to standard output on a thread of its own, for who goes on whether or not anybody reads it.
pub(crate) fn aside(text: Vec<u8>) {
    let write = move || drop(print(text));
    // Without a thread there is no text, which is no reason to end.
    let _ = thread::Builder::new()
        .name("output".to_owned())
        .spawn(write);
}

/// Takes it for no failure that the reader of standard output went away: it has seen enough. Any other failure is one.
pub(crate) fn quietly(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Broken,
            format_args!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}
