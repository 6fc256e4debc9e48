//! Sends panics to the log. Rust's own message goes to standard error at once, where it could wait for ever, and is
//! no JSON.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::PanicHookInfo,
    thread,
};

use super::LAST_LINES;

/// Logs a panic; this is the hook to be set.
pub(super) fn tell(panic: &PanicHookInfo<'_>) {
    // Taken only if RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    let thread = thread::current();
    let payload = panic.payload();
    let payload = match payload.downcast_ref::<&str>() {
        Some(text) => Some(*text),
        None => payload.downcast_ref::<String>().map(|text| &**text),
    };
    tracing::error!(
        panic = payload,
        place = panic.location().map(tracing::field::display),
        thread = thread.name(),
        backtrace = backtrace.map(tracing::field::display),
        "panicked: a defect; please report it"
    );
    // This one ends the process.
    if thread.name() == Some("main") {
        super::flush(LAST_LINES);
    }
}
