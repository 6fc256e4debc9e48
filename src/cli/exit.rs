//! How commands end: with what message, and with which exit code.

use std::{error::Error, fmt, future::Future, io};

use tokio::runtime::Builder;
use tonic::Code;

use crate::{
    client::{ConnectError, ControllerConfigError, EndedBy, SessionError, StreamError},
    common::text::chain,
};

/// Says what an exit code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The stream broke, or what this side reads or writes did.
    Broken = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The router or the controller cannot be reached, or is not trusted.
    Unreachable = 3,
    /// It refused: the token, the lease, or a limit.
    Refused = 4,
    /// The other side did not come in time.
    Alone = 5,
    /// A configuration file or a key is of no use: `EX_CONFIG` of sysexits.h.
    Config = 78,
    /// It was interrupted from the keyboard (SIGINT), as shells report it.
    Interrupted = 130,
    /// Nobody reads its standard output any more, as shells report it of others (SIGPIPE).
    Unread = 141,
    /// It was told to end (SIGTERM), as shells report it.
    Terminated = 143,
}

/// Has a message for people, and the exit code.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// Whether trying again with the same options is of no use.
    pub is_lasting: bool,
    text: String,
}

impl Failure {
    /// Makes one with a message of its own.
    pub fn new(exit: Exit, text: impl fmt::Display) -> Self {
        Self {
            exit,
            is_lasting: exit == Exit::Config,
            text: text.to_string(),
        }
    }

    /// Makes one of options or files that are of no use.
    pub fn config(text: impl fmt::Display) -> Self {
        Self::new(Exit::Config, text)
    }

    /// Makes one of which nothing more is to be said.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// Makes one with the error's message and those of its causes.
    pub fn of(exit: Exit, error: &dyn Error) -> Self {
        Self::new(exit, chain(error))
    }

    /// Makes one of an error that has no exit code of its own.
    pub fn broken(error: impl Error) -> Self {
        Self::of(Exit::Broken, &error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = if error.is_of_settings() {
            Exit::Config
        } else {
            Exit::Unreachable
        };
        Self {
            is_lasting: error.is_lasting(),
            ..Self::new(exit, format_args!("{}{}", chain(&error), error.advice()))
        }
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        let code = error.status().map(tonic::Status::code);
        let (exit, advice) = match code {
            Some(Code::Unauthenticated | Code::PermissionDenied) => (
                Exit::Refused,
                "; `jumpstarter-router token inspect` says what is wrong with a token",
            ),
            Some(Code::ResourceExhausted) => (Exit::Refused, ""),
            Some(_) if error.is_unpaired() => (Exit::Alone, ""),
            None if matches!(error, StreamError::NoRouter(_)) => (Exit::Unreachable, ""),
            None if matches!(error, StreamError::Alert(_)) => (
                Exit::Unreachable,
                "; show a certificate that it accepts: --client-certificate FILE --client-key FILE",
            ),
            _ => (Exit::Broken, ""),
        };
        let by = match error.by() {
            _ if error.is_refusal() => "the router refused: ",
            EndedBy::Router if error.status().is_some() => "the router ended the stream: ",
            EndedBy::Partner => "the other side broke off: ",
            _ => "",
        };
        Self {
            is_lasting: error.is_refusal(),
            ..Self::new(exit, format_args!("{by}{error}{advice}"))
        }
    }
}

impl From<ControllerConfigError> for Failure {
    fn from(error: ControllerConfigError) -> Self {
        Self::of(Exit::Config, &error)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let exit = match error {
            SessionError::Connect(error) => return error.into(),
            SessionError::Credentials(_) => Exit::Config,
            SessionError::Refused { .. } => Exit::Refused,
            SessionError::Unreachable { .. } => Exit::Unreachable,
            SessionError::NotReady { .. } => Exit::Alone,
        };
        Self {
            is_lasting: error.is_refusal(),
            ..Self::of(exit, &error)
        }
    }
}

/// Takes what went wrong while bytes were carried: the stream's own error, or that of a file or socket.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match StreamError::of(&error) {
            Some(error) => error.clone().into(),
            None => Self::broken(error),
        }
    }
}

/// Makes a runtime whose threads have this name; without a number there is one for each core.
pub(crate) fn workers(name: &str, threads: Option<u32>) -> Builder {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads as usize);
    }
    builder.enable_all().thread_name(name);
    builder
}

/// Runs a command to its end on a runtime of its own.
pub(crate) fn run<T>(
    runtime: &mut Builder,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = runtime.enable_all().build()?;
    let result = runtime.block_on(command);
    // A read from a terminal cannot be cancelled.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Status;

    use super::*;
    use crate::{
        grpc::{headers, status},
        splice::ending::{Cause, Ending},
    };

    /// What the other side's peer gets.
    fn ended(cause: Cause) -> Status {
        let ending = Ending::from(cause).for_other();
        let mut trailers = status::trailers(ending.code(), &ending.message());
        headers::set_ending(&mut trailers, ending);
        Status::from_header_map(&trailers).expect("a status")
    }

    #[test]
    fn the_codes_tell_failures_apart() {
        let exit = |status| Failure::from(StreamError::Status(status)).exit;
        assert_eq!(
            exit(Status::unauthenticated("invalid jwt token")),
            Exit::Refused
        );
        let time = Duration::from_secs(1);
        assert_eq!(exit(ended(Cause::Cancelled)), Exit::Broken);
        assert_eq!(exit(ended(Cause::Unpaired(time))), Exit::Alone);
        assert_eq!(exit(ended(Cause::Idle(time))), Exit::Broken);
        assert_eq!(exit(Status::deadline_exceeded("")), Exit::Alone);
    }

    #[test]
    fn the_message_says_who() {
        let failure = Failure::from(StreamError::Status(ended(Cause::Cancelled)));
        let text = failure.to_string();
        assert!(text.starts_with("the other side broke off: "), "{text}");
        assert!(text.contains("UNAVAILABLE"), "{text}");
    }
}
