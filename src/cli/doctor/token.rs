//! The token, and the clocks it is good by.

use std::{
    ffi::OsString,
    time::{Duration, SystemTime},
};

use humantime::{format_duration, format_rfc3339_seconds};

use super::{finding::Report, way::Clock};
use crate::{
    cli::{
        exit::{Exit, Failure},
        join::credentials::{KEY_ENV, TokenArgs, Tokens},
        token::inspect,
        variable,
    },
    config::TOKEN_ENV,
};

/// A `date` header has whole seconds, and the answer took some time.
const SAME: Duration = Duration::from_secs(2);

/// Finds tokens; `None` if there is neither a token nor a key.
pub(super) fn find(
    args: &TokenArgs,
    env: &[(String, OsString)],
) -> Result<Option<Tokens>, Failure> {
    let named = args.token.is_some()
        || args.token_file.is_some()
        || args.subject.is_some()
        || args.key_file.is_some();
    let set = [TOKEN_ENV, KEY_ENV]
        .iter()
        .any(|name| variable(name, env).is_some());
    (named || set)
        .then(|| args.tokens_of_our_own(env))
        .transpose()
}

/// Compares the router's clock with this machine's.
pub(super) fn clocks(clock: Option<Clock>, report: &mut Report) {
    let Some(clock) = clock else {
        report.skipped("clock", "the router did not say what time it is", "");
        return;
    };
    let (far, ahead) = clock.difference();
    if far <= SAME {
        let at = format_rfc3339_seconds(clock.here);
        report.good(
            "clock",
            format_args!("this machine and the router agree: {at}"),
        );
        return;
    }
    let word = if ahead { "ahead of" } else { "behind" };
    let text = format!(
        "the router's clock is {} {word} this machine's: {} there, {} here",
        format_duration(Duration::from_secs(far.as_secs())),
        format_rfc3339_seconds(clock.router),
        format_rfc3339_seconds(clock.here),
    );
    let advice = "tokens begin and end by the router's clock: set both by a time server (NTP), and the controller's too";
    report.warning("clock", text, advice);
}

impl Clock {
    /// How far the clocks are apart, and whether the router's is ahead.
    fn difference(&self) -> (Duration, bool) {
        match self.router.duration_since(self.here) {
            Ok(ahead) => (ahead, true),
            Err(behind) => (behind.duration(), false),
        }
    }

    /// The router's clock now.
    fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        match self.difference() {
            (far, true) => now + far,
            (far, false) => now.checked_sub(far).unwrap_or(now),
        }
    }
}

/// Takes the token apart, as the router's clock sees it.
pub(super) fn examine(
    tokens: &Tokens,
    env: &[(String, OsString)],
    clock: Option<Clock>,
    report: &mut Report,
) {
    let known = clock.filter(|clock| clock.difference().0 > SAME);
    let now = known.map_or_else(SystemTime::now, |clock| clock.now());
    match tokens {
        Tokens::Signed { subject, .. } => {
            report.good(
                "token",
                format_args!("signed here with the given key, for subject {subject}"),
            );
        }
        Tokens::Given(token) => {
            let (good, text) = inspect::summary(token.as_str(), env, now);
            if good {
                report.good("token", text);
            } else {
                let advice = "get a new one from the controller; `jumpstarter-router token inspect` shows all of it";
                report.failed("token", Exit::Refused, text, advice);
            }
        }
    }
}
